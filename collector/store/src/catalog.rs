//! Which files there are, which batches they hold, and who works on them: the one place where changes
//! of the store become true, each by one transaction.
//!
//! SQLite for one directory, PostgreSQL for a fleet, by the same statements. A file is *live* until it
//! is retired: replaced by others, or too old. A retired one is not found by queries any more; its row
//! stays until its blobs are removed, so that a sweep for blobs that nobody knows can be told apart
//! from one for those that are no longer wanted.
//!
//! All times are Unix nanoseconds, given by the caller; ends of ranges are exclusive.

mod audit;
mod change;
mod commit;
mod database;
mod error;
mod files;
mod functions;
mod import;
mod known;
mod labels;
mod leases;
mod number;
mod open;
mod runs;
mod spans;
mod sql;
mod status;
mod symbols;
mod types;
mod varint;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use fleetprof_proto::ids::BatchId;
use sqlx::{AnyConnection, Connection as _, Row as _};
use tokio::time::timeout;

use crate::level::Level;

pub use audit::BucketSum;
pub use error::CatalogError;
pub use import::Foreign;
pub use labels::LabelValue;
pub use symbols::{SymbolContent, SymbolCursor, SymbolTable};
pub use types::{
    Blob, CatalogStatus, Committed, Delivery, Expire, FileId, FileQuery, FileRow, FunctionFile,
    Instance, LateFunctions, Lease, LevelStatus, NewFile, NewFunctions, Replace, Rolled,
    ServiceSum,
};

use change::{Each, Replacement, RetireUntil, Single};
use commit::Commit;
use database::{Database, Engine};
use files::Encoded;
use known::KnownFiles;
use open::Target;
use sql::Statement;

/// How long [`Catalog::check`] waits: less than whoever asks for readiness does.
const CHECK: Duration = Duration::from_secs(3);
/// How long it then looks for the cause.
const CHECK_CAUSE: Duration = Duration::from_secs(1);

/// For messages.
const IDENTITY: &str = "read the identity of";

/// A catalog. Cloning shares it and its connections.
///
/// Every method that changes something does all of it or nothing. With [`CatalogError::Unknown`] one of
/// the two is the case, and the same call again is safe: a batch or a replacement is never taken twice.
/// Futures may be dropped: that is like an unknown end.
#[derive(Clone, Debug)]
pub struct Catalog {
    database: Database,
    target: Target,
    known: Arc<KnownFiles>,
}

// === impl Catalog ===

impl Catalog {
    /// Opens `sqlite:PATH` (the directory must be there, the file is made) or `postgres://…` (the
    /// database must be there), and makes its tables or brings them up to date. Any number of processes
    /// may do so at once.
    ///
    /// # Errors
    /// When it is not reached, or was made by a newer version.
    pub async fn open(url: &str) -> Result<Self, CatalogError> {
        let target = Target::parse(url)?;
        Ok(Self { database: target.open().await?, target, known: Arc::default() })
    }

    /// Closes all connections; SQLite then puts everything in the one file.
    pub async fn close(&self) {
        self.database.reader.close().await;
        self.database.writer.close().await;
    }

    /// Takes new files and the batches in them over, unless one of the batches was taken over before
    /// or stands there twice: then nothing is done. Exact also when several processes commit the same
    /// batches at the same time: exactly one of them is told [`Committed::Done`].
    ///
    /// # Errors
    /// When the database fails, or a file contradicts itself.
    pub async fn commit(
        &self,
        files: &[NewFile],
        deliveries: &[Delivery],
        now: i64,
    ) -> Result<Committed, CatalogError> {
        self.commit_labelled(files, deliveries, &BTreeSet::new(), |_| false, now).await
    }

