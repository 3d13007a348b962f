//! Reads the samples that a plan selects, a file at a time.

mod days;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use fleetprof_proto::{labels, selector::Matcher};
use fleetprof_store::{Piece, ReadPlan, Stacks, StoreError, Table, Wanted, Wish};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::days::Days;
use super::{Plan, QueryError, QueryParts, coverage::Coverage, sums::Key};
use crate::memory;

/// Pieces that are read before they are used, as long as their files have no more rows together: one second of
/// a large fleet is a file of some 300,000, which takes a hundred MB.
const AHEAD: usize = 4;
const AHEAD_ROWS: u64 = 500_000;

/// What of the samples a question looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Need<'a> {
    /// Labels without which it cannot be answered, besides those of the selector.
    pub labels: Vec<&'a str>,
    /// Whether all further labels are looked at, as far as they are there.
    pub all_labels: bool,
    /// Steps of time to tell apart, nanoseconds; 0: none.
    pub step: i64,
    /// What of stacks.
    pub stacks: Stacks,
    /// Only samples of these services, where the selector names none.
    pub services: Option<BTreeSet<String>>,
    /// Nobody will ask for the same again: nothing is remembered for it.
    pub once: bool,
}

/// A piece's rows, now or soon.
enum Coming {
    Known(Arc<Table>),
    /// To be remembered under the key, where there is one.
    Reading(AbortOnDropHandle<Result<Table, StoreError>>, Option<Key>),
}

/// The samples of one origin.
pub(super) struct OriginSum<'a> {
    /// Its labels, as far as they were needed: few.
    pub labels: Vec<(&'a str, &'a str)>,
    pub samples: u64,
    pub nanos: u64,
}

/// What is to be read for a query, and what was read so far.
pub(super) struct Source {
    pub pieces: Vec<Piece>,
    pub coverage: Coverage,
}

/// Hands the samples of the range to `visit`, which answers how many of them matched. They are those of
/// the plan's service, where it names one; other matchers are up to `visit`.
pub(super) fn for_each(
    parts: &QueryParts,
    plan: &Plan,
    need: &Need<'_>,
    cancel: &CancellationToken,
    visit: impl FnMut(&Table) -> Result<u64, QueryError>,
) -> Result<Coverage, QueryError> {
    let source = begin(parts, plan, need, cancel)?;
    visit_all(parts, plan, need, cancel, source, visit)
}

/// What there is to read for a query.
pub(super) fn begin(
    parts: &QueryParts,
    plan: &Plan,
    need: &Need<'_>,
    cancel: &CancellationToken,
) -> Result<Source, QueryError> {
    let ReadPlan { pieces, lacks } = choose(parts, plan, need, cancel)?;
    let mut coverage = Coverage::new(plan.range);
    for instance in wait(parts, cancel, parts.store.lossy_instances(range(plan)))? {
        coverage.lost(&instance.accounting);
    }
    lacks.into_iter().for_each(|lack| coverage.damage(lack));
    Ok(Source { pieces, coverage })
}

/// Hands the samples of all pieces of a source to `visit`, which answers how many of them matched.
pub(super) fn visit_all(
    parts: &QueryParts,
    plan: &Plan,
    need: &Need<'_>,
    cancel: &CancellationToken,
    Source { pieces, mut coverage }: Source,
    mut visit: impl FnMut(&Table) -> Result<u64, QueryError>,
) -> Result<Coverage, QueryError> {
    let wanted = wanted(plan, need);
    let (known, pieces, mut days) = Days::split(parts, plan, need, &wanted, pieces);
    let mut pieces = pieces.into_iter();
    let mut ahead: VecDeque<(Piece, Coming)> = VecDeque::new();
    loop {
        while has_room(&ahead, need)
            && let Some(piece) = pieces.next()
        {
            let coming = Coming::of(parts, plan, need, &piece, &wanted);
            ahead.push_back((piece, coming));
        }
        let Some((piece, coming)) = ahead.pop_front() else { break };
        if matches!(coming, Coming::Reading(..)) {
            check_memory(parts.memory_limit)?;
        }
        match coming.table(parts, cancel)? {
            Ok(table) => {
                coverage.read(&piece.file.file);
                coverage.samples = coverage.samples.saturating_add(visit(&table)?);
                days.add(parts, &piece, Some(&table));
            }
            Err(damage) => {
                coverage.damage(damage);
                days.add(parts, &piece, None);
            }
        }
    }
    for (pieces, table) in known {
        pieces.iter().for_each(|piece| coverage.read(&piece.file.file));
        coverage.samples = coverage.samples.saturating_add(visit(&table)?);
    }
    Ok(coverage)
}

