//! `fleetprof-agent doctor`: what this host supports, and what to do about what is missing.
//!
//! In: the running kernel and the rights of this process. Out: a table or JSON on standard output,
//! and whether `run` would work. It changes nothing, and works without privileges, too.

mod facts;
mod judge;

use std::io::{self, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use self::facts::Facts;

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// As good as it gets.
    Ok,
    /// Profiles will lack something.
    Degraded,
    /// Not there.
    Missing,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
struct Check {
    /// What was looked at.
    name: &'static str,
    status: Status,
    /// Whether `run` works without it.
    required: bool,
    /// What was found.
    found: String,
    /// What to do; empty when nothing is to be done.
    remedy: String,
}

/// Everything `doctor` says.
#[derive(Debug, Serialize)]
struct Report {
    kernel: String,
    architecture: &'static str,
    /// `run` and `record` would work.
    ready: bool,
    checks: Vec<Check>,
}

/// Looks at this host and prints what it found. Returns whether `run` would work.
pub fn run(json: bool) -> anyhow::Result<bool> {
    let report = Report::new(&Facts::gather());
    let text = if json { serde_json::to_string_pretty(&report)? } else { report.table() };
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(report.ready)
}

// === impl Report ===

impl Report {
    fn new(facts: &Facts) -> Self {
        let checks = judge::all(facts);
        let ready = !checks.iter().any(|check| check.required && check.status == Status::Missing);
        Self { kernel: facts.release.clone(), architecture: std::env::consts::ARCH, ready, checks }
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(["CHECK", "STATUS", "FOUND", "WHAT TO DO"]);
        if table.width().is_none() {
            // Not a terminal: a log or a file.
            table.set_width(120);
        }
        for check in &self.checks {
            table.add_row([check.name, check.status.word(), &check.found, &check.remedy]);
        }
        let verdict = if self.ready {
            "`fleetprof-agent run` works on this host."
        } else {
            "`fleetprof-agent run` does not work on this host: see what is missing above."
        };
        format!("{}\n\n{verdict}", table.trim_fmt())
    }
}

// === impl Status ===

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }
}

#[cfg(test)]
mod tests;
