//! Programs built here and now, sampled by perf and stepped through by gdb: our walk has their frames.
//!
//! Compilers that are not here are named in the output; perf and gdb are needed.

use std::collections::BTreeMap;

use anyhow::Result;
use fleetprof_abi::Architecture;
use fleetprof_replay::{
    build::{self, Kind, VARIANTS},
    elf::has_frame_header,
    explained::{Explanation, explanation},
    judge::{Judged, Verdict, is_whole, judge},
    objects::Objects,
    perf, run,
    steps::{self, STEPS},
};

/// Stacks of one program by what became of them.
type Verdicts = BTreeMap<Verdict, usize>;

fn verdicts(judged: &[Judged]) -> Verdicts {
    let mut verdicts = Verdicts::new();
    judged.iter().for_each(|one| *verdicts.entry(one.verdict).or_default() += 1);
    verdicts
}

/// What is not equal and not understood.
fn unexplained(program: &str, verdicts: &Verdicts) -> Vec<String> {
    let all: usize = verdicts.values().sum();
    let differences = verdicts.iter().filter(|(verdict, _)| **verdict != Verdict::Equal);
    let bad = differences.filter(|(verdict, count)| {
        let explained = explanation(program, **verdict);
        // One stack more than the share: in small runs a single one is many percent.
        let most = |one: &Explanation| one.most_percent * all / 100 + 1;
        explained.is_none_or(|one| **count > most(one))
    });
    bad.map(|(verdict, count)| format!("{program}: {count} of {all} are {verdict:?}")).collect()
}

/// Shows the stacks of verdicts that only one or two of a program have: what they are may be news.
fn show_rare(judged: &[Judged], found: &Verdicts) {
    let is_rare = |verdict| verdict != Verdict::Equal && found[&verdict] <= 2;
    for one in judged.iter().filter(|one| is_rare(one.verdict)) {
        let (ip, end) = (one.capture.ip, one.walked.end);
        println!("    {:?} at {ip:#x}, {end:?}: {:x?}", one.verdict, one.walked.frames);
        let known = one.by_gdb.as_ref().unwrap_or(&one.capture);
        println!("    gdb: {:?}", known.truth);
        println!("    perf: {:?}", one.capture.truth);
        println!("    mapped: {:x?}", known.mappings);
    }
}

#[test]
fn sampled_stacks_have_the_frames_of_perf_or_every_difference_is_explained() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut total, mut bad, mut programs) = (Verdicts::new(), Vec::new(), 0);
    let (mut good, mut all) = (0, 0);
    for variant in VARIANTS {
        if !build::is_here(variant.compiler) {
            println!("{}: {} is not here", variant.name, variant.compiler);
            assert!(variant.compiler != "gcc", "a C compiler is needed");
            continue;
        }
        let program = variant.build(folder.path(), 80)?;
        let captures = perf::record(&program)?;
        let judged = judge(captures, &Objects::default())?;
        let found = verdicts(&judged);
        println!("{:24} {found:?}", variant.name);
        show_rare(&judged, &found);
        let differ = found.get(&Verdict::PerfDiffers).copied().unwrap_or_default();
        if differ > 1 && variant.options.contains(&"-static") {
            // What the explanation says.
            let path = program.command.first().map_or("", String::as_str);
            assert!(!has_frame_header(&std::fs::read(path)?), "{}", variant.name);
        }
        let stacks: usize = found.values().sum();
        // The host's own programs run for as long as they please.
        let fewest = if variant.kind == Kind::System { 20 } else { 50 };
        if stacks < fewest {
            bad.push(format!("{}: only {stacks} samples", variant.name));
        }
        bad.extend(unexplained(variant.name, &found));
        if !variant.name.contains("musl") {
            let count = |verdict| found.get(&verdict).copied().unwrap_or_default();
            good += count(Verdict::Equal) + count(Verdict::PerfDiffers);
            all += count(Verdict::Equal)
                + count(Verdict::PerfDiffers)
                + count(Verdict::NobodyKnowsMore)
                + count(Verdict::GdbKnowsMore)
                + count(Verdict::Different);
        }
        found.into_iter().for_each(|(verdict, count)| *total.entry(verdict).or_default() += count);
        programs += 1;
    }
    println!("{programs} programs: {total:?}; {good} of {all} that can be told");
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    // Of code with unwind information, as far as the recorded bytes reach.
    assert!(good * 1000 >= all * 995, "only {good} of {all} stacks are equal and reach the root");
    assert!(programs >= 30, "only {programs} programs");
    Ok(())
}

#[test]
fn every_instruction_that_is_stepped_over_has_the_frames_of_gdb() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut bad, mut states) = (Vec::new(), 0);
    for one in STEPS {
        let name = one.full_name();
        if !steps::can_run(one) {
            println!("{name}: {} or an emulator is not here", one.variant.compiler);
            assert!(one.architecture != Architecture::X86_64, "gdb and gcc are needed");
            continue;
        }
        let captures = steps::capture(one, folder.path(), 7)?;
        let objects = Objects::default();
        let equal = captures.iter().filter(|capture| {
            let walked = run::run(capture, &objects);
            run::is_equal(capture, &walked) && is_whole(walked.end)
        });
        let (equal, all) = (equal.count(), captures.len());
        println!("{name:24} {equal} of {all}");
        if equal != all {
            bad.push(format!("{name}: {equal} of {all} states are equal"));
        }
        states += all;
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(states >= 500, "only {states} states");
    Ok(())
}
