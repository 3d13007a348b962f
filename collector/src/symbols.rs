//! Names for the frames of a batch.
//!
//! In: a (merged) batch. Out: one [`Symbol`] per frame row. Names come from the objects' symbol tables,
//! which stay open within a bound; no answer is kept, so a profile that was stored before its symbols
//! came shows names after. A query waits for tables that are being made or fetched from other collectors,
//! for a bounded time; what was not ready is named as such, and is there for the next query. Not done
//! here: parsing of objects.

mod tables;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fleetprof_proto::{
    batch::Batch,
    ids::ObjectId,
    symbol::{Reason, Symbol},
};
use fleetprof_symbolizer::TableFileError;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    log_limit::LogLimit,
    metrics::{Metrics, ResultLabel},
    objects::{Catalog, Conversions, NamesOf, Pool, Pooled, PooledCopy},
};
use tables::{Names, Tables};

/// How often a waiting query looks whether its client is still there.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Names code.
#[derive(Debug)]
pub struct Symbols {
    catalog: Catalog,
    conversions: Conversions,
    pool: Pool,
    tables: Tables,
    patience: Duration,
    metrics: Metrics,
    log: LogLimit,
}

/// How names are made.
#[derive(Clone, Copy, Debug)]
pub struct SymbolLimits {
    /// Memory for open tables, mapped files included, bytes.
    pub memory_bytes: u64,
    /// How long one batch waits for names.
    pub patience: Duration,
}

/// Names for a batch.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Parallel to the batch's frame rows.
    pub symbols: Vec<Symbol>,
    /// What has no names though it could, one sentence each.
    pub problems: Vec<String>,
}

/// Frame rows of one object.
struct Rows {
    object: ObjectId,
    /// Offset and row, by offset, at which a table is fastest.
    rows: Vec<(u64, usize)>,
    /// They are being fetched from another collector.
    is_coming: bool,
}

/// What is known of an object's names now.
enum Found {
    Names(Names),
    None(Reason),
    NotReady,
    /// Being fetched from another collector.
    Coming,
    /// Another collector's, which cannot be fetched now.
    Away,
}

// === impl Symbols ===

impl Symbols {
    /// Names from the objects of `catalog`, which `conversions` converts, and from the `pool`.
    pub fn new(
        catalog: Catalog,
        conversions: Conversions,
        pool: Pool,
        limits: SymbolLimits,
        metrics: Metrics,
    ) -> Self {
        let (tables, patience) = (Tables::new(limits.memory_bytes), limits.patience);
        Self { catalog, conversions, pool, tables, patience, metrics, log: LogLimit::default() }
    }

    /// Names every frame of a batch, as far as names are there in time; stops early when cancelled.
    /// Blocks.
    pub fn resolve(&self, batch: &Batch, cancel: &CancellationToken) -> Resolved {
        let (mut out, late) = self.resolve_what_is_there(batch, cancel);
        if !late.is_empty() {
            let ids: Vec<ObjectId> = late.iter().map(|rows| rows.object.clone()).collect();
            self.conversions.hurry(&ids);
            let late = self.wait(late, cancel, &mut out);
            let sentence =
                |rows: &Rows| format!("names of {}: still being prepared, ask again", rows.object);
            out.problems.extend(late.iter().map(sentence));
        }
        self.count(&out.symbols);
        out
    }

    /// The same with all names that any collector has, without a wait for what is still to be made. When
    /// `stop` fires, nothing is waited for any more.
    pub fn resolve_made(&self, batch: &Batch, stop: &CancellationToken) -> Resolved {
        let (mut out, mut late) = self.resolve_what_is_there(batch, &CancellationToken::new());
        late.retain(|rows| rows.is_coming);
        self.wait(late, stop, &mut out);
        out
    }

    /// The same, without a wait for what is not there yet, which nobody is asked to hurry with either.
    pub fn resolve_now(&self, batch: &Batch, cancel: &CancellationToken) -> Resolved {
        self.resolve_what_is_there(batch, cancel).0
    }

    /// Whether an object's names are there, without a look at them.
    pub fn has_names(&self, object: &ObjectId) -> bool {
        let own = self.catalog.names_of(object);
        matches!(own, Some(NamesOf::Listing(_) | NamesOf::Table { .. }))
            || self.pool.has_names(object)
    }

    /// And what is not there yet.
    fn resolve_what_is_there(
        &self,
        batch: &Batch,
        cancel: &CancellationToken,
    ) -> (Resolved, Vec<Rows>) {
        let mut out = Resolved {
            symbols: vec![Symbol::Unknown(Reason::NoObject); batch.frame_count()],
            problems: Vec::new(),
        };
        let mut late = Vec::new();
        for rows in by_object(batch, &mut out.symbols) {
            if cancel.is_cancelled() {
                break;
            }
            late.extend(self.name(rows, &mut out));
        }
        (out, late)
    }

    /// Fills in the names of one object's frames; gives them back when they are not ready.
    fn name(&self, mut rows: Rows, out: &mut Resolved) -> Option<Rows> {
        let found = self.find(&rows.object);
        rows.is_coming = matches!(found, Found::Coming);
        match found {
            Found::Names(names) => {
                let offsets: Vec<u64> = rows.rows.iter().map(|(offset, _)| *offset).collect();
                for ((_, row), symbol) in rows.rows.iter().zip(names.symbolize(&offsets)) {
                    out.symbols[*row] = symbol;
                }
            }
            Found::None(reason) => rows.fill(reason, &mut out.symbols),
            Found::Away => {
                rows.fill(Reason::NotReady, &mut out.symbols);
                let object = &rows.object;
                out.problems.push(format!("names of {object}: cannot be fetched now, ask again"));
            }
            Found::NotReady | Found::Coming => {
                rows.fill(Reason::NotReady, &mut out.symbols);
                return Some(rows);
            }
        }
        None
    }

