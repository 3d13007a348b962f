//! Functions with the most CPU.
//!
//! A sample's CPU is the self time of its innermost function and the total time of every function on
//! its stack, of each once, however often it recurs. Inlined functions count as functions. An address
//! without a name is a function of its own (`module+0xoffset`), so that nothing disappears.

use std::collections::HashMap;

use fleetprof_proto::{
    batch::Batch,
    symbol::{Reason, Symbol},
    v1,
};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts, missing,
    named::{self, Late},
    reader::Need,
};

/// What samples without any frame are shown as.
const NO_STACK: &str = "[no stack]";

/// What makes a function another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    function: String,
    file: String,
    module: String,
    /// Why it has no name, if it is an address.
    unnamed: Option<Reason>,
}

/// Usage of one function.
#[derive(Debug, Default)]
struct Usage {
    self_nanos: u64,
    total_nanos: u64,
    /// The row of samples that was counted last, plus 1: a function counts once per row.
    counted: usize,
}

#[derive(Debug, Default)]
struct Functions {
    numbers: HashMap<Key, usize>,
    keys: Vec<Key>,
    usage: Vec<Usage>,
}

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    request: &v1::TopRequest,
    cancel: &CancellationToken,
) -> Result<v1::TopResponse, QueryError> {
    let need = Need { stacks: true, ..Need::default() };
    let require = |coverage: &_| missing::require_service(parts, plan, coverage, cancel);
    let named = named::read(parts, plan, &need, cancel, Late::Wait, |_| Vec::new(), require)?;
    let mut rows = usage(&named.batch, &named.symbols).into_wire();
    let by_self = request.order() == v1::TopOrder::Self_;
    rows.sort_by(|a, b| {
        let key = |row: &v1::FunctionUsage| match by_self {
            true => (row.self_nanos, row.total_nanos),
            false => (row.total_nanos, row.self_nanos),
        };
        key(b).cmp(&key(a)).then_with(|| a.function.cmp(&b.function))
    });
    if request.limit > 0 {
        rows.truncate(request.limit as usize);
    }
    let total_nanos = named.batch.samples().fold(0, |sum: u64, row| sum.saturating_add(row.nanos));
    Ok(v1::TopResponse {
        functions: rows,
        total_nanos,
        unnamed: named.unnamed(),
        coverage: Some(named.coverage.into_wire()),
    })
}

/// Sums up every function of a batch; `symbols` is parallel to its frame rows.
fn usage(batch: &Batch, symbols: &[Symbol]) -> Functions {
    let mut functions = Functions::default();
    // The functions of each frame row, innermost first.
    let mut frames: Vec<Option<Vec<usize>>> = vec![None; batch.frame_count()];
    for (row, sample) in batch.samples().enumerate() {
        let mut innermost = true;
        for frame in batch.stack_frames(sample.stack) {
            let of_frame = frames[frame]
                .get_or_insert_with(|| functions.of_frame(batch, frame, symbols.get(frame)));
            for function in of_frame {
                functions.usage[*function].count(row, sample.nanos, innermost);
                innermost = false;
            }
        }
        if innermost {
            let none = functions.number(Key::new(NO_STACK.to_owned(), "", ""));
            functions.usage[none].count(row, sample.nanos, true);
        }
    }
    functions
}

// === impl Key ===

impl Key {
    fn new(function: String, file: &str, module: &str) -> Self {
        Self { function, file: file.to_owned(), module: module.to_owned(), unnamed: None }
    }
}

// === impl Usage ===

impl Usage {
    fn count(&mut self, row: usize, nanos: u64, innermost: bool) {
        if innermost {
            self.self_nanos = self.self_nanos.saturating_add(nanos);
        }
        if self.counted != row + 1 {
            self.counted = row + 1;
            self.total_nanos = self.total_nanos.saturating_add(nanos);
        }
    }
}

// === impl Functions ===

impl Functions {
    fn number(&mut self, key: Key) -> usize {
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        let number = self.keys.len();
        self.numbers.insert(key.clone(), number);
        self.keys.push(key);
        self.usage.push(Usage::default());
        number
    }

    fn of_frame(&mut self, batch: &Batch, row: usize, symbol: Option<&Symbol>) -> Vec<usize> {
        let frame = batch.frame(row);
        let module = frame.path.rsplit('/').next().unwrap_or_default();
        match symbol {
            Some(Symbol::Named(lines)) if !lines.is_empty() => lines
                .iter()
                .map(|line| {
                    let file = line.file.as_deref().unwrap_or_default();
                    self.number(Key::new(line.name.to_string(), file, module))
                })
                .collect(),
            _ => {
                let unnamed = symbol.and_then(named::reason);
                vec![self.number(Key { unnamed, ..Key::new(frame.fallback_name(), "", module) })]
            }
        }
    }

    fn into_wire(self) -> Vec<v1::FunctionUsage> {
        let row = |(key, usage): (Key, Usage)| v1::FunctionUsage {
            function: key.function,
            file: key.file,
            module: key.module,
            unnamed_reason: key
                .unnamed
                .map_or_else(String::new, |reason| reason.as_str().to_owned()),
            self_nanos: usage.self_nanos,
            total_nanos: usage.total_nanos,
        };
        self.keys.into_iter().zip(self.usage).map(row).collect()
    }
}

#[cfg(test)]
mod tests;
