//! Connections to SQLite or PostgreSQL, and transactions that are tried again when that is safe.

use std::{sync::Arc, time::Duration};

use sqlx::{AnyConnection, AnyPool, Connection as _, any::AnyRow};
use tokio::time::{Instant, sleep, timeout};

use super::{error::CatalogError, sql::Statement};

/// The longest that a statement, or a change up to its COMMIT, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection is waited for, also while the server is away.
pub(super) const ACQUIRE: Duration = Duration::from_secs(10);
/// How often a change is tried again, waiting twice as long each time, beginning with [`FIRST_WAIT`].
const RETRIES: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// Where a catalog is. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Database {
    /// For messages.
    pub(super) name: Arc<str>,
    pub(super) engine: Engine,
    pub(super) reader: AnyPool,
    /// For SQLite, one connection: writers of this process then queue up instead of polling for a lock.
    pub(super) writer: AnyPool,
}

/// What differs between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

/// A change that is made in one transaction, maybe in several attempts.
pub(super) trait Change: Sync {
    /// What the caller wants to know.
    type Answer: Send;

    /// For messages: "cannot … the catalog".
    const ACTION: &'static str;

    /// Makes the change. It may be called again from the start after everything was rolled back.
    fn make(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> impl Future<Output = Result<Outcome<Self::Answer>, CatalogError>> + Send;
}

/// How a transaction is to end.
pub(super) enum Outcome<T> {
    /// With COMMIT.
    Keep(T),
    /// With ROLLBACK.
    Undo(T),
}

/// What a [`Change`] works with.
pub(super) struct Transaction<'a> {
    connection: &'a mut AnyConnection,
    database: &'a Database,
    action: &'static str,
}

// === impl Engine ===

impl Engine {
    /// SQLite would otherwise find out at the first write that somebody else has written since the
    /// first read, and fail. PostgreSQL's rows are locked one by one; the level is named because a
    /// database may have another default.
    fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Whether a failure means that others were faster, and all was rolled back.
    pub(super) fn is_conflict(self, error: &sqlx::Error) -> bool {
        let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code)
        else {
            return false;
        };
        match self {
            // SQLITE_BUSY and SQLITE_LOCKED in the low byte; what is above says more.
            Self::Sqlite => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6)),
            // serialization_failure, deadlock_detected, lock_not_available
            Self::Postgres => matches!(&*code, "40001" | "40P01" | "55P03"),
        }
    }

    /// Whether a failure means that the connection is gone.
    fn is_lost(self, error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::Io(_) => true,
            sqlx::Error::Database(error) if self == Self::Postgres => {
                error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
            }
            _ => false,
        }
    }
}

// === impl Database ===

impl Database {
    /// Reads rows with one statement, which sees one state of the catalog.
    pub(super) async fn read(
        &self,
        action: &'static str,
        statement: Statement,
    ) -> Result<Vec<AnyRow>, CatalogError> {
        let reading = async {
            let mut connection = self.reader.acquire().await?;
            statement.fetch(self.engine, &mut connection).await
        };
        self.bounded(action, reading).await
    }

    /// Makes a change, all of it or nothing. Others that were faster and connections that broke before
    /// COMMIT was sent lead to further attempts.
    pub(super) async fn change<C: Change>(&self, change: &C) -> Result<C::Answer, CatalogError> {
        let (started, mut wait, mut retries) = (Instant::now(), FIRST_WAIT, 0);
        loop {
            let error = match self.attempt(change).await {
                Err(CatalogError::Database { source, action, catalog })
                    if self.engine.is_conflict(&source) || self.engine.is_lost(&source) =>
                {
                    CatalogError::Database { source, action, catalog }
                }
                settled => return settled,
            };
            retries += 1;
            if retries > RETRIES || started.elapsed() > PATIENCE {
                return Err(error);
            }
            tracing::debug!(%error, retries, "a change of the catalog is tried again");
            // Those that collided do not meet again at the same moment.
            sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
            wait *= 2;
        }
    }

