use tempfile::TempDir;

use super::*;

fn blobs() -> (TempDir, Blobs) {
    let dir = TempDir::new().expect("a directory");
    let blobs = Blobs::directory(dir.path()).expect("opens");
    (dir, blobs)
}

#[tokio::test]
async fn what_was_written_is_read_listed_and_removed() {
    let (_dir, blobs) = blobs();
    let blob = blobs.put("fine/a/1.parquet", Bytes::from_static(b"content")).await.expect("writes");
    assert_eq!((blob.bytes, blob.path.as_str()), (7, "fine/a/1.parquet"));
    assert_eq!(blobs.get(&blob).await.expect("reads"), "content");
    let listed = blobs.list("fine").await.expect("lists");
    assert_eq!(listed.iter().map(|it| &*it.path).collect::<Vec<_>>(), ["fine/a/1.parquet"]);
    assert_eq!(blobs.list("hourly").await.expect("lists"), []);
    let paths = vec![blob.path.clone(), "fine/none".to_owned()];
    blobs.delete(paths).await.expect("removes");
    let gone = blobs.get(&blob).await.expect_err("is gone").to_string();
    assert!(gone.contains("fine/a/1.parquet") && gone.contains("is gone"), "{gone}");
}

#[tokio::test]
async fn a_changed_file_is_damaged() {
    let (dir, blobs) = blobs();
    let blob = blobs.put("x", Bytes::from_static(b"content")).await.expect("writes");
    for (content, what) in [(&b"contenu"[..], "CRC-32C"), (b"cont", "has 4 bytes")] {
        std::fs::write(dir.path().join("x"), content).expect("writes");
        let error = blobs.get(&blob).await.expect_err("is damaged");
        assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_url_that_is_none_is_named() {
    for url in ["nonsense", "ftp://host/x", "s3:///"] {
        let error = Blobs::url(url).expect_err("refused").to_string();
        assert!(error.contains(url), "{error}");
    }
}