/// Whether one more piece may be read before it is used. What nobody waits for takes little memory.
fn has_room(ahead: &VecDeque<(Piece, Coming)>, need: &Need<'_>) -> bool {
    let rows = ahead.iter().map(|(piece, _)| piece.file.file.rows);
    let most = if need.once { 1 } else { AHEAD };
    ahead.len() < most && rows.fold(0, u64::saturating_add) < AHEAD_ROWS
}

/// Hands the sums of all services that match to `visit`, any service maybe several times: its name, samples, and
/// CPU time in nanoseconds.
pub(super) fn for_each_service(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
    mut visit: impl FnMut(&str, u64, u64),
) -> Result<Coverage, QueryError> {
    let need = Need { labels: vec![labels::SERVICE], ..Need::default() };
    let mut source = begin(parts, plan, &need, cancel)?;
    // Of thousands of files it is in the catalog: nothing must be made of them.
    let pieces = std::mem::take(&mut source.pieces);
    let (known, others): (Vec<_>, _) =
        pieces.into_iter().partition(|piece| is_in_catalog(plan, &need, piece));
    source.pieces = others;
    for piece in &known {
        source.coverage.read(&piece.file.file);
        for sum in &piece.file.file.services {
            let value = |name: &str| (name == labels::SERVICE).then_some(sum.service.as_str());
            if plan.selector.matches(value) {
                let samples = &mut source.coverage.samples;
                *samples = samples.saturating_add(sum.samples);
                visit(&sum.service, sum.samples, sum.nanos);
            }
        }
    }
    visit_all(parts, plan, &need, cancel, source, |table| {
        let mut matched = 0_u64;
        for origin in matching_origins(table, plan) {
            matched = matched.saturating_add(origin.samples);
            let service = origin.label(labels::SERVICE).unwrap_or_default();
            visit(service, origin.samples, origin.nanos);
        }
        Ok(matched)
    })
}

/// Which files to read.
pub(super) fn choose(
    parts: &QueryParts,
    plan: &Plan,
    need: &Need<'_>,
    cancel: &CancellationToken,
) -> Result<ReadPlan, QueryError> {
    let labels = needed_labels(plan, need);
    let service = plan.selector.required(labels::SERVICE).map(str::to_owned);
    let wish = Wish { service, range: range(plan), labels, step: need.step };
    wait(parts, cancel, parts.store.plan(&wish))
}

// === impl OriginSum ===

impl<'a> OriginSum<'a> {
    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.iter().find(|label| label.0 == name).map(|label| label.1)
    }
}

// === impl Coming ===

impl Coming {
    /// Begins to read a piece, unless the catalog knows all that is needed of it.
    fn of(
        parts: &QueryParts,
        plan: &Plan,
        need: &Need<'_>,
        piece: &Piece,
        wanted: &Wanted,
    ) -> Self {
        if is_in_catalog(plan, need, piece) {
            return Self::Known(Arc::new(Table::of_sums(&piece.file.file)));
        }
        let part = (!is_whole(plan, piece)).then(|| {
            let (start, end) = piece.file.file.range();
            (start.max(plan.range.start_unix_nanos()), end.min(plan.range.end_unix_nanos()))
        });
        let key = || Key::new(piece, part, wanted, needed_labels(plan, need), need.all_labels);
        let key = (need.step == 0 && !need.once).then(key);
        if let Some(known) = key.as_ref().and_then(|key| parts.known.sums.get(key)) {
            return Self::Known(known);
        }
        let (store, piece, wanted) = (parts.store.clone(), piece.clone(), wanted.clone());
        let read = async move { store.read(&piece, wanted).await };
        Self::Reading(AbortOnDropHandle::new(parts.runtime.spawn(read)), key)
    }

