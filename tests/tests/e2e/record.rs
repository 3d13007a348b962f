//! `fleetprof-agent record` against what the programs measured of themselves.

use std::{fs, path::Path, process::Command, sync::OnceLock, time::Duration};

use fleetprof_tests::{
    cpu::{Track, Tracked},
    gotool,
    machine::{machine, unix_nanos},
    pprof::{Line, Profile, Sample},
    programs::{Burning, Program, Report, start_deleted},
    record::{Recorded, record},
    shares,
};

/// High enough that chance moves a share by half a point, and shorter than the turns that the scheduler gives; prime.
const FREQUENCY: u32 = 997;
const DURATION: Duration = Duration::from_secs(8);

/// One recording with what ran meanwhile.
struct Session {
    profile: Profile,
    bytes: Vec<u8>,
    began: i64,
    ended: i64,
    programs: Vec<(Program, Report, Tracked)>,
}

fn session(programs: &[Program]) -> Session {
    let mut burning: Vec<_> = programs.iter().map(|program| Burning::start(*program, 1)).collect();
    let tracks: Vec<_> = burning.iter().map(|burning| Track::start(burning.pid())).collect();
    let began = unix_nanos();
    let Recorded { profile, bytes, output } =
        record(DURATION, &["--frequency", &FREQUENCY.to_string()]);
    let ended = unix_nanos();
    println!("{}", output.stderr);
    let tracked = tracks.into_iter().map(Track::finish);
    let reports = burning.iter_mut().map(Burning::stop);
    let programs = programs.iter().copied().zip(reports).zip(tracked);
    let programs =
        programs.map(|((program, report), tracked)| (program, report, tracked)).collect();
    Session { profile, bytes, began, ended, programs }
}

/// C and C++: one recording for the tests that look at it from several sides.
fn native() -> &'static Session {
    static SESSION: OnceLock<Session> = OnceLock::new();
    SESSION.get_or_init(|| session(&[Program::C, Program::Cpp]))
}

fn check(session: &Session) {
    let (start, end) = session.profile.span();
    for (program, report, tracked) in &session.programs {
        println!("{program:?}");
        let samples = shares::of(&session.profile, program.name());
        shares::check(&samples, report);
        shares::check_total(
            shares::count(&samples),
            FREQUENCY,
            tracked.seconds_between(start, end),
        );
    }
}

/// Build ID notes of a file as `readelf -n` prints them.
pub(crate) fn readelf_build_id(file: &Path) -> String {
    let output = Command::new("readelf").arg("-n").arg(file).output().expect("binutils are there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    line.unwrap_or_else(|| panic!("no build ID in {}:\n{text}", file.display())).to_owned()
}

/// First and last line of the function that starts at the line containing `start`.
fn source_lines(file: &str, start: &str) -> (i64, i64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(file);
    let text = fs::read_to_string(path).expect("a source file");
    let lines: Vec<_> = text.lines().collect();
    let first = lines.iter().position(|line| line.contains(start)).expect("the function is there");
    let length = lines[first..].iter().position(|line| *line == "}").expect("it ends");
    (i64::try_from(first + 1).expect("small"), i64::try_from(first + length + 1).expect("small"))
}

fn lines_of<'a>(samples: &[&'a Sample], function: &str) -> Vec<(&'a Line, Option<&'a Line>)> {
    let locations = samples.iter().flat_map(|sample| &sample.locations);
    let pairs = locations.flat_map(|location| {
        location.lines.iter().enumerate().map(|(index, line)| (line, location.lines.get(index + 1)))
    });
    pairs.filter(|(line, _)| line.function.contains(function)).collect()
}

// Check shares and totals of C and C++.
#[test]
fn functions_of_c_and_cpp_have_the_cpu_they_measured() {
    let _machine = machine();
    check(native());
}

// Check shares and totals of Rust and Go.
#[test]
fn functions_of_rust_and_go_have_the_cpu_they_measured() {
    let _machine = machine();
    check(&session(&[Program::Rust, Program::Go]));
}

