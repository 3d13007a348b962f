//! Compares our walk with perf's and gdb's on this host, and records cases.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use clap::Parser;
use fleetprof_abi::Architecture;
use fleetprof_replay::{
    build::{self, VARIANTS, Variant},
    capture::{Capture, mapping_of},
    choose::Seen,
    gdb,
    judge::{Verdict, is_whole, judge},
    machine::Walked,
    objects::Objects,
    perf, run,
    steps::{self, STEPS, Steps},
    trim,
};
use fleetprof_walk::frame_address;

/// Our walk against unwinders of independent origin.
#[derive(Parser)]
enum Arguments {
    /// Says what became of each sampled stack of programs, perf and gdb beside us, and shows what is
    /// not equal.
    Samples {
        /// Programs; all when there are none.
        names: Vec<String>,
        /// Milliseconds of CPU time for each.
        #[arg(long, default_value_t = MILLISECONDS)]
        milliseconds: u32,
        /// Most differences to show of each program.
        #[arg(long, default_value_t = 3)]
        show: usize,
    },
    /// Steps through programs, gdb beside us.
    Steps {
        /// Programs; all when there are none.
        names: Vec<String>,
        /// Most differences to show of each program.
        #[arg(long, default_value_t = 3)]
        show: usize,
    },
    /// Records stacks of the programs into a folder.
    Record {
        /// The folder, which is there.
        folder: PathBuf,
        /// Programs; all when there are none.
        names: Vec<String>,
        /// Most stacks of each program.
        #[arg(long, default_value_t = 2)]
        most: usize,
    },
}

const MILLISECONDS: u32 = 250;

/// What differs, how often, and how it looks.
#[derive(Default)]
struct Differences(BTreeMap<String, (usize, String)>);

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Samples { names, milliseconds, show } => samples(&names, milliseconds, show),
        Arguments::Steps { names, show } => step_through(&names, show),
        Arguments::Record { folder, names, most } => record(&folder, &names, most),
    }
}

/// Whether a program is asked for, and all that it needs is here.
fn is_wanted(names: &[String], name: &str, is_here: impl FnOnce() -> bool) -> bool {
    let wanted = names.is_empty() || names.iter().any(|wanted| wanted == name);
    let here = wanted && is_here();
    if wanted && !here {
        println!("{name:24} what it needs is not here");
    }
    here
}

fn wanted_variants(names: &[String]) -> impl Iterator<Item = &'static Variant> {
    let wanted = |one: &&Variant| is_wanted(names, one.name, || build::is_here(one.compiler));
    VARIANTS.iter().filter(wanted)
}

fn wanted_steps(names: &[String]) -> impl Iterator<Item = &'static Steps> {
    let wanted = |one: &&Steps| is_wanted(names, &one.full_name(), || steps::can_run(one));
    STEPS.iter().filter(wanted)
}

fn samples(names: &[String], milliseconds: u32, show: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for variant in wanted_variants(names) {
        let program = variant.build(folder.path(), milliseconds)?;
        let captures = perf::record(&program)?;
        let judged = judge(captures, &Objects::default())?;
        let mut verdicts: BTreeMap<Verdict, usize> = BTreeMap::new();
        let mut differences = Differences::default();
        for one in &judged {
            *verdicts.entry(one.verdict).or_default() += 1;
            if one.verdict >= Verdict::NobodyKnowsMore
                && let Some(by_gdb) = &one.by_gdb
            {
                differences.add(by_gdb, &one.walked);
            }
        }
        println!("{:24} {verdicts:?}", variant.name);
        differences.print(show);
    }
    Ok(())
}

fn step_through(names: &[String], show: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for one in wanted_steps(names) {
        let captures = steps::capture(one, folder.path(), 1)?;
        let objects = Objects::default();
        let mut differences = Differences::default();
        let mut equal = 0;
        for capture in &captures {
            let walked = run::run(capture, &objects);
            if run::is_equal(capture, &walked) && is_whole(walked.end) {
                equal += 1;
            } else {
                differences.add(capture, &walked);
            }
        }
        println!("{:24} {equal} of {} equal", one.full_name(), captures.len());
        differences.print(show);
    }
    Ok(())
}

