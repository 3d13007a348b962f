//! Who does a piece of work that only one should do at a time. Leases save work; what keeps the store
//! right is that each change is checked where it is made.

use super::{
    change::Single, database::Database, error::CatalogError, sql::Statement, types::Lease,
};

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
