//! Files that are too large to be held in memory as a whole: from a local file, and to one.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload, path::Path as BlobPath};

use super::{BlobError, Blobs, Damage};
use crate::catalog::Blob;

/// Bytes that are held at a time. Stores want parts of at least 5 MiB.
const PART_BYTES: u64 = 8 << 20;

// === impl Blobs ===

impl Blobs {
    /// [`Blobs::put`] of what is in a local file, whatever its size.
    ///
    /// # Errors
    /// When the store fails, or the local file cannot be read.
    pub async fn upload(&self, path: &str, from: &Path) -> Result<Blob, BlobError> {
        let local = |source| BlobError::Local { path: from.to_owned(), source };
        let file = File::open(from).map_err(local)?;
        let size = file.metadata().map_err(local)?.len();
        let (first, file) = next(file).await.map_err(local)?;
        if size <= PART_BYTES {
            return self.put(path, first).await;
        }
        let location = BlobPath::from(path);
        let upload = self.store.put_multipart(&location).await;
        let mut upload = upload.map_err(|source| self.error("write", path, source))?;
        let sent = self.send(path, &mut *upload, first, file).await;
        match sent {
            Ok(sent) => sent.map_err(local),
            Err(source) => {
                // What is left of it is the store's to remove, should this fail as well.
                let _ = upload.abort().await;
                Err(self.error("write", path, source))
            }
        }
    }

    /// The outer error is the store's, the inner one that of the local file.
    async fn send(
        &self,
        path: &str,
        upload: &mut dyn MultipartUpload,
        first: Bytes,
        mut file: File,
    ) -> object_store::Result<io::Result<Blob>> {
        let mut blob = Blob { path: path.to_owned(), bytes: 0, crc32c: 0 };
        let mut part = first;
        while !part.is_empty() {
            blob.bytes += part.len() as u64;
            blob.crc32c = crc32c::crc32c_append(blob.crc32c, &part);
            upload.put_part(PutPayload::from(part)).await?;
            (part, file) = match next(file).await {
                Ok(read) => read,
                Err(error) => {
                    upload.abort().await?;
                    return Ok(Err(error));
                }
            };
        }
        upload.complete().await?;
        Ok(Ok(blob))
    }

    /// A whole file, compared with what was written, into a new local one, durably. One that is not
    /// whole is left to the caller.
    ///
    /// # Errors
    /// When the store fails, the file is damaged, or the local one cannot be written.
    pub async fn download(&self, blob: &Blob, to: &Path) -> Result<(), BlobError> {
        let local = |source| BlobError::Local { path: to.to_owned(), source };
        let mut file = File::create_new(to).map_err(local)?;
        let (mut at, mut crc) = (0, 0);
        while at < blob.bytes {
            let end = blob.bytes.min(at + PART_BYTES);
            let range = at..end;
            let parts = self.ranges(blob, std::slice::from_ref(&range)).await?;
            let part = parts.into_iter().next().unwrap_or_default();
            crc = crc32c::crc32c_append(crc, &part);
            file = blocking(move || file.write_all(&part).map(|()| file)).await.map_err(local)?;
            at = end;
        }
        if crc != blob.crc32c {
            let what = format!("is damaged: its CRC-32C is {crc:08x}, was {:08x}", blob.crc32c);
            return Err(self.damaged(&blob.path, Damage::Checksum, what));
        }
        blocking(move || file.sync_all()).await.map_err(local)
    }
}

/// The next part of a file, empty at its end.
async fn next(file: File) -> io::Result<(Bytes, File)> {
    blocking(move || {
        let mut part = Vec::new();
        (&file).take(PART_BYTES).read_to_end(&mut part)?;
        Ok((part.into(), file))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Check that files of one part and of several come back as they were, and that a damaged one does
    /// not.
    #[tokio::test]
    async fn what_goes_there_comes_back() {
        let dir = TempDir::new().expect("a directory");
        let store = dir.path().join("store");
        fs::create_dir(&store).expect("made");
        let blobs = Blobs::directory(&store).expect("opens");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for size in [0, 5, 2 * PART_BYTES as usize + 5] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            fs::write(&from, &bytes).expect("written");
            let path = format!("some/{size}");
            let blob = blobs.upload(&path, &from).await.expect("goes there");
            let crc32c = crc32c::crc32c(&bytes);
            assert_eq!(blob, Blob { path: path.clone(), bytes: size as u64, crc32c });
            blobs.download(&blob, &to).await.expect("comes back");
            assert!(fs::read(&to).expect("read") == bytes, "{size}");
            fs::remove_file(&to).expect("removed");
            let other = Blob { crc32c: !crc32c, ..blob.clone() };
            let error = blobs.download(&other, &to).await.expect_err("is another");
            assert!(matches!(error, BlobError::Damaged { damage: Damage::Checksum, .. }));
            fs::remove_file(&to).expect("removed");
            let longer = Blob { bytes: blob.bytes + 1, ..blob.clone() };
            let error = blobs.download(&longer, &to).await.expect_err("is shorter");
            assert!(matches!(error, BlobError::Damaged { damage: Damage::Size, .. }), "{error}");
            fs::remove_file(&to).expect("removed");
            blobs.delete(vec![path]).await.expect("removed");
            if size > 0 {
                let error = blobs.download(&blob, &to).await.expect_err("is gone");
                assert!(matches!(error, BlobError::Damaged { damage: Damage::Gone, .. }));
                fs::remove_file(&to).expect("removed");
            }
        }
    }
}
