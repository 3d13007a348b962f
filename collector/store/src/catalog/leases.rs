//! Who does a piece of work that only one should do at a time. Leases save work; what keeps the store
//! right is that each change is checked where it is made.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use sqlx::Row as _;

use super::{
    change::Single,
    database::{Change, Database, Outcome, Transaction},
    error::CatalogError,
    sql::Statement,
    types::Lease,
};

/// Rows of one statement.
const STEP: usize = 1000;

/// Leases for many pieces of work at once.
struct LeaseAll<'a> {
    names: Vec<&'a str>,
    holder: &'a str,
    expires: i64,
    now: i64,
}

/// Gives a lease that is free, that has expired, or that the holder has already.
pub(super) async fn lease(
    database: &Database,
    wanted: Lease,
    now: i64,
) -> Result<Option<Lease>, CatalogError> {
    let statement = || {
        Statement::new("INSERT INTO leases (name, holder, expires) VALUES ")
            .rows([&wanted], |values, lease| {
                values.bind(lease.name.clone()).bind(lease.holder.clone()).bind(lease.expires);
            })
            .push(
                " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, \
                 expires = excluded.expires \
                 WHERE leases.holder = excluded.holder OR leases.expires <= ",
            )
            .bind(now)
    };
    let granted = database.change(&Single(statement)).await? > 0;
    Ok(granted.then_some(wanted))
}

/// Gives a lease back; nothing happens when somebody else has it by now.
pub(super) async fn release(database: &Database, lease: &Lease) -> Result<(), CatalogError> {
    let statement = || {
        Statement::new("DELETE FROM leases WHERE name = ")
            .bind(lease.name.clone())
            .push(" AND holder = ")
            .bind(lease.holder.clone())
    };
    database.change(&Single(statement)).await?;
    Ok(())
}

impl Change for LeaseAll<'_> {
    type Answer = HashSet<String>;

    const ACTION: &'static str = "lease work in";

    async fn make(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Outcome<HashSet<String>>, CatalogError> {
        let mut granted = HashSet::new();
        for chunk in self.names.chunks(STEP) {
            let statement = Statement::new("INSERT INTO leases (name, holder, expires) VALUES ")
                .rows(chunk, |values, name| {
                    values.bind((*name).to_owned()).bind(self.holder.to_owned());
                    values.bind(self.expires);
                })
                .push(
                    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, \
                     expires = excluded.expires \
                     WHERE leases.holder = excluded.holder OR leases.expires <= ",
                )
                .bind(self.now)
                .push(" RETURNING name");
            for row in transaction.fetch(statement).await? {
                let name = row.try_get(0);
                granted.insert(
                    name.map_err(|source| transaction.database().failed(Self::ACTION, source))?,
                );
            }
        }
        Ok(Outcome::Keep(granted))
    }
}

/// Gives those of many leases that are free, that have expired, or that the holder has already.
pub(super) async fn lease_all(
    database: &Database,
    names: &[String],
    holder: &str,
    ttl: Duration,
    now: i64,
) -> Result<HashSet<String>, CatalogError> {
    let ttl = i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX);
    // In order, each once: two that want the same ones never wait for each other.
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let (names, expires) = (names.into_iter().collect(), now.saturating_add(ttl));
    database.change(&LeaseAll { names, holder, expires, now }).await
}

/// Gives many leases back.
pub(super) async fn release_all(
    database: &Database,
    names: &[String],
    holder: &str,
) -> Result<(), CatalogError> {
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_unstable();
    for chunk in names.chunks(STEP) {
        let statement = || {
            let statement = Statement::new("DELETE FROM leases WHERE holder = ");
            let statement = statement.bind(holder.to_owned()).push(" AND name IN ");
            statement.list(chunk.iter().map(|name| (*name).clone()))
        };
        database.change(&Single(statement)).await?;
    }
    Ok(())
}
