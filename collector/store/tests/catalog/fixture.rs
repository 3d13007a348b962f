//! An empty catalog of each kind, and things to put into it.

use fleetprof_proto::{
    ids::{BatchId, InstanceId},
    v1,
};
use fleetprof_store::{
    Blob, Catalog, Delivery, FileId, FileQuery, FileRow, HOUR, Level, NewFile, Rolled, ServiceSum,
};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use tempfile::TempDir;

use crate::postgres::Postgres;

/// A moment to begin with, the start of an hour and a day.
pub(crate) const T0: i64 = 20_000 * 24 * HOUR;
pub(crate) const SECOND: i64 = 1_000_000_000;

/// A place for a catalog, which goes away with this.
pub(crate) struct Place {
    pub(crate) url: String,
    _dir: Option<TempDir>,
}

/// Makes `NAME::sqlite` and `NAME::postgres` of an `async fn NAME(place: Place)`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn sqlite() {
                super::$name($crate::fixture::Place::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn postgres() {
                super::$name($crate::fixture::Place::postgres()).await;
            }
        }
    )+};
}
pub(crate) use on_both;

// === impl Place ===

impl Place {
    pub(crate) fn sqlite() -> Self {
        let dir = TempDir::with_prefix("fleetprof catalog?%41#").expect("a folder");
        let url = format!("sqlite:{}", dir.path().join("catalog.db").display());
        Self { url, _dir: Some(dir) }
    }

    pub(crate) fn postgres() -> Self {
        Self { url: Postgres::shared().database(), _dir: None }
    }

    pub(crate) async fn open(&self) -> Catalog {
        Catalog::open(&self.url).await.expect("opens")
    }

    /// Runs SQL, as another version would: one statement or several.
    pub(crate) async fn execute(&self, sql: &str) {
        let url = self.url.strip_prefix("sqlite:").map_or(self.url.clone(), |path| {
            let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
            format!("sqlite:{path}?mode=rwc")
        });
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&url).await.expect("connects");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("changes");
        connection.close().await.expect("closes");
    }
}

/// A file of the level with 10 samples of each service, in the first second of the bucket.
pub(crate) fn file(level: Level, bucket: i64, services: &[&str]) -> NewFile {
    let id = FileId::random();
    let blob = |kind, bytes| Blob { path: format!("{id}.{kind}"), bytes, crc32c: u32::MAX };
    let sum = |service: &&str| ServiceSum {
        service: (*service).to_owned(),
        samples: 10,
        nanos: 10_000_000,
    };
    NewFile {
        id,
        level,
        bucket,
        service: (level != Level::Fine).then(|| services[0].to_owned()),
        samples: blob("samples.parquet", 70),
        stacks: blob("stacks.parquet", 30),
        rows: 3,
        batches: u64::from(level == Level::Fine),
        spans: vec![(bucket, bucket + SECOND)],
        services: services.iter().map(sum).collect(),
    }
}

/// A batch with 10 samples.
pub(crate) fn delivery(instance: InstanceId, sequence: u64) -> Delivery {
    let start = T0 + sequence as i64 * SECOND;
    Delivery {
        id: BatchId { instance, sequence },
        samples: 10,
        window: (start, start + SECOND),
        host: format!("host{sequence}"),
        agent_version: "1.2.3".to_owned(),
        accounting: v1::Accounting { taken: sequence * 10, ..v1::Accounting::default() },
    }
}

/// All time.
pub(crate) const EVER: (i64, i64) = (i64::MIN, i64::MAX);

/// All live files of a level.
pub(crate) async fn live(catalog: &Catalog, level: Level) -> Vec<FileRow> {
    let query = FileQuery { level: Some(level), range: EVER, service: None, rolled: Rolled::Any };
    catalog.files(&query).await.expect("finds")
}

pub(crate) fn ids(files: &[FileRow]) -> Vec<FileId> {
    files.iter().map(|row| row.file.id).collect()
}
