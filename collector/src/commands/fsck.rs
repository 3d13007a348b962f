//! `fsck`.

use std::{fmt::Write as _, process::ExitCode};

use fleetprof_store::{Fsck, FsckOptions};

use super::{
    FINDINGS,
    place::Place,
    screen::{self, Progress, size},
};
use crate::args::{Format, FsckArgs};

pub(super) async fn run(args: &FsckArgs) -> anyhow::Result<ExitCode> {
    let place = Place::existing(&args.place).await?;
    let options = FsckOptions { fast: args.fast, repair: args.repair, orphan_age: args.orphan_age };
    let progress = Progress::new();
    let show = |at: fleetprof_store::FsckProgress| {
        progress
            .show(|| format!("checking: {} of {} pairs, {}", at.pairs, at.total, size(at.bytes)));
    };
    let found = place.store.fsck(&options, show).await?;
    drop(progress);
    match args.output.format {
        Format::Json => screen::print_json(&Answer { clean: found.is_clean(), found: &found })?,
        Format::Table => screen::print(&table(&found, args, screen::is_styled()))?,
    }
    Ok(if found.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

/// For programs.
#[derive(serde::Serialize)]
struct Answer<'a> {
    /// Whether nothing is wrong.
    clean: bool,
    #[serde(flatten)]
    found: &'a Fsck,
}

fn table(found: &Fsck, args: &FsckArgs, styled: bool) -> String {
    let (red, plain) = if styled { ("\u{1b}[31m", "\u{1b}[0m") } else { ("", "") };
    let mut text = String::new();
    for finding in &found.findings {
        let state = match (finding.repaired, finding.quarantined) {
            (true, _) => " (repaired)",
            (false, true) => " (quarantined)",
            (false, false) => "",
        };
        let age = finding.age_seconds.map(std::time::Duration::from_secs);
        let age = age.map(|age| format!(", {} old", humantime::format_duration(age)));
        let (kind, what) = (finding.kind.as_str(), printable(&finding.what));
        let (place, age) = (printable(&finding.place), age.unwrap_or_default());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{red}{kind:<11}{plain} {place}: {what}{age}{state}");
    }
    let all: u64 = found.counts.values().sum();
    if all > found.findings.len() as u64 {
        let _ = writeln!(text, "… and {} more", all - found.findings.len() as u64);
    }
    let read = if args.fast { "listed" } else { "read" };
    let _ = writeln!(
        text,
        "{all} findings; {} pairs of files ({}) and {} functions files {read}, {} sums of levels compared",
        found.pairs,
        size(found.bytes),
        found.functions,
        found.compared
    );
    let _ = writeln!(
        text,
        "no findings: {} files still to be removed, {} files perhaps about to be committed, {} sums not comparable",
        found.retired, found.young, found.not_compared
    );
    text
}

/// Names of services and files come from outside.
fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}