    async fn attempt<C: Change>(&self, change: &C) -> Result<C::Answer, CatalogError> {
        let acquired = timeout(PATIENCE, self.writer.acquire()).await;
        let acquired = acquired.map_err(|_| self.silent(C::ACTION, PATIENCE))?;
        let mut connection = acquired.map_err(|source| self.failed(C::ACTION, source))?;
        let result = self.attempt_on(&mut connection, change).await;
        let is_conflict = |error: &CatalogError| matches!(error, CatalogError::Database { source, .. } if self.engine.is_conflict(source));
        if self.engine == Engine::Sqlite && result.as_ref().is_err_and(|error| !is_conflict(error))
        {
            // SQLite rolls back by itself after some failures (a full disk), which the driver does not
            // notice: it would refuse every further transaction.
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "a connection that failed could not be closed in order");
            }
        }
        result
    }

    async fn attempt_on<C: Change>(
        &self,
        connection: &mut AnyConnection,
        change: &C,
    ) -> Result<C::Answer, CatalogError> {
        let making = async {
            let begun = connection.begin_with(self.engine.begin()).await;
            let mut begun = begun.map_err(|source| self.failed(C::ACTION, source))?;
            let mut transaction =
                Transaction { connection: &mut begun, database: self, action: C::ACTION };
            let outcome = change.make(&mut transaction).await?;
            Ok((begun, outcome))
        };
        // Dropping a transaction rolls it back.
        let made = timeout(PATIENCE, making).await;
        let (begun, outcome) = made.map_err(|_| self.silent(C::ACTION, PATIENCE))??;
        let answer = match outcome {
            Outcome::Keep(answer) => answer,
            Outcome::Undo(answer) => {
                if let Err(error) = begun.rollback().await {
                    tracing::debug!(%error, "a rollback failed: the connection is gone, and all with it");
                }
                return Ok(answer);
            }
        };
        let unknown = |why| {
            let catalog = self.name.clone();
            CatalogError::Unknown { action: C::ACTION, catalog, why }
        };
        match timeout(PATIENCE, begun.commit()).await {
            Ok(Ok(())) => Ok(answer),
            Ok(Err(error)) if self.engine.is_conflict(&error) => Err(self.failed(C::ACTION, error)),
            // SQLite found no room for it: it is not made.
            Ok(Err(error)) if is_full(&error) => Err(self.failed(C::ACTION, error)),
            Ok(Err(error)) => Err(unknown(error.to_string())),
            Err(_) => Err(unknown(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn bounded<T>(
        &self,
        action: &'static str,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, CatalogError> {
        match timeout(PATIENCE, work).await {
            Ok(done) => done.map_err(|source| self.failed(action, source)),
            Err(_) => Err(self.silent(action, PATIENCE)),
        }
    }

    pub(super) fn failed(&self, action: &'static str, source: sqlx::Error) -> CatalogError {
        match source {
            // The pool's own words say nothing about a server.
            sqlx::Error::PoolTimedOut => self.silent(action, ACQUIRE),
            source => CatalogError::Database { action, catalog: self.name.clone(), source },
        }
    }

    pub(super) fn silent(&self, action: &'static str, waited: Duration) -> CatalogError {
        CatalogError::Silent { action, catalog: self.name.clone(), seconds: waited.as_secs() }
    }

    pub(super) fn damaged(&self, what: impl Into<String>, why: impl Into<String>) -> CatalogError {
        let (what, why) = (what.into(), why.into());
        CatalogError::Damaged { catalog: self.name.clone(), what, why }
    }
}

// === impl Transaction ===

impl Transaction<'_> {
    /// For messages about its rows.
    pub(super) fn database(&self) -> &Database {
        self.database
    }

    /// What to add to a SELECT so that nobody else changes its rows before this transaction ends.
    /// In SQLite nobody can, as there is one writer at a time.
    pub(super) fn lock(&self) -> &'static str {
        match self.database.engine {
            Engine::Sqlite => "",
            Engine::Postgres => " FOR UPDATE",
        }
    }

    /// Runs a statement; gives the number of rows that it changed.
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, CatalogError> {
        let changed = statement.execute(self.database.engine, self.connection).await;
        changed.map_err(|source| self.database.failed(self.action, source))
    }

    /// Runs a statement; gives its rows.
    pub(super) async fn fetch(
        &mut self,
        statement: Statement,
    ) -> Result<Vec<AnyRow>, CatalogError> {
        let rows = statement.fetch(self.database.engine, self.connection).await;
        rows.map_err(|source| self.database.failed(self.action, source))
    }
}

/// Whether a database lacks space: SQLite's code 13, PostgreSQL's 53100.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    matches!(error.code().as_deref(), Some("13" | "53100"))
}
