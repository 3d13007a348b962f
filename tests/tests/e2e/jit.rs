//! Names of code that programs generate while they run, as their own files tell them.

mod runtimes;

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use fleetprof_tests::{
    machine::{self, machine},
    perf::Recording,
    pprof::{Line, Profile, Sample},
    process::{self, Running},
    record::{Recorded, record},
    shares, wait,
};

use crate::fixture::SOON;

const NAME: &str = "jit";
const OUTER: &str = "LazyCompile:*outer /app/x.js:12:3";
const INNER: &str = "int Inner.work(int, long)";
/// Object of what has a name, and of what has none.
const NAMED: &str = "[jit]";
const NAMELESS: &str = "//anon";
const FREQUENCY: [&str; 2] = ["--frequency", "499"];

/// The program, compiled into a folder.
fn program(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/jit/jit.c");
    let mut compiler = process::command(machine::tool("gcc", "run `make setup`"));
    compiler.args(["-O2", "-g", "-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Werror", "-o"]);
    let program = folder.join(NAME);
    process::run(compiler.arg(&program).arg(source), SOON).success("gcc");
    program
}

/// Starts it, and waits until it burns.
fn start(command: &mut std::process::Command, folder: &Path) -> Running {
    let stdout = folder.join("stdout");
    command.stdin(Stdio::piped()).stdout(File::create(&stdout).expect("a file for stdout"));
    let mut running = Running::start(NAME, command, &folder.join("log"));
    wait_for(&mut running, &stdout, "ready");
    running
}

fn wait_for(running: &mut Running, stdout: &Path, word: &str) {
    wait::until(word, SOON, || {
        running.check_alive();
        fs::read_to_string(stdout).unwrap_or_default().contains(word).then_some(())
    });
}

/// What a program leaves in a folder that others use, too.
struct Litter(PathBuf);

impl Drop for Litter {
    fn drop(&mut self) {
        // A test that fails before it is made has none.
        let _not_there = fs::remove_file(&self.0);
    }
}

fn perf_map(pid: u32) -> Litter {
    Litter(format!("/tmp/perf-{pid}.map").into())
}

/// The innermost location's function, of each sample with one.
fn line<'a>(sample: &&'a Sample) -> Option<&'a Line> {
    sample.locations.first()?.lines.first()
}

fn leaf_share(samples: &[&Sample], is_it: impl Fn(&&Sample) -> bool) -> f64 {
    let of_it: Vec<_> = samples.iter().copied().filter(|sample| is_it(sample)).collect();
    shares::count(&of_it) as f64 / shares::count(samples) as f64
}

fn object<'a>(sample: &&'a Sample) -> Option<&'a str> {
    Some(&sample.locations.first()?.mapping.as_ref()?.file)
}

/// Checks the names, shares, objects and stacks of the mode with a perf map.
fn check_map(Recorded { profile, output, .. }: &Recorded) {
    println!("{}", output.stderr);
    let samples = shares::of(profile, NAME);
    let inner = leaf_share(&samples, |sample| line(sample).is_some_and(|l| l.function == INNER));
    let unlisted =
        leaf_share(&samples, |sample| object(sample) == Some(NAMELESS) && line(sample).is_none());
    println!("{} samples: {inner:.3} {INNER}, {unlisted:.3} without a name", samples.len());
    assert!((inner - 2.0 / 3.0).abs() < shares::POINTS, "{inner} of the samples are in {INNER}");
    assert!(
        (unlisted - 1.0 / 3.0).abs() < shares::POINTS,
        "{unlisted} of the samples have no name"
    );
    // While a busy machine has not made the tables of the program's own code, walks end there, or at once.
    let (mut left, mut whole, mut lost) = (0, 0, 0);
    for sample in &samples {
        let names: Vec<_> = sample.functions().collect();
        let Some(outer) = names.iter().position(|name| *name == OUTER) else { continue };
        left += sample.count;
        lost += if names[outer..].contains(&"main") { 0 } else { sample.count };
        whole += if names.last() == Some(&"_start") { sample.count } else { 0 };
    }
    println!("of {left} stacks with {OUTER}, {lost} are lost before main; {whole} reach _start");
    assert!(left * 2 > shares::count(&samples), "only {left} stacks have {OUTER}");
    assert!(lost * 100 <= left * 2, "{lost} of {left} stacks do not leave the generated code");
    assert!(whole * 2 > left, "only {whole} of {left} stacks are whole");
    for location in samples.iter().flat_map(|sample| &sample.locations) {
        let name = location.lines.first().map(|line| line.function.as_str());
        if name == Some(INNER) || name == Some(OUTER) {
            assert_eq!(location.mapping.as_ref().map(|one| one.file.as_str()), Some(NAMED));
        }
    }
}

