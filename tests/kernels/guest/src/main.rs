//! Runs inside a kernel of the matrix and judges what the agent's library does there.
//!
//! In: `fleetprof-guest PROGRAM STACK…`. PROGRAM burns a given CPU time and exits; a STACK is
//! `PATH=MODE:FRAME,FRAME,…` (see [`expected`]). Out, on standard output, one line each:
//!
//! ```text
//! FEATURE name ok|degraded|missing text     what `doctor` says of this kernel
//! CHECK name ok|FAIL|skip text              what was tried here
//! RESULT passed failed                      the last line; without it the guest did not finish
//! ```
//!
//! It boots nothing and compiles nothing: `scripts/test-kernels.sh` does.

mod child;
mod events;
mod expected;
mod features;
mod programs;
mod report;
mod stacks;
mod symbols;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use self::{expected::ExpectedStack, report::Report};

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all checks passed; an error when they could not be tried.
fn run(arguments: Vec<String>) -> anyhow::Result<bool> {
    if arguments == ["doctor"] {
        return fleetprof_agent::commands::doctor::run(true);
    }
    let mut arguments = arguments.into_iter();
    let program = PathBuf::from(arguments.next().context("usage: fleetprof-guest PROGRAM STACK…")?);
    let stacks = arguments.map(|text| text.parse()).collect::<Result<Vec<ExpectedStack>, _>>()?;

    let mut report = Report::default();
    features::print(&mut report);
    events::check(&mut report, &program);
    stacks::check(&mut report, &stacks);
    Ok(report.finish())
}