    /// The rows; a sentence where they are damaged.
    fn table(
        self,
        parts: &QueryParts,
        cancel: &CancellationToken,
    ) -> Result<Result<Arc<Table>, String>, QueryError> {
        let (task, key) = match self {
            Self::Known(table) => return Ok(Ok(table)),
            Self::Reading(task, key) => (task, key),
        };
        let read = async {
            match task.await.unwrap_or(Err(StoreError::Panicked)) {
                Err(error) if error.is_damage() => Ok(Err(error.to_string())),
                result => result.map(Ok),
            }
        };
        let table = match (wait(parts, cancel, read)?, key) {
            (Err(damage), _) => return Ok(Err(damage)),
            (Ok(table), None) => Arc::new(table),
            (Ok(table), Some(key)) => {
                let sums = Arc::new(key.sums_of(table));
                parts.known.sums.put(key, sums.clone());
                sums
            }
        };
        Ok(Ok(table))
    }
}

/// Waits for the store, until the query is cancelled.
pub(super) fn wait<T>(
    parts: &QueryParts,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, QueryError> {
    parts.runtime.block_on(async {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(QueryError::Cancelled),
            result = work => result.map_err(|error| QueryError::Store(error.to_string())),
        }
    })
}

/// Whether all rows of a piece are asked for.
fn is_whole(plan: &Plan, piece: &Piece) -> bool {
    let (start, end) = piece.file.file.range();
    plan.range.start_unix_nanos() <= start && end <= plan.range.end_unix_nanos()
}

/// Whether the catalog knows all that is needed of a piece.
fn is_in_catalog(plan: &Plan, need: &Need<'_>, piece: &Piece) -> bool {
    let matched = plan.selector.matchers().iter().map(Matcher::name);
    let mut labels = matched.chain(need.labels.iter().copied());
    let by_service = labels.all(|name| name == labels::SERVICE);
    by_service
        && !need.all_labels
        && need.stacks == Stacks::None
        && need.step == 0
        && is_whole(plan, piece)
}

fn range(plan: &Plan) -> (i64, i64) {
    (plan.range.start_unix_nanos(), plan.range.end_unix_nanos())
}

fn needed_labels(plan: &Plan, need: &Need<'_>) -> Vec<String> {
    let matched = plan.selector.matchers().iter().map(Matcher::name);
    let mut labels: Vec<String> =
        matched.chain(need.labels.iter().copied()).map(str::to_owned).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

fn wanted(plan: &Plan, need: &Need<'_>) -> Wanted {
    let service = plan.selector.required(labels::SERVICE);
    Wanted {
        services: match service {
            Some(service) => Some(BTreeSet::from([service.to_owned()])),
            None => need.services.clone(),
        },
        labels: (!need.all_labels).then(|| needed_labels(plan, need)),
        range: Some(range(plan)),
        windows: need.step != 0,
        stacks: need.stacks,
    }
}

/// What a query holds grows with the distinct code in its range, which hosts decide. Asked per file:
/// it costs far less than reading one.
pub(super) fn check_memory(limit: u64) -> Result<(), QueryError> {
    match memory::own_bytes() {
        Some(used) if used > limit => Err(QueryError::Memory { used, limit }),
        _ => Ok(()),
    }
}

/// The sums of the origins that match.
pub(super) fn matching_origins<'a>(table: &'a Table, plan: &Plan) -> Vec<OriginSum<'a>> {
    let mut sums = vec![(0_u64, 0_u64); table.code.origin_count()];
    for row in &table.rows {
        let sum = &mut sums[row.origin as usize];
        *sum = (sum.0.saturating_add(row.samples), sum.1.saturating_add(row.nanos));
    }
    let origin = |(origin, (samples, nanos))| {
        let sum = OriginSum { labels: table.code.origin_labels(origin).collect(), samples, nanos };
        (samples > 0 && plan.selector.matches(|name| sum.label(name))).then_some(sum)
    };
    sums.into_iter().enumerate().filter_map(origin).collect()
}