// Check what a profile says about itself.
#[test]
fn a_recording_says_what_its_numbers_are() {
    let _machine = machine();
    let session = native();
    let profile = &session.profile;
    assert_eq!(profile.sample_types(), [("samples", "count"), ("cpu", "nanoseconds")]);
    assert_eq!(profile.string(profile.raw.default_sample_type), "cpu");
    let period = profile.raw.period_type.as_ref().expect("a period type");
    assert_eq!((profile.string(period.kind), profile.string(period.unit)), ("cpu", "nanoseconds"));
    let rate = 1e9 / profile.raw.period as f64;
    assert!((rate / f64::from(FREQUENCY) - 1.0).abs() < 0.001, "a period of {rate} Hz");
    let mean = profile.nanos() as f64 / profile.count() as f64;
    assert!((mean / profile.raw.period as f64 - 1.0).abs() < 0.01, "{mean} ns per sample");
    let (start, end) = profile.span();
    assert!(
        session.began <= start && start < end && end <= session.ended,
        "a span of {start} to {end}"
    );
    let length = (end - start) as f64 / DURATION.as_nanos() as f64;
    assert!((0.99..1.05).contains(&length), "lasted {length} of what was asked for");
}

// Check the labels of samples.
#[test]
fn samples_carry_service_host_and_comm() {
    let _machine = machine();
    for sample in &native().profile.samples {
        for name in ["service", "host", "comm"] {
            let value = sample.labels.get(name);
            assert!(
                value.is_some_and(|value| !value.is_empty()),
                "no {name} in {:?}",
                sample.labels
            );
        }
    }
    for program in [Program::C, Program::Cpp] {
        for sample in shares::of(&native().profile, program.name()) {
            assert_eq!(sample.labels["service"], program.name());
        }
    }
}

// Check names, raw names, lines and inlined calls of C++ and C.
#[test]
fn frames_have_lines_inlined_calls_and_both_names() {
    let _machine = machine();
    let profile = &native().profile;
    let samples = shares::of(profile, Program::Cpp.name());
    let inlined = lines_of(&samples, "fleet::inlined_mix");
    let (first, last) = source_lines("split.cpp", "inline std::uint64_t inlined_mix");
    assert!(!inlined.is_empty(), "the inlined function is not shown");
    for (line, caller) in inlined {
        assert!(line.file.ends_with("split.cpp"), "{line:?}");
        assert!((first..=last).contains(&line.line), "{line:?} is not in lines {first} to {last}");
        let caller = caller.unwrap_or_else(|| panic!("{line:?} has no caller"));
        assert!(caller.function.starts_with("fleet::Codec<int>::encode"), "{caller:?}");
        assert!(caller.system_name.starts_with("_ZN5fleet5CodecIiE6encode"), "{caller:?}");
    }
    let samples = shares::of(profile, Program::C.name());
    let alpha: Vec<_> = samples.iter().filter(|sample| sample.calls("alpha_hash")).collect();
    let below = alpha.iter().filter(|sample| sample.calls("burn_worker")).count();
    assert!(below * 100 >= alpha.len() * 98, "{below} of {} stacks reach the caller", alpha.len());
    let (first, last) = source_lines("split.c", "uint64_t alpha_hash");
    for (line, _) in lines_of(&samples, "alpha_hash") {
        assert!(line.file.ends_with("split.c") && (first..=last).contains(&line.line), "{line:?}");
    }
}

// Check the mappings' build IDs against an independent reader of the files.
#[test]
fn mappings_carry_the_build_ids_that_readelf_shows() {
    let _machine = machine();
    for program in [Program::C, Program::Cpp] {
        let path = program.path().canonicalize().expect("the program is there");
        let samples = shares::of(&native().profile, program.name());
        let locations = samples.iter().flat_map(|sample| &sample.locations);
        let mapping = locations
            .filter_map(|location| location.mapping.as_ref())
            .find(|mapping| Path::new(&mapping.file) == path)
            .unwrap_or_else(|| panic!("no mapping of {}", path.display()));
        assert_eq!(mapping.build_id, readelf_build_id(&path));
    }
}

// Check that the reader that everybody has reads the same.
#[test]
fn go_tool_pprof_reads_the_same() {
    let _machine = machine();
    let session = native();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), &session.bytes).expect("the recording fits");
    let raw = gotool::raw(file.path());
    let ours =
        [session.profile.count(), session.profile.nanos()].map(|n| i64::try_from(n).expect("fits"));
    assert_eq!(raw.totals, ours);
    let path = Program::C.path().canonicalize().expect("the program is there");
    assert_eq!(raw.build_ids[&*path.to_string_lossy()], readelf_build_id(&path));
    let top = gotool::top(&file.path().to_string_lossy());
    let all = session.profile.nanos() as f64;
    let with = session.profile.samples.iter().filter(|sample| sample.calls("beta_walk"));
    let beta = with.map(|sample| sample.nanos).sum::<u64>() as f64 / all;
    let row = top.iter().find(|row| row.function == "beta_walk").expect("beta_walk is in -top");
    assert!((row.cumulative - beta).abs() < 0.001, "{row:?}, ours {beta}");
}