    /// The same with values of labels; `labelled` says of which files all values are known then.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_labelled(
        &self,
        files: &[NewFile],
        deliveries: &[Delivery],
        labels: &BTreeSet<LabelValue>,
        labelled: impl Fn(FileId) -> bool,
        now: i64,
    ) -> Result<Committed, CatalogError> {
        let mut files = Encoded::all(files)?;
        files.iter_mut().for_each(|it| it.labelled = labelled(it.file.id));
        self.database.change(&Commit { files, deliveries, labels, now }).await
    }

    /// Which of these batches are in the store.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn contains(&self, ids: &[BatchId]) -> Result<HashSet<BatchId>, CatalogError> {
        commit::contains(&self.database, ids).await
    }

    /// Live files that a query asks for, the damaged ones among them included, by bucket, then by when
    /// they were committed. One state of the catalog: never both a file and what took its place.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn files(&self, query: &FileQuery<'_>) -> Result<Vec<FileRow>, CatalogError> {
        files::read(&self.database, "look for files in", files::queried(query)).await
    }

    /// The same as [`Self::files`], for those who ask for the same again: what was found before is given if it
    /// still holds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_files(&self, query: &FileQuery<'_>) -> Result<Arc<[FileRow]>, CatalogError> {
        self.known.find(&self.database, query).await
    }

    /// Live files that are damaged, by bucket.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn damaged(&self) -> Result<Vec<FileRow>, CatalogError> {
        let found = "retired IS NULL AND damaged IS NOT NULL ORDER BY bucket, created, id";
        files::read(&self.database, "look for damaged files in", files::select(found)).await
    }

    /// Puts outputs in the place of inputs; `false`, and nothing is done, when one of the inputs is not
    /// live any more, is damaged, or was rolled in the meantime: somebody else was faster.
    ///
    /// # Errors
    /// When the database fails, or when outputs and inputs do not fit together: no inputs or outputs,
    /// wrong levels, not the same number of samples.
    pub async fn replace(
        &self,
        inputs: &[FileId],
        outputs: &[NewFile],
        how: Replace,
        now: i64,
    ) -> Result<bool, CatalogError> {
        self.database.change(&Replacement::new(inputs, outputs, how, now)?).await
    }

    /// Retires live files of a level all of whose data are from before `before`, and, unless the level is
    /// the last or they are damaged, in the next level, too; gives their number.
    ///
    /// # Errors
    /// When the database fails, or the list of services is longer than 29,997.
    pub async fn expire(
        &self,
        level: Level,
        which: Expire<'_>,
        before: i64,
        now: i64,
    ) -> Result<u64, CatalogError> {
        self.database.change(&change::expire(level, which, before, now)?).await
    }

    /// Retires files until the live ones have no more than `max_bytes`; gives their number.
    ///
    /// Detail goes first, history last: files whose samples are in the next level, too, those of the
    /// finest level first, the oldest of a level first. Only when none of these is left, the oldest of
    /// those that nothing else stands for, whatever their level. The space becomes free when the retired
    /// files are removed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire_until(&self, max_bytes: u64, now: i64) -> Result<u64, CatalogError> {
        self.database.change(&RetireUntil { max_bytes, now }).await
    }

    /// Files that were retired before `before`, the longest retired first, no more than `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retired(&self, before: i64, limit: u32) -> Result<Vec<FileRow>, CatalogError> {
        let statement = files::select("retired IS NOT NULL AND retired < ").bind(before);
        let statement = statement.push(" ORDER BY retired, id LIMIT ").bind(i64::from(limit));
        files::read(&self.database, "look for retired files in", statement).await
    }

    /// Forgets retired files whose blobs are gone; gives their number. Live ones stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(&self, ids: &[FileId]) -> Result<u64, CatalogError> {
        let statement = || Statement::new("DELETE FROM files WHERE retired IS NOT NULL AND id IN ");
        self.database.change(&Each { ids, statement }).await
    }

    /// Which of these files are known, live or retired.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known(&self, ids: &[FileId]) -> Result<HashSet<FileId>, CatalogError> {
        files::known(&self.database, ids).await
    }

    /// Notes that a live file is damaged; `false` when it was noted before (the first reason stays), or
    /// when it is not live.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quarantine(&self, id: FileId, reason: &str) -> Result<bool, CatalogError> {
        let statement = || {
            let statement =
                Statement::new("UPDATE files SET damaged = ").bind(commit::storable(reason));
            statement.push(" WHERE damaged IS NULL AND retired IS NULL AND id = ").bind(id.number())
        };
        Ok(self.database.change(&Single(statement)).await? > 0)
    }

    /// Notes that a damaged file is whole again; `false` when it was not damaged, or is not live.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn heal(&self, id: FileId) -> Result<bool, CatalogError> {
        let statement = || {
            let statement = Statement::new(
                "UPDATE files SET damaged = NULL \
                 WHERE damaged IS NOT NULL AND retired IS NULL AND id = ",
            );
            statement.bind(id.number())
        };
        Ok(self.database.change(&Single(statement)).await? > 0)
    }

    /// Gives `holder` the lease of a piece of work until `now + ttl`, or renews it; `None` while
    /// somebody else has it. The clocks of holders should differ by much less than `ttl`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease(
        &self,
        name: &str,
        holder: &str,
        ttl: Duration,
        now: i64,
    ) -> Result<Option<Lease>, CatalogError> {
        let ttl = i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX);
        let expires = now.saturating_add(ttl);
        let wanted = Lease { name: name.to_owned(), holder: holder.to_owned(), expires };
        leases::lease(&self.database, wanted, now).await
    }

    /// Gives a lease back before its end; nothing happens when somebody else has it by now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release(&self, lease: &Lease) -> Result<(), CatalogError> {
        leases::release(&self.database, lease).await
    }

    /// Agent instances that batches were taken over from: those with the latest data, latest first, no
    /// more than `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn latest_instances(&self, limit: u32) -> Result<Vec<Instance>, CatalogError> {
        status::latest_instances(&self.database, limit).await
    }

    /// Those that said that they lost something, whose first window begins before the end of a range, and
    /// whose last one ends after its start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lossy_instances(&self, range: (i64, i64)) -> Result<Vec<Instance>, CatalogError> {
        status::lossy_instances(&self.database, range).await
    }

    /// Forgets agent instances whose last window ended before an instant, Unix nanoseconds; gives how
    /// many. Their batches would be taken over again, so that it must be long ago.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_instances(&self, before: i64) -> Result<u64, CatalogError> {
        status::forget_instances(&self.database, before).await
    }

    /// Everything in numbers.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn status(&self) -> Result<CatalogStatus, CatalogError> {
        status::status(&self.database).await
    }

    /// Sums by service, by name, over those live and undamaged files of a level that lie in a range as
    /// a whole; what else is in the range must be read from files.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn services(
        &self,
        level: Level,
        range: (i64, i64),
    ) -> Result<Vec<ServiceSum>, CatalogError> {
        status::services(&self.database, level, range).await
    }

    /// What identifies the store that this is the catalog of: made at random when it is first asked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn identity(&self) -> Result<String, CatalogError> {
        let identity = format!("{:032x}", fastrand::u128(..));
        let statement = || {
            let statement = Statement::new("INSERT INTO meta (name, value) VALUES ");
            let row = [("store", identity.clone())];
            let statement = statement.rows(row, |values, (name, value)| {
                values.bind(name.to_owned()).bind(value);
            });
            statement.push(" ON CONFLICT (name) DO NOTHING")
        };
        self.database.change(&Single(statement)).await?;
        let statement = Statement::new("SELECT value FROM meta WHERE name = ");
        let rows = self.database.read(IDENTITY, statement.bind("store".to_owned())).await?;
        let value = rows.first().map_or(Err(sqlx::Error::RowNotFound), |row| row.try_get(0));
        value.map_err(|source| self.database.failed(IDENTITY, source))
    }

    /// Whether the catalog is reached and can be written, at once: it writes a row. Answers within 4 s.
    ///
    /// # Errors
    /// With the cause when not.
    pub async fn check(&self) -> Result<(), CatalogError> {
        const ACTION: &str = "write to";
        let statement = || {
            let row = [("check", fastrand::u64(..).to_string())];
            let statement = Statement::new("INSERT INTO meta (name, value) VALUES ");
            let statement = statement.rows(row, |values, (name, value)| {
                values.bind(name.to_owned()).bind(value);
            });
            statement.push(" ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        };
        let write = Single(statement);
        if let Ok(written) = timeout(CHECK, self.database.change(&write)).await {
            return written.map(drop);
        }
        // A pool waits until a server is back, and does not say what it waits for.
        if self.target.engine == Engine::Postgres {
            let connecting = AnyConnection::connect_with(&self.target.options);
            if let Ok(Err(source)) = timeout(CHECK_CAUSE, connecting).await {
                return Err(self.database.failed(ACTION, source));
            }
        }
        Err(self.database.silent(ACTION, CHECK))
    }
}
