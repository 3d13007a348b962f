//! CPU over time, by label values.
//!
//! A sample counts in the step that the middle of its window falls into: sums over steps are exact and
//! equal those of the other queries, at the price of a shift by at most half a window. A step is never
//! narrower than the widest window in the range, which would show gaps that are none.
//! Steps start at multiples of their width since the Unix epoch, so that ranges line up.

use std::collections::BTreeMap;

use fleetprof_proto::v1;
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts, missing,
    reader::{self, Need},
};
use fleetprof_store::midpoint;

const SECOND: i64 = 1_000_000_000;
/// Widths to choose from, seconds; each divides the next.
const WIDTHS: [i64; 12] = [1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600, 86_400, 604_800];
/// Points aimed at when the collector chooses.
const AIM: i64 = 120;
/// Most points of one series.
const MAX_POINTS: i64 = 11_000;
/// Most points of all series together.
const MAX_TOTAL: usize = 1_000_000;

/// What is summed up of a step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub nanos: u64,
    pub samples: u64,
    /// Of a function: those in itself.
    pub self_nanos: u64,
}

/// Sums per step.
type Points = BTreeMap<i64, Sum>;

/// What is being summed up.
pub(super) struct Builder {
    pub step: i64,
    series: BTreeMap<Vec<String>, Points>,
    points: usize,
}

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    group_by: &[String],
    step: i64,
    cancel: &CancellationToken,
) -> Result<v1::SeriesResponse, QueryError> {
    let step = first_step(plan, step)?;
    let mut builder = Builder::new(step);
    let group_labels = group_by.iter().map(String::as_str).collect();
    let need = Need { labels: group_labels, step, ..Need::default() };
    let coverage = reader::for_each(parts, plan, &need, cancel, |table| {
        let mut matched: u64 = 0;
        // Of each set of labels: its series, if it matches.
        let series: Vec<Option<Vec<String>>> = (0..table.code.origin_count())
            .map(|origin| {
                let labels: BTreeMap<_, _> = table.code.origin_labels(origin).collect();
                let value = |name: &String| labels.get(name.as_str()).copied().unwrap_or("");
                let matches = plan.selector.matches(|name| labels.get(name).copied());
                matches.then(|| group_by.iter().map(value).map(str::to_owned).collect())
            })
            .collect();
        for row in &table.rows {
            let Some(values) = &series[row.origin as usize] else { continue };
            builder.widen(row.window.end_unix_nanos - row.window.start_unix_nanos);
            let sum = Sum { nanos: row.nanos, samples: row.samples, self_nanos: 0 };
            builder.add(values, midpoint(row.window), sum)?;
            matched = matched.saturating_add(row.samples);
        }
        Ok(matched)
    })?;
    missing::require_service(parts, plan, &coverage, cancel)?;
    let step_nanos = builder.step;
    Ok(v1::SeriesResponse {
        series: builder.finish(),
        step_nanos,
        coverage: Some(coverage.into_wire()),
    })
}

/// The step that was asked for, or the narrowest that gives few enough points.
pub(super) fn first_step(plan: &Plan, asked: i64) -> Result<i64, QueryError> {
    let range = i64::try_from(plan.range.nanos()).unwrap_or(i64::MAX);
    if asked < 0 {
        return Err(QueryError::Invalid(format!("step of {asked} ns: expected 0 or more")));
    }
    if asked == 0 {
        let mut widths = WIDTHS.iter().map(|seconds| seconds * SECOND);
        let chosen = widths.clone().find(|width| range / width <= AIM);
        return Ok(chosen.or(widths.next_back()).unwrap_or(SECOND));
    }
    if range / asked > MAX_POINTS {
        return Err(QueryError::TooLarge(format!(
            "a step of {asked} ns gives more than {MAX_POINTS} points: use a wider one, or 0"
        )));
    }
    Ok(asked)
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, other: Self) {
        self.nanos = self.nanos.saturating_add(other.nanos);
        self.samples = self.samples.saturating_add(other.samples);
        self.self_nanos = self.self_nanos.saturating_add(other.self_nanos);
    }
}

// === impl Builder ===

impl Builder {
    pub(super) fn new(step: i64) -> Self {
        Self { step, series: BTreeMap::new(), points: 0 }
    }

    /// Makes the step a multiple of itself that is no narrower than a window.
    pub(super) fn widen(&mut self, window: i64) {
        if window <= self.step {
            return;
        }
        let next = WIDTHS.iter().map(|seconds| seconds * SECOND);
        let next = next.filter(|width| width % self.step == 0).find(|width| *width >= window);
        self.step = next.unwrap_or_else(|| self.step.saturating_mul((window - 1) / self.step + 1));
        for points in self.series.values_mut() {
            let mut wider = Points::new();
            for (start, sum) in std::mem::take(points) {
                wider.entry(floor(start, self.step)).or_default().add(sum);
            }
            *points = wider;
        }
        self.points = self.series.values().map(BTreeMap::len).sum();
    }

    pub(super) fn add(&mut self, values: &[String], at: i64, sum: Sum) -> Result<(), QueryError> {
        if !self.series.contains_key(values) {
            self.series.insert(values.to_vec(), Points::new());
        }
        let Some(points) = self.series.get_mut(values) else { return Ok(()) };
        let before = points.len();
        points.entry(floor(at, self.step)).or_default().add(sum);
        self.points += points.len() - before;
        if self.points > MAX_TOTAL {
            return Err(QueryError::TooLarge(format!(
                "more than {MAX_TOTAL} points: group by fewer labels, or use a wider step"
            )));
        }
        Ok(())
    }

    /// Most CPU first.
    pub(super) fn finish(self) -> Vec<v1::TimeSeries> {
        let total = |series: &v1::TimeSeries| {
            series.points.iter().fold(0, |sum: u64, point| sum.saturating_add(point.cpu_nanos))
        };
        let point = |(unix_nanos, sum): (i64, Sum)| v1::Point {
            unix_nanos,
            cpu_nanos: sum.nanos,
            samples: sum.samples,
            self_nanos: sum.self_nanos,
        };
        let series = |(values, points): (Vec<String>, Points)| v1::TimeSeries {
            values,
            points: points.into_iter().map(point).collect(),
        };
        let mut all: Vec<_> = self.series.into_iter().map(series).collect();
        all.sort_by_cached_key(|series| std::cmp::Reverse(total(series)));
        all
    }
}

/// The start of the step that an instant is in.
fn floor(at: i64, step: i64) -> i64 {
    at - at.rem_euclid(step)
}

#[cfg(test)]
mod tests;
