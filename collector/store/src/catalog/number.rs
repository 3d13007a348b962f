//! Numbers without a sign in columns that have one.

use sqlx::{Row as _, any::AnyRow};

use super::{database::Database, error::CatalogError};

/// A number for a column.
///
/// # Errors
/// When it does not fit; `what` says whose it is.
pub(super) fn stored(value: u64, what: impl FnOnce() -> String) -> Result<i64, CatalogError> {
    value.try_into().map_err(|_| CatalogError::TooLarge { what: what(), value })
}

/// A number from a column; null, the sum of nothing, is 0.
///
/// # Errors
/// When it is negative, or is no number.
pub(super) fn column(database: &Database, row: &AnyRow, at: usize) -> Result<u64, CatalogError> {
    let value: Option<i64> =
        row.try_get(at).map_err(|source| database.failed("read numbers of", source))?;
    let value = value.unwrap_or(0);
    value
        .try_into()
        .map_err(|_| database.damaged(format!("column {at} of a row"), format!("is {value}")))
}
