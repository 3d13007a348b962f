//! Values of labels that the catalog lost.

use fleetprof_proto::ids::InstanceId;
use fleetprof_store::{FindingKind, FsckOptions, HOUR, ProfileStore};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use super::{check, fast, full, kinds};
use crate::fixture::{Place, batch, merge_all, past_day};

/// Executes a statement in the catalog; gives how many rows it changed.
async fn tamper(place: &Place, statement: &str) -> u64 {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", place.dir.path().join("catalog.sqlite").display());
    let mut connection = AnyConnection::connect(&url).await.expect("connects");
    let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
    connection.close().await.expect("closes");
    done.expect("executes").rows_affected()
}

/// A store with an hour of one host and two of another.
async fn filled(place: &Place) -> ProfileStore {
    let store = place.open().await;
    let (day, instance) = (past_day(), InstanceId::random());
    for (sequence, host) in [(1, "h1"), (2, "h2"), (3, "h2")] {
        let start = day + HOUR * i64::try_from(sequence).expect("small");
        store.append(vec![batch(instance, sequence, start, host)]).await.expect("appends");
    }
    store
}

async fn hosts(store: &ProfileStore, service: &str) -> Vec<String> {
    let range = (past_day(), past_day() + 5 * HOUR);
    store.label_values(service, "host", range).await.expect("answers").values
}

/// Check that a value that is missing is found in each pair that has it, or after a repair in the first only, and
/// is there again after that.
#[tokio::test(flavor = "multi_thread")]
async fn lost_values_of_labels_are_found_and_written() {
    let place = Place::new();
    let store = filled(&place).await;
    assert!(check(&store, &full()).await.is_clean());
    let lost = "DELETE FROM label_values WHERE value = 'h2' AND service <> 'search'";
    assert_eq!(tamper(&place, lost).await, 2);
    assert_eq!(hosts(&store, "checkout").await, ["h1"]);

    assert!(check(&store, &fast()).await.is_clean(), "it reads no file");
    let found = check(&store, &full()).await;
    assert_eq!(kinds(&found), [FindingKind::Labels; 2], "{found:?}");
    let what = "the catalog lacks host=\"h2\", and 1 more";
    assert!(found.findings.iter().all(|it| it.what == what && !it.repaired), "{found:?}");
    assert_eq!(hosts(&store, "checkout").await, ["h1"], "nothing was asked to be repaired");

    let repair = FsckOptions { repair: true, ..full() };
    let found = check(&store, &repair).await;
    assert!(!found.findings.is_empty() && found.findings.iter().all(|it| it.repaired));
    assert!(check(&store, &full()).await.is_clean());
    for service in ["checkout", "search", ""] {
        assert_eq!(hosts(&store, service).await, ["h1", "h2"], "{service}");
    }
}

/// Check that values of pairs whose labels are not written yet are no finding, whatever was read before.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_not_written_yet_are_no_finding() {
    let place = Place::new();
    let store = filled(&place).await;
    assert!(tamper(&place, "UPDATE files SET labelled = 0").await > 0);
    assert!(tamper(&place, "DELETE FROM label_values").await > 0);
    assert!(check(&store, &full()).await.is_clean());
    assert_eq!(tamper(&place, "UPDATE files SET labelled = 1").await, 3);
    assert_eq!(kinds(&check(&store, &full()).await), [FindingKind::Labels; 3]);
    // Those of hourly and daily files are not written at all.
    let place = Place::new();
    let store = filled(&place).await;
    merge_all(&store).await;
    assert!(tamper(&place, "DELETE FROM label_values WHERE value <> 'main'").await > 0);
    assert!(tamper(&place, "UPDATE files SET retired = 1 WHERE level = 0").await > 0);
    assert!(check(&store, &full()).await.findings.iter().all(|it| it.kind != FindingKind::Labels));
}
