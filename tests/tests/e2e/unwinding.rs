//! Do stacks of programs without frame pointers reach their root: everything runs side by side in one
//! recording, and each program is judged by itself.

mod host;
pub(crate) mod oracle;
pub(crate) mod verdict;

use std::{
    fmt::Write as _, fs, os::unix::fs::symlink, path::Path, process::Command, thread,
    time::Duration,
};

use fleetprof_tests::{
    machine::machine,
    pprof::Profile,
    process::{self, Running},
    programs::{self, Burning},
    record::record,
};

use oracle::Oracle;
use verdict::Verdict;

/// Stacks that must reach a root, of a thousand: of all programs together, and of each by itself.
const ROOTED: u64 = 995;
const ROOTED_EACH: u64 = 980;
/// Of programs whose threads change stacks all the time. While their tables are not there yet, only the
/// stack is copied on which the thread is at that moment. A walk that could never change stacks would lose
/// half of their stacks.
const ROOTED_SWITCHING: u64 = 800;
const SWITCHING: [&str; 2] = ["r-signals", "r-go"];
/// The same for processes that live 20 ms each, where the right executable is asked for, too.
const BRIEF: u64 = 950;
/// Name by which the program of 20 ms is started.
const LINK: &str = "swarm";
/// Fewer samples of a program prove nothing: of 50, a single one is two percent.
const FEWEST: u64 = 50;

/// A program under way, killed at the end.
struct Started {
    comm: String,
    _running: Running,
}

fn start(comm: &str, command: &mut Command, logs: &Path) -> Started {
    command.env("OTEL_SERVICE_NAME", comm);
    let running = Running::daemon(comm, command, &logs.join(comm));
    Started { comm: comm.to_owned(), _running: running }
}

/// Checks that enough of all stacks are whole, and of each program's; prints all of them.
fn check(verdicts: &[(String, Verdict)], of_all: u64, of_each: u64, fewest: u64) {
    let mut bad = String::new();
    let (mut whole, mut all) = (0, 0);
    for (comm, verdict) in verdicts {
        println!("{comm:16} {verdict}");
        (whole, all) = (whole + verdict.whole(), all + verdict.all());
        if verdict.all() < fewest {
            writeln!(bad, "{comm}: only {} samples", verdict.all()).expect("a string takes all");
        }
        if verdict.whole() * 1000 < verdict.all() * of_each {
            writeln!(bad, "{comm}: {verdict}").expect("a string takes all");
        }
    }
    println!("{whole} of {all} stacks are whole");
    assert!(bad.is_empty(), "{bad}");
    assert!(whole * 1000 >= all * of_all, "{whole} of {all} stacks are whole");
}

pub(crate) fn judge(profile: &Profile, comm: &str, oracle: &mut Oracle) -> Verdict {
    let mut verdict = Verdict::default();
    profile.with_label("comm", comm).into_iter().for_each(|sample| verdict.add(sample, oracle));
    verdict
}

// Check the share of stacks that reach a root, from the first sample on: two cores, shared by some thirty busy
// programs of which none has a table in the beginning.
#[test]
fn stacks_without_frame_pointers_reach_their_root() {
    let _machine = machine();
    let (folder, names) = programs::rooted();
    let work = tempfile::tempdir().expect("a temporary folder");
    let mut started = host::all(work.path());
    for name in names {
        let mut command = process::command(folder.join(name));
        // Longer than the recording; they are killed.
        started.push(start(name, command.arg("600000"), work.path()));
    }
    // A compiler job that has begun, and no start of a process that is not asked about here.
    thread::sleep(Duration::from_secs(1));
    // A slow machine takes seconds to make the tables of all of them; most of the recording is with tables.
    let recorded = record(Duration::from_secs(28), &["--frequency", "499"]);
    println!("{}", recorded.output.stderr);
    let mut oracle = Oracle::default();
    oracle.add_twin(&folder.join("r-go-s"), &folder.join("r-go"));
    let judged = started.iter().map(|program| {
        (program.comm.clone(), judge(&recorded.profile, &program.comm, &mut oracle))
    });
    let switches = |comm: &str| SWITCHING.iter().any(|name| comm.starts_with(name));
    let (switching, others): (Vec<_>, Vec<_>) = judged.partition(|(comm, _)| switches(comm));
    check(&switching, ROOTED_SWITCHING, ROOTED_SWITCHING, FEWEST);
    check(&others, ROOTED, ROOTED_EACH, FEWEST);
}

// Check processes that live 20 ms each: the right executable, and whole stacks.
#[test]
fn processes_of_20_ms_have_their_executable_and_whole_stacks() {
    let _machine = machine();
    let path = programs::brief();
    // By another name: then that of the service, which is the executable's, can only come from the executable.
    let work = tempfile::tempdir().expect("a temporary folder");
    let link = work.path().join(LINK);
    symlink(&path, &link).expect("a link");
    let storm = Burning::start_file(&link, 1, &[]);
    let recorded = record(Duration::from_secs(8), &["--frequency", "499"]);
    drop(storm);
    println!("{}", recorded.output.stderr);
    let mut oracle = Oracle::default();
    let mut verdict = Verdict::of_executable(&path);
    let samples = recorded.profile.with_label("comm", LINK);
    samples.into_iter().for_each(|sample| verdict.add(sample, &mut oracle));
    check(&[(programs::BRIEF.to_owned(), verdict)], BRIEF, BRIEF, 1000);
}

// Check that a program whose functions are described nowhere but in its debug file has whole stacks with that file,
// and only then.
#[test]
fn linked_debug_files_lead_to_the_root() {
    let _machine = machine();
    let (program, debug) = programs::linked();
    let work = tempfile::tempdir().expect("a temporary folder");
    let copied = |file: &Path| {
        let copy = work.path().join(file.file_name().expect("a file"));
        fs::copy(file, &copy).expect("a copy");
        copy
    };
    let program = copied(&program);
    let logs = tempfile::tempdir().expect("a temporary folder");
    let _running = start(programs::LINKED, process::command(&program).arg("600000"), logs.path());
    let judged = || {
        let recorded = record(Duration::from_secs(5), &["--frequency", "499"]);
        judge(&recorded.profile, programs::LINKED, &mut Oracle::default())
    };
    let without = judged();
    println!("without its debug file: {without}");
    assert!(without.whole() * 2 < without.all(), "it does not need its debug file: {without}");
    copied(&debug);
    check(&[(programs::LINKED.to_owned(), judged())], ROOTED, ROOTED, 1000);
}
