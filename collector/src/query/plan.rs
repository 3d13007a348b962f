//! A checked query: which batches to read, which samples to take.

use fleetprof_proto::{selector::Selector, time_range::TimeRange, v1};
use fleetprof_store::{DAY, HOUR};

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

impl Plan {
    /// The same, of whole hours if the range is a day or longer: the hours that it begins and ends in are
    /// asked for as a whole. Of whole hours there are sums; parts of two hours would cost more than all
    /// the others.
    pub(super) fn widened(mut self) -> Self {
        let (start, end) = (self.range.start_unix_nanos(), self.range.end_unix_nanos());
        if end.saturating_sub(start) < DAY {
            return self;
        }
        let first = start.saturating_sub(start.rem_euclid(HOUR));
        let past = end.saturating_add((-end).rem_euclid(HOUR));
        if let Ok(range) = TimeRange::new(first, past) {
            self.range = range;
        }
        self
    }
}

impl TryFrom<Option<v1::Query>> for Plan {
    type Error = QueryError;

    fn try_from(query: Option<v1::Query>) -> Result<Self, QueryError> {
        let query = query.ok_or(QueryError::Missing)?;
        let range = TimeRange::new(query.start_unix_nanos, query.end_unix_nanos)?;
        Ok(Self { range, selector: Selector::parse(&query.selector)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widened(start: i64, end: i64) -> (i64, i64) {
        let range = TimeRange::new(start, end).expect("a range");
        let plan = Plan { range, selector: Selector::default() }.widened();
        (plan.range.start_unix_nanos(), plan.range.end_unix_nanos())
    }

    /// Check that the hours at both ends become whole, that whole ones stay, and that short ranges do.
    #[test]
    fn long_ranges_are_of_whole_hours() {
        assert_eq!(widened(HOUR + 1, HOUR + DAY + 1), (HOUR, 2 * HOUR + DAY));
        assert_eq!(widened(HOUR, HOUR + DAY), (HOUR, HOUR + DAY));
        assert_eq!(widened(HOUR + 1, HOUR + DAY), (HOUR + 1, HOUR + DAY));
        assert_eq!(widened(-1, DAY), (-HOUR, DAY));
        let (start, end) = widened(i64::MIN, i64::MAX);
        assert!(start == i64::MIN && end == i64::MAX, "{start} {end}");
    }
}