    /// The collector's own names, unless another one has better ones.
    fn find(&self, object: &ObjectId) -> Found {
        let own = self.catalog.names_of(object);
        let has_own = matches!(own, Some(NamesOf::Listing(_) | NamesOf::Table { .. }));
        match self.pool.names_of(object, has_own) {
            Some(Pooled::Copy(copy)) => match self.open_copy(object, &copy) {
                Some(names) => return Found::Names(names),
                // It is fetched again.
                None if !has_own => return Found::Coming,
                None => {}
            },
            Some(Pooled::Coming) if !has_own => return Found::Coming,
            Some(Pooled::Away) if !has_own => return Found::Away,
            Some(Pooled::None(reason)) if own.is_none() => return Found::None(reason),
            // What it has itself will do until then.
            Some(Pooled::Coming | Pooled::Away | Pooled::None(_)) | None => {}
        }
        match own {
            None => Found::None(Reason::NoObject),
            Some(own) => self.find_own(object, own),
        }
    }

    fn open_copy(&self, object: &ObjectId, copy: &PooledCopy) -> Option<Names> {
        let opened = if copy.is_listing {
            self.tables.listing(object, &copy.path).map_err(|error| self.complain(object, &error))
        } else {
            let revision = copy.id.number().unsigned_abs();
            let opened = self.tables.table(object, &copy.path, revision);
            opened.map_err(|error| self.complain(object, &error))
        };
        if opened.is_err() {
            self.pool.drop_copy(copy.id);
        }
        opened.ok()
    }

    fn find_own(&self, object: &ObjectId, own: NamesOf) -> Found {
        match own {
            NamesOf::Waiting => Found::NotReady,
            NamesOf::Failed(failure) => {
                if self.catalog.convert_again(object, None) {
                    return Found::NotReady;
                }
                Found::None(failure.reason)
            }
            NamesOf::Listing(path) => match self.tables.listing(object, &path) {
                Ok(names) => Found::Names(names),
                Err(error) => {
                    self.complain(object, &error);
                    Found::None(error.reason())
                }
            },
            NamesOf::Table { path, revision } => {
                match self.tables.table(object, &path, revision) {
                    Ok(names) => Found::Names(names),
                    Err(error) => {
                        self.complain(object, &error);
                        let lost = match &error {
                            TableFileError::Table(_) => true,
                            TableFileError::Io(error) => {
                                error.kind() == std::io::ErrorKind::NotFound
                            }
                        };
                        if lost {
                            // The object is still there: another table is made of it.
                            self.catalog.convert_again(object, Some(revision));
                            return Found::NotReady;
                        }
                        Found::None(Reason::BadObject)
                    }
                }
            }
        }
    }

    fn complain(&self, object: &ObjectId, error: &dyn std::fmt::Display) {
        if let Some(silent) = self.log.allow() {
            warn!(%object, %error, silent, "an object has no names");
        }
    }

    /// Waits for tables that are being made or fetched; gives back what is not ready when the time is up.
    fn wait(
        &self,
        mut late: Vec<Rows>,
        cancel: &CancellationToken,
        out: &mut Resolved,
    ) -> Vec<Rows> {
        let started = Instant::now();
        while !late.is_empty() && !cancel.is_cancelled() {
            let left = self.patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            self.conversions.wait(left.min(LOOK_UP));
            late = late.into_iter().filter_map(|rows| self.name(rows, out)).collect();
        }
        late
    }

    fn count(&self, symbols: &[Symbol]) {
        let mut by_result: HashMap<&'static str, u64> = HashMap::new();
        // Row 0 is reserved.
        for symbol in symbols.iter().skip(1) {
            let result = match symbol {
                Symbol::Named(_) => "named",
                Symbol::Unknown(reason) => reason.as_str(),
            };
            *by_result.entry(result).or_default() += 1;
        }
        for (result, count) in by_result {
            self.metrics.symbols.get_or_create(&ResultLabel { result }).inc_by(count);
        }
    }
}

/// The frames of a batch by their objects; those without one get their host's name or reason at once.
fn by_object(batch: &Batch, symbols: &mut [Symbol]) -> Vec<Rows> {
    let mut by_object: HashMap<ObjectId, Vec<(u64, usize)>> = HashMap::new();
    for (row, symbol) in symbols.iter_mut().enumerate() {
        let frame = batch.frame(row);
        match frame.locate() {
            Ok(object) => by_object.entry(object).or_default().push((frame.offset, row)),
            Err(known) => *symbol = known,
        }
    }
    let sorted = by_object.into_iter().map(|(object, mut rows)| {
        rows.sort_unstable();
        Rows { object, rows, is_coming: false }
    });
    sorted.collect()
}

// === impl Rows ===

impl Rows {
    fn fill(&self, reason: Reason, symbols: &mut [Symbol]) {
        for (_, row) in &self.rows {
            symbols[*row] = Symbol::Unknown(reason);
        }
    }
}
