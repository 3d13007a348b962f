//! Makes inputs to begin with: `seeds FOLDER` writes one folder for each target.
//!
//! They are of the forms that the targets' introductions name, and reach what a fuzzer would not find
//! by itself in a minute: valid binaries, batches, records. Nothing of this host gets into them but
//! what its compilers make of the sources here.

mod binaries;
mod go;
mod messages;
mod records;
mod runtimes;
mod stacks;
mod stored;
mod texts;

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use fleetprof_fuzz::TARGETS;

/// Name and bytes of an input.
type Seeds = Vec<(String, Vec<u8>)>;

fn main() -> Result<()> {
    let folder = env::args_os().nth(1).context("usage: seeds FOLDER")?;
    for target in TARGETS {
        let seeds = match target.name {
            "unwind-table" | "elf-identity" | "object-outline" => binaries::seeds()?,
            "symbol-conversion" => binaries::with_symbols()?,
            "symbol-table" => binaries::symbol_tables()?,
            "go-functions" => go::tables(),
            "proc-texts" => texts::of_processes(),
            "kernel-texts" => texts::of_the_kernel(),
            "query-texts" => texts::of_people(),
            "symbol-names" => texts::of_compilers(),
            "process-events" => records::process_events(),
            "kernel-types" => records::kernel_types(),
            "perf-map" => runtimes::perf_maps(),
            "jitdump" => runtimes::jitdumps(),
            "samples" => stacks::samples()?,
            "stack-walk" => stacks::walks()?,
            "batch" => messages::batches()?,
            "symbolizer-wire" => messages::of_workers(),
            "stored-pair" => stored::pairs()?,
            "stored-functions" => stored::functions()?,
            // Whoever adds a target decides where its inputs come from.
            _ => Vec::new(),
        };
        let folder = Path::new(&folder).join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
            ensure!(bytes.len() <= target.max_bytes, "{}: {name} is too long", target.name);
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

/// Names for what has none.
fn numbered(seeds: impl IntoIterator<Item = Vec<u8>>) -> Seeds {
    seeds.into_iter().enumerate().map(|(number, bytes)| (format!("seed-{number}"), bytes)).collect()
}