// Check that kernel frames have names, and that user frames are below them.
#[test]
fn kernel_frames_are_named_and_deep_stacks_are_kept() {
    let _machine = machine();
    let session = session(&[Program::Syscalls, Program::Deep]);
    check(&session);
    let samples = shares::of(&session.profile, Program::Syscalls.name());
    let reads: Vec<_> = samples.iter().filter(|sample| sample.calls("read_zero")).collect();
    let in_kernel =
        reads.iter().filter(|sample| sample.calls("ksys_read") || sample.calls("vfs_read"));
    // Entry, exit and interrupts of the system call are not below it.
    assert!(
        in_kernel.count() * 100 > reads.len() * 70,
        "too few reads show the kernel's functions"
    );
    let kernel: Vec<_> = samples
        .iter()
        .flat_map(|sample| &sample.locations)
        .filter(|location| {
            location.mapping.as_ref().is_some_and(|mapping| mapping.file.contains("kernel"))
        })
        .collect();
    let named = kernel.iter().filter(|location| !location.lines.is_empty()).count();
    assert!(!kernel.is_empty(), "no location belongs to the kernel");
    assert!(
        named * 1000 >= kernel.len() * 995,
        "{named} of {} kernel frames are named",
        kernel.len()
    );
    let deep = shares::of(&session.profile, Program::Deep.name());
    let leaves: Vec<_> = deep.iter().copied().filter(|sample| sample.calls("deep_leaf")).collect();
    let kept: Vec<_> =
        leaves.iter().copied().filter(|sample| sample.locations.len() >= 127).collect();
    let (kept, all) = (shares::count(&kept), shares::count(&leaves));
    // A few of the first samples may come before the tables, and have one frame.
    assert!(
        kept * 1000 >= all * 995,
        "only {kept} of {all} stacks have 127 of their more than 300 frames"
    );
}

// Check `--pid` with a program of several threads.
#[test]
fn one_process_can_be_recorded_alone() {
    let _machine = machine();
    let mut burning = Burning::start(Program::C, 2);
    let recorded = record(DURATION, &["--pid", &burning.pid().to_string(), "--frequency", "997"]);
    let report = burning.stop();
    let samples = shares::of(&recorded.profile, Program::C.name());
    assert_eq!(shares::count(&samples), recorded.profile.count(), "samples of other processes");
    shares::check(&samples, &report);
}

// Check the rate that nobody asked for.
#[test]
fn the_default_rate_is_97_hz() {
    let _machine = machine();
    let _burning = Burning::start(Program::C, 1);
    let recorded = record(Duration::from_secs(2), &[]);
    let rate = 1e9 / recorded.profile.raw.period as f64;
    assert!((rate / 97.0 - 1.0).abs() < 0.001, "a default of {rate} Hz");
}

// Check a stripped and a deleted executable.
#[test]
fn stripped_and_deleted_executables_keep_what_can_be_known() {
    let _machine = machine();
    let mut stripped = Burning::start(Program::Stripped, 1);
    let mut deleted = start_deleted(Program::C, "split-deleted");
    let recorded = record(Duration::from_secs(6), &["--frequency", "499"]);
    stripped.stop();
    shares::check(&shares::of(&recorded.profile, deleted.name()), &deleted.stop());
    let samples = shares::of(&recorded.profile, stripped.name());
    let leaves = samples.iter().filter_map(|sample| Some((sample, sample.locations.first()?)));
    let known: u64 = leaves
        .filter(|(_, leaf)| {
            leaf.mapping.as_ref().is_some_and(|m| m.build_id.starts_with("fee1dead"))
        })
        .map(|(sample, leaf)| {
            assert!(leaf.lines.is_empty(), "a stripped executable has no names: {leaf:?}");
            sample.count
        })
        .sum();
    let all = shares::count(&samples);
    assert!(known * 100 >= all * 95, "{known} of {all} samples know their executable and address");
}