fn record(out: &Path, names: &[String], most: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut seen = Seen::default();
    for variant in wanted_variants(names) {
        let captures = perf::record(&variant.build(folder.path(), MILLISECONDS)?)?;
        let objects = Objects::default();
        let judged = judge(captures, &objects)?;
        let good = judged.iter().filter(|one| one.verdict <= Verdict::PerfDiffers);
        let stacks: Vec<_> = good.map(|one| (&one.capture, &one.walked)).collect();
        for (number, at) in seen.choose(&stacks, &objects, most).into_iter().enumerate() {
            let (capture, walked) = stacks[at];
            // What perf found is asked of gdb, too, which knows more of the functions' names.
            let by_gdb = gdb::frames(&[capture])?.pop().unwrap_or_default();
            let by_gdb = Capture { truth: by_gdb, ..capture.clone() };
            let truth = [(capture, "perf"), (&by_gdb, "gdb")];
            let truth = truth.iter().filter(|(capture, _)| run::is_equal(capture, walked));
            let truth: Vec<_> = truth.map(|(_, name)| *name).collect();
            let about = (variant.about(), truth.join(" "));
            let path = out.join(format!("{}-{}", variant.name, number + 1));
            keep(&path, about, &by_gdb, walked, &objects)?;
        }
    }
    let mut seen_on_arm64 = Seen::default();
    for one in wanted_steps(names) {
        let captures = steps::capture(one, folder.path(), 1)?;
        let objects = Objects::default();
        let walked: Vec<_> = captures.iter().map(|capture| run::run(capture, &objects)).collect();
        let pairs = captures.iter().zip(&walked);
        let good = pairs
            .filter(|(capture, walked)| run::is_equal(capture, walked) && is_whole(walked.end));
        let stacks: Vec<_> = good.collect();
        let seen = match one.architecture {
            Architecture::X86_64 => &mut seen,
            Architecture::Aarch64 => &mut seen_on_arm64,
        };
        for (number, at) in seen.choose(&stacks, &objects, most).into_iter().enumerate() {
            let (capture, walked) = stacks[at];
            let about = format!("{}, step by step in {}", one.variant.about(), one.start_at);
            let path = out.join(format!("steps-{}-{}", one.full_name(), number + 1));
            keep(&path, (about, "gdb".to_owned()), capture, walked, &objects)?;
        }
    }
    Ok(())
}

/// Writes a case, when it is as good as the whole stack.
fn keep(
    path: &Path,
    (about, truth): (String, String),
    capture: &Capture,
    walked: &Walked,
    objects: &Objects,
) -> Result<()> {
    let case = trim::case(about, &truth, capture, walked, objects);
    let replayed = case.replay();
    ensure!(
        (&replayed.frames, replayed.end) == (&walked.frames, walked.end),
        "{}: the trimmed stack gives other frames",
        path.display()
    );
    std::fs::write(path, case.write())?;
    println!("{} {} frames, {truth}", path.display(), walked.frames.len());
    Ok(())
}

// === impl Differences ===

impl Differences {
    fn add(&mut self, capture: &Capture, walked: &Walked) {
        let equal = run::equal_frames(capture, walked);
        let function = |depth: Option<usize>| {
            let frame = depth.and_then(|depth| capture.truth.get(depth));
            frame.map_or("-", |frame| frame.function.as_str())
        };
        let key = format!(
            "after {}, then {}: ours {} frames ({}), theirs {}, equal {equal}",
            function(equal.checked_sub(1)),
            function(Some(equal)),
            walked.frames.len(),
            walked.end.name(),
            capture.truth.len()
        );
        let mut text = String::new();
        for depth in equal.saturating_sub(3)..(equal + 3) {
            let ours = walked.frames.get(depth).map(|frame| {
                let address = frame_address(*frame);
                let mapping = mapping_of(&capture.mappings, address);
                mapping.map_or(format!("{address:#x}"), |mapping| {
                    format!("{:#x} {}", mapping.position_of(address), mapping.path)
                })
            });
            text += &format!("        {depth:>3} {ours:?}  /  {:?}\n", capture.truth.get(depth));
        }
        self.0.entry(key).or_insert_with(|| (0, text)).0 += 1;
    }

    fn print(self, most: usize) {
        let mut all: Vec<_> = self.0.into_iter().collect();
        all.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for (key, (count, text)) in all.into_iter().take(most) {
            println!("    {count} x {key}\n{text}");
        }
    }
}
