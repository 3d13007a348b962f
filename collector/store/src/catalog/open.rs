//! From a URL to a catalog with tables that this version knows.

use std::{
    fmt::{self, Write as _},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    AnyConnection, AnyPool, Connection as _, Row as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{MigrateError, Migrator},
};
use tokio::time::{sleep, timeout};

use super::{
    database::{ACQUIRE, Database, Engine, PATIENCE},
    error::CatalogError,
};

/// Version of the encodings in rows, in the table `meta`.
const FORMAT: i64 = 1;
/// Tables, one file for each change of them.
static SQLITE_TABLES: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_TABLES: Migrator = sqlx::migrate!("migrations/postgres");

/// Connections of one process. More would not make PostgreSQL faster, and its default is 100 for all.
const POSTGRES_CONNECTIONS: u32 = 10;
const SQLITE_READERS: u32 = 4;

/// FULL: a commit is on disk when it returns. WAL: readers and the writer do not wait for each other.
const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; \
     PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON";
/// A collector that was stopped in the middle of a change must not hold others up for good, and a
/// database that was told to lose commits in a crash is told otherwise.
const POSTGRES_SETTINGS: &str = "SET idle_in_transaction_session_timeout = '60s'; \
     SET lock_timeout = '20s'; SET statement_timeout = '60s'; \
     SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') = 'off'";

/// Where a catalog is to be, by its URL.
#[derive(Clone)]
pub(super) struct Target {
    /// For messages: without a password.
    pub(super) name: Arc<str>,
    pub(super) engine: Engine,
    pub(super) options: AnyConnectOptions,
}

// === impl Target ===

impl fmt::Debug for Target {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.name)
    }
}

impl Target {
    /// Understands `sqlite:PATH` (the path as it is, nothing in it is special) and `postgres://…`.
    ///
    /// # Errors
    /// When it is neither.
    pub(super) fn parse(url: &str) -> Result<Self, CatalogError> {
        let name = without_password(url);
        let error = |why: String| CatalogError::Url { url: name.clone(), why };
        let (engine, full) = if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path == ":memory:" {
                return Err(error("it names no file".to_owned()));
            }
            (Engine::Sqlite, format!("sqlite:{}?mode=rwc", percent_encoded(path)))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            (Engine::Postgres, url.to_owned())
        } else {
            return Err(error("it begins with neither sqlite: nor postgres://".to_owned()));
        };
        let options = AnyConnectOptions::from_str(&full).map_err(|it| error(it.to_string()))?;
        Ok(Self { name: name.into(), engine, options })
    }

    /// Connects, brings the tables up to date, and connects for work.
    pub(super) async fn open(&self) -> Result<Database, CatalogError> {
        sqlx::any::install_default_drivers();
        let preparing = timeout(2 * PATIENCE, self.prepare());
        preparing.await.map_err(|_| CatalogError::Silent {
            action: "open",
            catalog: self.name.clone(),
            seconds: 2 * PATIENCE.as_secs(),
        })??;
        let (reader, writer) = match self.engine {
            Engine::Sqlite => (self.pool(SQLITE_READERS), self.pool(1)),
            Engine::Postgres => {
                let pool = self.pool(POSTGRES_CONNECTIONS);
                (pool.clone(), pool)
            }
        };
        Ok(Database { name: self.name.clone(), engine: self.engine, reader, writer })
    }

    fn settings(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => SQLITE_SETTINGS,
            Engine::Postgres => POSTGRES_SETTINGS,
        }
    }

    fn pool(&self, connections: u32) -> AnyPool {
        let settings = self.settings();
        let options = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql(settings).execute(connection).await?;
                    Ok(())
                })
            });
        options.connect_lazy_with(self.options.clone())
    }

    async fn prepare(&self) -> Result<(), CatalogError> {
        let mut wait = Duration::from_millis(20);
        loop {
            match self.migrate().await {
                // Two that make the same SQLite file at once: its journal cannot be changed meanwhile.
                Err(CatalogError::Database { source, .. })
                    if self.engine.is_conflict(&source) && wait < Duration::from_secs(2) =>
                {
                    sleep(wait).await;
                    wait *= 2;
                }
                settled => return settled,
            }
        }
    }

    async fn migrate(&self) -> Result<(), CatalogError> {
        let failed =
            |source| CatalogError::Database { action: "open", catalog: self.name.clone(), source };
        let mut connection = AnyConnection::connect_with(&self.options).await.map_err(failed)?;
        sqlx::raw_sql(self.settings()).execute(&mut connection).await.map_err(failed)?;
        let format = match self.engine {
            // The migrator locks PostgreSQL by itself. In SQLite it does not: the lock is the transaction.
            // (`run_direct` is `run` without a trait that makes futures that cannot be sent to threads.)
            Engine::Postgres => {
                let migrated = POSTGRES_TABLES.run_direct(None, &mut connection, false).await;
                migrated.map_err(|error| self.not_migrated(error))?;
                format(&mut connection).await.map_err(failed)?
            }
            Engine::Sqlite => {
                let begun = connection.begin_with("BEGIN IMMEDIATE").await;
                let mut transaction = begun.map_err(failed)?;
                let migrated = SQLITE_TABLES.run_direct(None, &mut *transaction, false).await;
                migrated.map_err(|error| self.not_migrated(error))?;
                let format = format(&mut transaction).await.map_err(failed)?;
                transaction.commit().await.map_err(failed)?;
                format
            }
        };
        connection.close().await.map_err(failed)?;
        if format > FORMAT {
            return Err(self.newer(format, FORMAT));
        }
        Ok(())
    }

    fn not_migrated(&self, error: MigrateError) -> CatalogError {
        let tables = match self.engine {
            Engine::Sqlite => &SQLITE_TABLES,
            Engine::Postgres => &POSTGRES_TABLES,
        };
        let known = tables.iter().map(|migration| migration.version).max().unwrap_or(0);
        match error {
            MigrateError::VersionMissing(found) => self.newer(found, known),
            source => CatalogError::Schema { catalog: self.name.clone(), source },
        }
    }

    fn newer(&self, found: i64, known: i64) -> CatalogError {
        CatalogError::Newer { catalog: self.name.clone(), found, known }
    }
}

/// The version of the encodings that a catalog was made with.
async fn format(connection: &mut AnyConnection) -> sqlx::Result<i64> {
    let query = sqlx::query("SELECT value FROM meta WHERE name = 'format'");
    let value: String = query.fetch_one(connection).await?.try_get(0)?;
    value.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A path as part of a URL: whatever means something in one is written with its number.
fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                encoded.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

/// A URL for messages: without the password and without parameters, which may contain one.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| *scheme != "sqlite")
    else {
        return url.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{user}@{host}")
        }
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

#[cfg(test)]
mod tests;
