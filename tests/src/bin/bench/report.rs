//! Figures in, a table or JSON out.

use std::{fmt::Write as _, time::Duration};

use fleetprof_tests::{cpu, machine};
use serde::Serialize;

/// How long the machine is looked at before the start.
const LOOK: Duration = Duration::from_secs(2);
/// Share of its CPU that may be busy then.
const QUIET: f64 = 0.05;

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    host: String,
    figures: Vec<Figure>,
    stated: Vec<Stated>,
    notes: Vec<String>,
}

/// One measured quantity.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    unit: &'static str,
    median: f64,
    smallest: f64,
    largest: f64,
    values: usize,
}

/// What somebody else states: an anchor that was not measured in this run.
#[derive(Debug, Serialize)]
struct Stated {
    what: String,
    value: String,
    source: &'static str,
}

// === impl Report ===

impl Report {
    /// An empty one, of this host as it is before anything is measured.
    pub(crate) fn new() -> Self {
        Self { host: host(), ..Self::default() }
    }

    /// Adds a figure; nothing when there are no values.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        mut values: Vec<f64>,
    ) {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let what = what.into();
        let (Some(smallest), Some(largest)) = (values.first(), values.last()) else {
            self.note(format!("{what}: no measurement"));
            return;
        };
        let (smallest, largest, median) = (*smallest, *largest, quantile(&values, 0.5));
        eprintln!("  {what}: {median:.3} {unit}");
        self.figures.push(Figure { what, unit, median, smallest, largest, values: values.len() });
    }

    /// Adds what somebody else states about the same thing.
    pub(crate) fn cite(
        &mut self,
        what: impl Into<String>,
        value: impl Into<String>,
        source: &'static str,
    ) {
        self.stated.push(Stated { what: what.into(), value: value.into(), source });
    }

    /// Adds a sentence below the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// For scripts.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("figures are plain")
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let width = self.figures.iter().map(|figure| figure.what.len()).max().unwrap_or(0);
        let mut text = format!(
            "{}\n\n{:width$}  {:>12} {:>12} {:>12}  unit\n",
            self.host, "what", "median", "smallest", "largest"
        );
        for Figure { what, unit, median, smallest, largest, .. } in &self.figures {
            let numbers = [median, smallest, largest].map(|number| format(*number));
            let [median, smallest, largest] = numbers;
            writeln!(text, "{what:width$}  {median:>12} {smallest:>12} {largest:>12}  {unit}")
                .expect("a string takes all");
        }
        if !self.stated.is_empty() {
            writeln!(text, "\nstated by others, not measured here:").expect("a string takes all");
        }
        for Stated { what, value, source } in &self.stated {
            writeln!(text, "  {what}: {value} ({source})").expect("a string takes all");
        }
        for note in &self.notes {
            writeln!(text, "\n{note}").expect("a string takes all");
        }
        text
    }
}

/// Three digits that matter.
fn format(number: f64) -> String {
    match number.abs() {
        big if big >= 1e4 => format!("{number:.0}"),
        middle if middle >= 100.0 => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
}

/// Of sorted values; the nearest rank, for a median of an even number the lower one.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within the slice"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Which machine this is, and how busy it was with other things: figures of a busy one are too high.
fn host() -> String {
    let system = rustix::system::uname();
    let others = cpu::machine_busy(LOOK).map_or(f64::NAN, |share| 100.0 * share);
    if others > 100.0 * QUIET {
        eprintln!(
            "warning: {others:.0} % of this machine's CPU is busy before anything is measured"
        );
    }
    format!(
        "{} {}, {} cores, {others:.1} % of them busy before the start",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        machine::cpus(),
    )
}
