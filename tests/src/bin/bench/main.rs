//! `make bench`: what fleetprof costs on this machine, as one table, beside anchors measured in the
//! same run.
//!
//! One file answers one question, and says how. Every figure is a median with its smallest
//! and largest value; what could not be measured here is said, not left out.

mod agent;
mod capture;
mod collector;
mod crowd;
mod fleet;
mod kernel;
mod load;
mod memory;
mod objects;
mod perf;
mod report;
mod sample;
mod start;
mod tables;
mod verifier;

use std::{path::PathBuf, time::Duration, time::Instant};

use clap::{Parser, ValueEnum};
use fleetprof_tests::machine;
use report::Report;

/// Measures agent and collector on this host (as root), for some minutes.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Seconds of one measurement of the agent; windows are of 10 s
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Measurements per figure
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Sampling rates of the agent's CPU and memory, Hz
    #[arg(long, value_delimiter = ',', default_value = "19,99")]
    rates: Vec<u32>,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// A binary more whose unwind table is built (part `tables`; repeatable)
    #[arg(long = "table", value_name = "FILE")]
    tables: Vec<PathBuf>,
    /// Stacks for the simulated fleet (parts `fleet`, `storage`, `history`): a pprof file that
    /// `fleetprof-agent record` wrote (repeatable) [default: PostgreSQL,
    /// SeaweedFS, DuckDB and the C++ compiler are recorded]
    #[arg(long = "capture", value_name = "FILE")]
    captures: Vec<PathBuf>,
    #[command(flatten)]
    history: fleet::History,
}

/// A question, in the order of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nanoseconds per sample inside of eBPF
    Sample,
    /// Instructions that the kernel verified
    Verifier,
    /// Unwind tables: size and time to build
    Tables,
    /// Time from the start to whole stacks
    Start,
    /// The agent's CPU and memory, all cores busy
    Agent,
    /// The same with 1,000 processes
    Crowd,
    /// perf beside the agent
    Perf,
    /// What the collector takes in and answers
    Collector,
    /// Uploads of binaries, and what their conversion costs others
    Objects,
    /// Hosts per core of a collector, its memory, and bytes on the wire
    Fleet,
    /// Stored bytes of a day of 10, 100 and 1,000 hosts
    Storage,
    /// Latency of questions about a month of a whole fleet
    History,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// One measurement.
    span: Duration,
    /// Measurements per figure.
    rounds: u32,
}

fn main() {
    let args = Args::parse();
    machine::require_root();
    let mut report = Report::new();
    let effort = Effort { span: Duration::from_secs(args.seconds), rounds: args.rounds };
    for part in Part::value_variants() {
        if !args.only.is_empty() && !args.only.contains(part) {
            continue;
        }
        let started = Instant::now();
        eprintln!("=> {part:?}");
        answer(*part, &args, effort, &mut report);
        eprintln!("=> {part:?}: {:.0} s", started.elapsed().as_secs_f64());
    }
    if args.json { println!("{}", report.json()) } else { print!("{}", report.table()) }
}

fn answer(part: Part, args: &Args, effort: Effort, report: &mut Report) {
    match part {
        Part::Sample => sample::measure(report, effort),
        Part::Verifier => verifier::measure(report),
        Part::Tables => tables::measure(report, effort.rounds, &args.tables),
        Part::Start => start::measure(report, effort.rounds),
        Part::Agent => args.rates.iter().for_each(|rate| agent::measure(report, *rate, effort)),
        Part::Crowd => crowd::measure(report, &args.rates, effort),
        Part::Perf => args.rates.iter().for_each(|rate| perf::measure(report, *rate, effort)),
        Part::Collector => collector::measure(report, args.rounds),
        Part::Objects => objects::measure(report),
        Part::Fleet => fleet::ingest(report, &args.captures, args.rounds),
        Part::Storage => fleet::stored(report, &args.captures),
        Part::History => fleet::history(report, &args.captures, &args.history),
    }
}
