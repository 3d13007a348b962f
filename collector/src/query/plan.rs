//! A checked query: which batches to read, which samples to take.

use fleetprof_proto::{selector::Selector, time_range::TimeRange, v1};

use super::QueryError;

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Batches whose window's middle is inside.
    pub range: TimeRange,
    /// Samples whose labels match.
    pub selector: Selector,
}

// === impl Plan ===

impl TryFrom<Option<v1::Query>> for Plan {
    type Error = QueryError;

    fn try_from(query: Option<v1::Query>) -> Result<Self, QueryError> {
        let query = query.ok_or(QueryError::Missing)?;
        let range = TimeRange::new(query.start_unix_nanos, query.end_unix_nanos)?;
        Ok(Self { range, selector: Selector::parse(&query.selector)? })
    }
}
