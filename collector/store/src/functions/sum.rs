//! Sums up the functions of stacks. Pure.
//!
//! A sample's CPU is the self time of its innermost function and the total time of every function on
//! its stack, of each once, however often it recurs. Inlined functions count as functions. An address
//! without a name is a function of its own (`module+0xoffset`), so that nothing disappears.

use fleetprof_proto::{batch::Batch, symbol::Symbol};
use hashbrown::HashMap;

use super::FunctionKey;

/// What samples without any frame are shown as.
const NO_STACK: &str = "[no stack]";

/// What a function takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Samples in which it is the innermost function.
    pub self_samples: u64,
    /// Samples in which it is on the stack.
    pub total_samples: u64,
    /// CPU time in itself, nanoseconds.
    pub self_nanos: u64,
    /// CPU time in it and in what it calls, nanoseconds.
    pub total_nanos: u64,
}

/// Functions, numbered in the order they were met.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    numbers: HashMap<FunctionKey, usize>,
    keys: Vec<FunctionKey>,
}

/// Sums up samples of one batch of code.
#[derive(Debug)]
pub struct FunctionSums<'a> {
    code: &'a Batch,
    symbols: &'a [Symbol],
    functions: &'a mut Functions,
    /// The functions of each frame row, innermost first, as far as they were needed.
    frames: Vec<Option<Box<[usize]>>>,
    /// By number of function.
    usage: Vec<Usage>,
    /// Functions that have amounts.
    used: Vec<usize>,
    /// Rows of samples so far.
    rows: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    amounts: Amounts,
    /// The row of samples that was counted last: a function counts once per row.
    counted: usize,
    is_used: bool,
}

// === impl Amounts ===

impl Amounts {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.self_samples = self.self_samples.saturating_add(other.self_samples);
        self.total_samples = self.total_samples.saturating_add(other.total_samples);
        self.self_nanos = self.self_nanos.saturating_add(other.self_nanos);
        self.total_nanos = self.total_nanos.saturating_add(other.total_nanos);
    }
}

// === impl Functions ===

impl Functions {
    /// All of them, by number.
    pub fn keys(&self) -> &[FunctionKey] {
        &self.keys
    }

    /// The number of a function.
    pub fn number(&mut self, key: FunctionKey) -> usize {
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        let number = self.keys.len();
        self.numbers.insert(key.clone(), number);
        self.keys.push(key);
        number
    }

    fn of_frame(&mut self, code: &Batch, row: usize, symbol: Option<&Symbol>) -> Box<[usize]> {
        let frame = code.frame(row);
        let module = frame.path.rsplit('/').next().unwrap_or_default();
        match symbol {
            Some(Symbol::Named(lines)) if !lines.is_empty() => lines
                .iter()
                .map(|line| {
                    let file = line.file.as_deref().unwrap_or_default();
                    self.number(FunctionKey::new(line.name.to_string(), file, module))
                })
                .collect(),
            _ => {
                let unnamed = match symbol {
                    Some(Symbol::Unknown(reason)) => Some(*reason),
                    _ => None,
                };
                let key = FunctionKey::new(frame.fallback_name(), "", module);
                Box::from([self.number(FunctionKey { unnamed, ..key })])
            }
        }
    }
}

// === impl FunctionSums ===

impl<'a> FunctionSums<'a> {
    /// Nothing yet; `symbols` is parallel to the frame rows of `code`.
    pub fn new(code: &'a Batch, symbols: &'a [Symbol], functions: &'a mut Functions) -> Self {
        let frames = vec![None; code.frame_count()];
        Self { code, symbols, functions, frames, usage: Vec::new(), used: Vec::new(), rows: 0 }
    }

    /// Counts a row of samples: its stack, samples and nanoseconds.
    pub fn count(&mut self, stack: usize, samples: u64, nanos: u64) {
        self.rows += 1;
        let mut innermost = true;
        for frame in self.code.stack_frames(stack) {
            if self.frames[frame].is_none() {
                let symbol = self.symbols.get(frame);
                self.frames[frame] = Some(self.functions.of_frame(self.code, frame, symbol));
            }
            let of_frame = self.frames[frame].take().unwrap_or_default();
            for function in &of_frame {
                self.add(*function, samples, nanos, innermost);
                innermost = false;
            }
            self.frames[frame] = Some(of_frame);
        }
        if innermost {
            let none = self.functions.number(FunctionKey::new(NO_STACK.to_owned(), "", ""));
            self.add(none, samples, nanos, true);
        }
    }

    fn add(&mut self, function: usize, samples: u64, nanos: u64, innermost: bool) {
        if function >= self.usage.len() {
            self.usage.resize(self.functions.keys.len(), Usage::default());
        }
        let usage = &mut self.usage[function];
        if !usage.is_used {
            usage.is_used = true;
            self.used.push(function);
        }
        let mut amounts = Amounts::default();
        if innermost {
            (amounts.self_samples, amounts.self_nanos) = (samples, nanos);
        }
        if usage.counted != self.rows {
            usage.counted = self.rows;
            (amounts.total_samples, amounts.total_nanos) = (samples, nanos);
        }
        usage.amounts.add(amounts);
    }

    /// A function by its number.
    pub fn key(&self, function: usize) -> &FunctionKey {
        &self.functions.keys[function]
    }

    /// What was counted since the last call, by number of function.
    pub fn take(&mut self) -> Vec<(usize, Amounts)> {
        let usage = &mut self.usage;
        let sums = self.used.drain(..).map(|function| {
            usage[function].is_used = false;
            (function, std::mem::take(&mut usage[function].amounts))
        });
        sums.collect()
    }
}
