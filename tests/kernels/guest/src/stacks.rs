//! Known stacks through the whole pipeline: what leaves it in batches is compared, function by function,
//! with what the program is known to do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use fleetprof_agent::{
    accounting::Ledger,
    aggregate::{AggregatorConfig, ClosedWindow},
    pipeline::{Pipeline, Sources},
    sampler::SamplerConfig,
    unwind::UnwindConfig,
};
use fleetprof_proto::{
    batch::{Batch, FrameRef},
    ids::ObjectKind,
    v1,
};

use crate::{
    child::Running,
    expected::{ExpectedStack, Mode},
    report::Report,
    symbols::{KernelSymbols, Symbols},
};

/// Samples of each program.
const SAMPLES: u64 = 200;
const FREQUENCY_HZ: u32 = 199;

/// Of all samples at least so many have to be in the mode that is looked at: percent.
const MIN_IN_MODE: u64 = 25;

/// Of those at least so many have to have the known stack: percent. The rest is the few instructions
/// outside the innermost function, and those at its start and end where it has no frame.
const MIN_MATCHING: u64 = 98;

/// What every read of a file passes through, in every kernel.
const KERNEL_FRAME: &str = "vfs_read";

/// Percent of the samples in kernel mode that must be in it: entering and leaving the kernel are not.
const MIN_IN_READ: u64 = 90;

/// What the samples of a program had.
#[derive(Debug, Default)]
struct Tally {
    all: u64,
    in_mode: u64,
    matching: u64,
    /// Samples in the mode whose kernel frames have names that make sense.
    kernel_named: u64,
    /// Stacks that do not match, with their number.
    others: BTreeMap<String, u64>,
}

/// Runs every program and checks its stack and its accounts.
pub(crate) fn check(report: &mut Report, stacks: &[ExpectedStack]) {
    let sources = Sources::survey();
    for expected in stacks {
        let name = expected.name();
        let outcome = run(expected, &sources);
        match outcome {
            Ok((batches, accounts)) => {
                report.check(&format!("stack:{name}"), judge(expected, &batches));
                report.check(&format!("pipeline_accounting:{name}"), accounts);
            }
            Err(error) => report.check::<&str, _>(&format!("stack:{name}"), Err(error)),
        }
    }
}

type Accounts = anyhow::Result<String>;

/// Samples the program until there are enough samples.
fn run(expected: &ExpectedStack, sources: &Sources) -> anyhow::Result<(Vec<Batch>, Accounts)> {
    let child = Running::start(&expected.program, &[])?;
    let sampler = SamplerConfig {
        frequency_hz: FREQUENCY_HZ,
        pid: Some(child.pid()),
        ..SamplerConfig::default()
    };
    let ledger = Arc::new(Ledger::new());
    let aggregator = AggregatorConfig::default();
    let pipeline = Pipeline::start(
        &sampler,
        &aggregator,
        &UnwindConfig::default(),
        sources,
        Arc::clone(&ledger),
    )?;
    let mut windows: Vec<ClosedWindow> = Vec::new();
    let mut patience = Ok(());
    let next = |_: &Pipeline| {
        patience = child.check_patience("enough samples");
        let goes_on = patience.is_ok() && ledger.snapshot().taken < SAMPLES;
        goes_on.then_some(Duration::from_millis(100))
    };
    pipeline.run(next, &mut |window| windows.push(window))?;
    patience?;
    let in_windows: u64 = windows.iter().map(ClosedWindow::samples).sum();
    let accounts = balance(&ledger, in_windows);
    let no_labels = std::iter::empty::<(&str, &str)>;
    let batch = |window: ClosedWindow| window.finish(no_labels(), v1::Accounting::default());
    Ok((windows.into_iter().map(batch).collect(), accounts))
}

fn balance(ledger: &Ledger, in_windows: u64) -> Accounts {
    let snapshot = ledger.snapshot();
    let dropped = snapshot.dropped_total();
    let text = format!("{} taken, {in_windows} in windows, {dropped} dropped", snapshot.taken);
    ensure!(snapshot.taken == in_windows + dropped, "samples are missing: {text}");
    ensure!(snapshot.imbalance() == 0, "the ledger is off by {}: {text}", snapshot.imbalance());
    Ok(text)
}

fn judge(expected: &ExpectedStack, batches: &[Batch]) -> anyhow::Result<String> {
    let symbols = Symbols::read(&expected.program)?;
    let kernel = match expected.mode {
        Mode::User => None,
        Mode::Kernel => Some(KernelSymbols::read()?),
    };
    let mut tally = Tally::default();
    for batch in batches {
        for row in batch.samples() {
            let frames: Vec<FrameRef<'_>> =
                batch.stack_frames(row.stack).map(|at| batch.frame(at)).collect();
            tally.add(expected, &symbols, kernel.as_ref(), &frames, row.count);
        }
    }
    tally.verdict(expected)
}

fn is_kernel(frame: &FrameRef<'_>) -> bool {
    matches!(frame.kind, ObjectKind::Kernel | ObjectKind::KernelModule)
}

// === impl Tally ===

impl Tally {
    /// Adds samples with the same stack, innermost frame first.
    fn add(
        &mut self,
        expected: &ExpectedStack,
        symbols: &Symbols,
        kernel: Option<&KernelSymbols>,
        frames: &[FrameRef<'_>],
        count: u64,
    ) {
        self.all += count;
        let in_kernel = frames.iter().take_while(|frame| is_kernel(frame)).count();
        let (kernel_frames, user) = frames.split_at(in_kernel);
        let mode = if in_kernel > 0 { Mode::Kernel } else { Mode::User };
        if mode != expected.mode {
            return;
        }
        self.in_mode += count;
        let has_name = |kernel: &KernelSymbols| {
            let mut frames = kernel_frames.iter();
            frames.any(|frame| {
                frame.kind == ObjectKind::Kernel && kernel.name(frame.offset) == KERNEL_FRAME
            })
        };
        if kernel.is_some_and(has_name) {
            self.kernel_named += count;
        }
        let program = expected.program.to_string_lossy();
        let name = |frame: &FrameRef<'_>| {
            if frame.path == program {
                symbols.name(frame.offset).to_owned()
            } else {
                frame.fallback_name()
            }
        };
        let names: Vec<String> = user.iter().map(name).collect();
        if expected.matches(&names) {
            self.matching += count;
        } else {
            *self.others.entry(names.join(",")).or_default() += count;
        }
    }

    fn verdict(&self, expected: &ExpectedStack) -> anyhow::Result<String> {
        let text = format!(
            "{} of {} in {:?} mode, {} in all",
            self.matching, self.in_mode, expected.mode, self.all
        );
        let share = |part: u64, whole: u64| (part * 100).checked_div(whole).context("no samples");
        ensure!(share(self.in_mode, self.all)? >= MIN_IN_MODE, "too few in the mode: {text}");
        if expected.mode == Mode::Kernel {
            let named = self.kernel_named;
            ensure!(
                share(named, self.in_mode)? >= MIN_IN_READ,
                "{named} pass {KERNEL_FRAME}: {text}"
            );
        }
        let matching = share(self.matching, self.in_mode)?;
        let other = self.others.iter().max_by_key(|(_, count)| **count);
        let other =
            other.map(|(stack, count)| format!("; {count} times {stack:?}")).unwrap_or_default();
        let frames = expected.frames();
        ensure!(matching >= MIN_MATCHING, "{text}, expected {frames}{other}");
        Ok(format!("{text}{other}"))
    }
}
