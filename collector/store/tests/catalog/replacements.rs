//! Files take the place of others: each sample stands in one live file of a level, whoever hurries.

use fleetprof_store::{Catalog, CatalogError, FileId, FileQuery, Level, NewFile, Replace, Rolled};
use tokio::task::JoinSet;

use crate::fixture::{Place, T0, file, ids, live, on_both};

on_both!(
    of_many_with_the_same_inputs_one_wins,
    a_merge_needs_its_inputs_as_they_were,
    samples_are_neither_lost_nor_doubled,
);

const MERGE: Replace = Replace::Merge { rolled: false };

async fn some(catalog: &Catalog, count: usize) -> Vec<FileId> {
    let files: Vec<_> = (0..count).map(|_| file(Level::Fine, T0, &["a"])).collect();
    catalog.commit(&files, &[], T0).await.expect("commits");
    files.iter().map(|file| file.id).collect()
}

fn merged(level: Level, inputs: usize) -> NewFile {
    let mut file = file(level, T0, &["a"]);
    file.services[0].samples = 10 * inputs as u64;
    file
}

/// Check that of many workers on two catalogs that merge or roll overlapping inputs, in any order,
/// winners never share an input, and that the number of samples stays the same.
async fn of_many_with_the_same_inputs_one_wins(place: Place) {
    let catalogs = [place.open().await, place.open().await];
    for _ in 0..8 {
        let inputs = some(&catalogs[0], 6).await;
        let before = catalogs[0].status().await.expect("reads").samples;
        let mut tasks = JoinSet::new();
        for worker in 0..12 {
            let catalog = catalogs[worker % 2].clone();
            let mut own = inputs.clone();
            fastrand::shuffle(&mut own);
            // Any two sets of four of the six have inputs in common.
            own.truncate(4);
            let roll = worker % 3 == 0;
            tasks.spawn(async move {
                let (how, level) =
                    if roll { (Replace::Roll, Level::Hourly) } else { (MERGE, Level::Fine) };
                catalog.replace(&own, &[merged(level, 4)], how, T0).await.expect("answers")
            });
        }
        let wins = tasks.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(wins, 1);
        assert_eq!(catalogs[1].status().await.expect("reads").samples, before);
    }
}

async fn a_merge_needs_its_inputs_as_they_were(place: Place) {
    let catalog = place.open().await;
    let inputs = some(&catalog, 2).await;
    let replace = async |inputs: &[FileId], output: &NewFile, how| {
        catalog.replace(inputs, std::slice::from_ref(output), how, T0).await
    };
    let won = async |inputs: &[FileId], output: &NewFile, how| {
        replace(inputs, output, how).await.expect("answers")
    };
    assert!(!won(&[inputs[0], FileId::random()], &merged(Level::Fine, 2), MERGE).await);
    assert_eq!(ids(&live(&catalog, Level::Fine).await).len(), 2, "nothing was done");
    assert!(won(&inputs, &merged(Level::Hourly, 2), Replace::Roll).await);
    assert!(!won(&inputs, &merged(Level::Hourly, 2), Replace::Roll).await, "is rolled");
    assert!(!won(&inputs, &merged(Level::Fine, 2), MERGE).await, "is rolled");
    let output = merged(Level::Fine, 2);
    assert!(won(&inputs, &output, Replace::Merge { rolled: true }).await);
    assert!(!won(&inputs, &output, Replace::Merge { rolled: true }).await, "are retired");
    let query =
        |rolled| FileQuery { level: Some(Level::Fine), range: (T0, T0 + 1), service: None, rolled };
    assert_eq!(ids(&catalog.files(&query(Rolled::Only(true))).await.expect("finds")), [output.id]);
    assert_eq!(catalog.files(&query(Rolled::Only(false))).await.expect("finds"), []);
    assert_eq!(catalog.files(&query(Rolled::NoFine)).await.expect("finds"), []);
    let of_all = FileQuery { level: None, ..query(Rolled::NoFine) };
    let hourly = catalog.files(&of_all).await.expect("finds");
    assert!(!hourly.is_empty() && hourly.iter().all(|row| row.file.level == Level::Hourly));
    assert!(!won(&inputs, &merged(Level::Fine, 2), MERGE).await);
}

async fn samples_are_neither_lost_nor_doubled(place: Place) {
    let catalog = place.open().await;
    let inputs = some(&catalog, 2).await;
    for (inputs, outputs, how, why) in [
        (&inputs[..], vec![merged(Level::Fine, 1)], MERGE, "lost or doubled"),
        (&inputs[..], vec![merged(Level::Hourly, 3)], Replace::Roll, "lost or doubled"),
        (&inputs[..], vec![merged(Level::Hourly, 2)], MERGE, "cannot be made"),
        (&inputs[..], vec![merged(Level::Daily, 2)], Replace::Roll, "cannot be made"),
        (&inputs[..], vec![merged(Level::Fine, 2)], Replace::Roll, "cannot be made"),
        (&inputs[..], vec![], MERGE, "nothing is to take the place"),
        (&[], vec![merged(Level::Fine, 2)], MERGE, "of other files only"),
        (&[inputs[0], inputs[0]], vec![merged(Level::Fine, 2)], MERGE, "stands there once"),
        (
            &inputs[..],
            vec![merged(Level::Fine, 1), merged(Level::Daily, 1)],
            MERGE,
            "several levels",
        ),
    ] {
        let error = catalog.replace(inputs, &outputs, how, T0).await.expect_err(why);
        assert!(matches!(error, CatalogError::Refused(_)), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(ids(&live(&catalog, Level::Fine).await).len(), 2);
}
