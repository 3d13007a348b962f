//! Prints what the unwind tables of files are made of, and what they cost.
//!
//! `cargo run --release -p fleetprof-unwind --example unwind-table -- FILE…`

use anyhow::Context;
use fleetprof_unwind::{Limits, Unsupported, build};
use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:>9} {:>9} {:>9} {:>7} {:>9} {:>9} {:>6} {:>6} {:>8} {:>8}  file",
        "functions",
        "states",
        "changes",
        "rules",
        "frame_kb",
        "table_kb",
        "ratio",
        "B/chg",
        "ms",
        "unk_kb"
    )?;
    for path in std::env::args_os().skip(1) {
        let name = path.to_string_lossy().into_owned();
        let file = File::open(&path).with_context(|| format!("cannot open {name}"))?;
        let started = Instant::now();
        let table = match build(&file, None, &Limits::default()) {
            Ok(table) => table,
            Err(error) => {
                writeln!(out, "{name}: {error}")?;
                continue;
            }
        };
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        let stats = table.stats();
        writeln!(
            out,
            "{:>9} {:>9} {:>9} {:>7} {:>9} {:>9} {:>6.2} {:>6.2} {:>8.1} {:>8}  {name}",
            stats.functions,
            stats.states,
            stats.changes,
            stats.rules,
            stats.frame_bytes >> 10,
            stats.table_bytes >> 10,
            stats.table_bytes as f64 / stats.frame_bytes.max(1) as f64,
            stats.table_bytes as f64 / stats.changes.max(1) as f64,
            milliseconds,
            stats.unknown_bytes >> 10,
        )?;
        for reason in Unsupported::ALL {
            let count = stats.unsupported[reason as usize];
            if count > 0 {
                writeln!(out, "          {} {count}", reason.name())?;
            }
        }
    }
    Ok(())
}