// Check a perf map: the names as they were given, in the shares that the program has and that perf gives them.
#[test]
fn a_perf_map_names_generated_code_as_perf_does() {
    let _machine = machine();
    let work = tempfile::tempdir().expect("a temporary folder");
    let running = start(process::command(program(work.path())).arg("map"), work.path());
    let _map = perf_map(running.pid());
    let recording = Recording::of_processes(&[running.pid()], 997);
    let recorded = record(Duration::from_secs(6), &FREQUENCY);
    let [seen] = recording.finish(&[NAME]);
    check_map(&recorded);
    let samples = shares::of(&recorded.profile, NAME);
    let ours = leaf_share(&samples, |sample| line(sample).is_some_and(|l| l.function == INNER));
    let perf = seen.get(INNER).copied().unwrap_or_default();
    println!("perf gives {INNER} {perf:.3}");
    assert!((ours - perf).abs() < shares::POINTS, "perf {perf}, ours {ours}: {seen:?}");
}

// Check a process with a pid namespace and a /tmp of its own: the file is found by its number in there.
#[test]
fn a_perf_map_is_found_in_the_namespaces_of_its_process() {
    let _machine = machine();
    let work = tempfile::tempdir().expect("a temporary folder");
    let program = program(work.path());
    let mut command = process::command("unshare");
    command.args(["--pid", "--mount", "--fork", "--kill-child", "sh", "-c"]);
    // The program may be below the /tmp that is covered.
    command.arg(
        "exec 9< \"$0\" && mount -t tmpfs none /tmp && cp /proc/self/fd/9 /tmp/jit && \
         chmod +x /tmp/jit && exec /tmp/jit map",
    );
    let running = start(command.arg(program), work.path());
    assert!(!Path::new(&format!("/tmp/perf-{}.map", running.pid())).exists());
    let recorded = record(Duration::from_secs(4), &FREQUENCY);
    check_map(&recorded);
}

/// Name, file and line of the innermost frames, by share.
fn leaves(profile: &Profile) -> Vec<(String, f64)> {
    let samples = shares::of(profile, NAME);
    let mut names: Vec<_> = samples
        .iter()
        .map(|sample| {
            line(sample).map_or("-".to_owned(), |l| format!("{} {}:{}", l.function, l.file, l.line))
        })
        .collect();
    names.sort();
    names.dedup();
    let share = |name: &String| {
        leaf_share(&samples, |sample| {
            line(sample).is_some_and(|l| format!("{} {}:{}", l.function, l.file, l.line) == *name)
        })
    };
    names.into_iter().map(|name| (name.clone(), share(&name))).collect()
}

fn share_of(leaves: &[(String, f64)], start: &str) -> f64 {
    leaves.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, share)| share).sum()
}

// Check a jitdump: names with lines, and memory that is used again while it is recorded, told apart.
#[test]
fn a_jitdump_names_lines_and_memory_that_is_used_again() {
    let _machine = machine();
    let work = tempfile::tempdir().expect("a temporary folder");
    let mut command = process::command(program(work.path()));
    let mut running = start(command.arg("dump").arg(work.path()), work.path());
    let before = leaves(&record(Duration::from_secs(3), &FREQUENCY).profile);
    println!("before: {before:?}");
    assert!(share_of(&before, "first first.js:21") > 0.95, "the loop's line: {before:?}");
    assert_eq!(share_of(&before, "second"), 0.0);

    let during = thread::scope(|scope| {
        let recording = scope.spawn(|| record(Duration::from_secs(10), &FREQUENCY));
        thread::sleep(Duration::from_secs(5));
        let mut input = running.child().stdin.take().expect("its input is ours");
        input.write_all(b"x").expect("it reads");
        drop(input);
        leaves(&recording.join().expect("recorded").profile)
    });
    println!("during: {during:?}");
    assert!(share_of(&during, "first first.js:21") > 0.2, "{during:?}");
    assert!(share_of(&during, "second second.js:71") > 0.2, "{during:?}");

    wait_for(&mut running, &work.path().join("stdout"), "reused");
    let after = leaves(&record(Duration::from_secs(3), &FREQUENCY).profile);
    println!("after: {after:?}");
    assert!(share_of(&after, "second second.js:71") > 0.95, "{after:?}");
    assert_eq!(share_of(&after, "first"), 0.0);
}
