//! Beside perf, which people use on hosts that are profiled all the time.

use std::{path::Path, time::Duration};

use fleetprof_tests::{
    agent::Agent,
    cpu, machine,
    process::{self, Finished},
    programs::{Burning, Program},
    wait,
};

use crate::{fixture::Lab, record::readelf_build_id};

/// As people start it: perf reads the mappings of the command, and at its end the build IDs of its files.
fn perf_record(file: &Path, command: &[&str]) -> Finished {
    let perf = machine::tool("perf", "apt-get install linux-perf");
    let mut record = process::command(perf);
    record.args(["record", "-e", "cpu-clock", "-o"]).arg(file).arg("--").args(command);
    process::run(&mut record, Duration::from_secs(60))
}

// Check that with `--build-ids files` perf records a command as if no agent was there, its mappings with their inodes,
// and that code has its build ID and its names all the same.
#[test]
fn perf_records_commands_beside_an_agent_that_reads_build_ids_itself() {
    let _machine = machine::machine();
    let lab = Lab::new();
    let collector = lab.collector();
    let agent = Agent::start(&lab.options().with(&["--build-ids", "files"]));
    let mut burning = Burning::start(Program::C, 1);
    let file = lab.path().join("perf.data");
    for _ in 0..5 {
        perf_record(&file, &["sh", "-c", "ls / | sort"]).success("perf record");
    }
    let mut script = process::command(machine::tool("perf", "apt-get install linux-perf"));
    script.args(["script", "--show-mmap-events", "-i"]).arg(&file);
    let script = process::run(&mut script, Duration::from_secs(60)).success("perf script");
    let mapped: Vec<&str> =
        script.lines().filter(|line| line.contains("PERF_RECORD_MMAP2")).collect();
    let of_sort = |line: &&&str| line.trim_end().ends_with("bin/sort");
    let sort = mapped.iter().find(of_sort).unwrap_or_else(|| panic!("{script}"));
    assert!(!sort.contains("<"), "perf takes the inode for a build ID: {sort}");

    wait::until("enough samples", Duration::from_secs(60), || {
        (cpu::process_ns(burning.pid())? > 3_000_000_000).then_some(())
    });
    burning.stop();
    let selector = format!("{{comm=\"{}\"}}", Program::C.name());
    let named = wait::until("names", Duration::from_secs(120), || {
        let profile = lab.books(&selector).profile;
        let is_named = profile.lines().any(|line| line.function == "alpha_hash");
        is_named.then_some(profile)
    });
    let path = Program::C.path();
    let frames = named.samples.iter().flat_map(|sample| &sample.locations);
    let mut mappings = frames.filter_map(|frame| frame.mapping.as_ref());
    let own = mappings.find(|mapping| Path::new(&mapping.file) == path).expect("its own code");
    assert_eq!(own.build_id, readelf_build_id(&path));
    agent.stop();
    collector.stop();
}
