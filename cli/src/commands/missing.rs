//! What to say when nothing matched. Not a failure: an idle night is an answer. (A service that does
//! not exist is one; the collector knows which there are and says so.)

use fleetprof_proto::v1::Query;

use crate::output::{text, units};

/// Why a list is empty and what to do.
pub(super) fn hint(query: &Query) -> String {
    let what = match query.selector.as_str() {
        "" | "{}" => "no samples are there".to_owned(),
        selector => format!("no samples match {}", text::clean(selector)),
    };
    let (start, end) = (query.start_unix_nanos, query.end_unix_nanos);
    format!(
        "{what} from {} to {}\nwiden the range with --from, or see `fleetprof status` for whether agents deliver",
        units::instant(start),
        units::instant(end)
    )
}

#[cfg(test)]
mod tests;
