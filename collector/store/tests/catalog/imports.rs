//! What was made elsewhere is taken over once; all there is can be gone through.

use fleetprof_store::{Foreign, HOUR, Level};

use crate::fixture::{Place, SECOND, T0, file, ids, live, on_both};

on_both!(files_are_imported_once, all_files_can_be_gone_through);

async fn files_are_imported_once(place: Place) {
    let catalog = place.open().await;
    let foreign = |level, rolled| {
        let file = file(level, T0, &["a"]);
        Foreign { origin: format!("origin of {}", file.id), file, rolled }
    };
    let files =
        [foreign(Level::Fine, true), foreign(Level::Fine, false), foreign(Level::Hourly, false)];
    let words: Vec<&str> = files.iter().map(|it| it.origin.as_str()).collect();
    assert!(catalog.imported(&words).await.expect("answers").is_empty());
    assert!(catalog.import(&files, T0).await.expect("imports"));
    assert_eq!(catalog.imported(&words[..2]).await.expect("answers").len(), 2);
    let fine = live(&catalog, Level::Fine).await;
    for row in &fine {
        assert_eq!(row.rolled, row.file.id == files[0].file.id);
    }
    assert_eq!((fine.len(), live(&catalog, Level::Hourly).await.len()), (2, 1));
    // All or nothing: one of them is there.
    let more = [foreign(Level::Fine, false), files[0].clone()];
    assert!(!catalog.import(&more, T0).await.expect("answers"));
    assert!(catalog.imported(&[&more[0].origin]).await.expect("answers").is_empty());
    assert_eq!(live(&catalog, Level::Fine).await.len(), 2);
    // Also when it is retired, and two at once.
    catalog.retire_until(0, T0).await.expect("retires");
    assert!(!catalog.import(&more, T0).await.expect("answers"));
    let both = [foreign(Level::Daily, false)];
    let (one, other) = tokio::join!(catalog.import(&both, T0), catalog.import(&both, T0));
    assert_ne!(one.expect("answers"), other.expect("answers"));
    let mut broken = foreign(Level::Fine, false);
    broken.file.spans.clear();
    assert!(catalog.import(&[broken], T0).await.is_err());
}

async fn all_files_can_be_gone_through(place: Place) {
    let catalog = place.open().await;
    let files: Vec<_> =
        (0..5).map(|hour| file(Level::Fine, T0 + hour * HOUR, &["a", "b"])).collect();
    catalog.commit(&files, &[], T0).await.expect("commits");
    let mut expected: Vec<_> = files.iter().map(|file| file.id).collect();
    expected.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = ids(&catalog.page(after, 2).await.expect("reads"));
        let Some(last) = page.last() else { break };
        after = Some(*last);
        found.extend(page);
    }
    assert_eq!(found, expected);
    assert_eq!(catalog.days().await.expect("reads"), [T0]);
    let sums = catalog.sums((T0 + HOUR, T0 + 2 * HOUR)).await.expect("sums");
    assert_eq!(sums.len(), 2);
    assert_eq!((&*sums[1].service, sums[1].samples, sums[1].rolled), ("b", 10, false));
    assert_eq!((sums[1].bucket, sums[1].first_end), (T0 + HOUR, T0 + HOUR + SECOND));
    assert_eq!(catalog.retire_until(100, T0).await.expect("retires"), 4);
    assert_eq!(catalog.find(&expected, false).await.expect("finds").len(), 1);
    assert_eq!(catalog.find(&expected, true).await.expect("finds").len(), 4);
    assert_eq!(catalog.page(None, 10).await.expect("reads").len(), 1);
}
