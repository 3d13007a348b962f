//! Files of processes that do not exist: a procfs of our making.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::PathBuf,
};

use super::*;
use crate::{
    object::{FileId, RegistryConfig},
    process::{Mapping, Region},
};

const PID: u32 = 4711;
const OWN_PID: u32 = 7;
const SECOND: u64 = 1_000_000_000;

struct Host {
    proc_root: tempfile::TempDir,
    jit: JitSymbols,
    mappings: MappingSet,
}

impl Host {
    fn new() -> Self {
        Self::with(JitConfig::default())
    }

    /// A host with one process, in a pid namespace of its own.
    fn with(config: JitConfig) -> Self {
        let proc_root = tempfile::tempdir().unwrap();
        let registry = RegistryConfig {
            proc_root: proc_root.path().to_owned(),
            patience: std::time::Duration::from_secs(600),
            ..RegistryConfig::default()
        };
        let jit = JitSymbols::new(config, Arc::new(Registry::new(&registry)));
        let host = Self { proc_root, jit, mappings: MappingSet::default() };
        fs::create_dir_all(host.in_root("/tmp")).unwrap();
        host.runs_as(rustix::process::geteuid().as_raw());
        host
    }

    fn runs_as(&self, user: u32) {
        let status = format!("Uid:\t1\t{user}\t1\t1\nNSpid:\t{PID}\t{OWN_PID}\n");
        fs::write(self.proc_root.path().join(format!("{PID}/status")), status).unwrap();
    }

    fn in_root(&self, path: &str) -> PathBuf {
        self.proc_root.path().join(format!("{PID}/root{path}"))
    }

    fn map_path(&self) -> PathBuf {
        self.in_root(&format!("/tmp/perf-{OWN_PID}.map"))
    }

    fn write_map(&self, text: &str) {
        fs::write(self.map_path(), text).unwrap();
    }

    fn append_map(&self, text: &str) {
        let file = fs::File::options().append(true).open(self.map_path());
        std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
    }

    fn subject(&self, time_ns: u64) -> Subject<'_> {
        let image = ImageId::for_test(1);
        Subject { image, pid: PID, ended: false, mappings: &self.mappings, time_ns }
    }

    /// The name of an address at a time.
    fn name(&mut self, address: u64, time_ns: u64) -> Option<String> {
        let mappings = self.mappings.clone();
        let subject = Subject { mappings: &mappings, ..self.subject(time_ns) };
        self.jit.name_in(&subject, address).map(|source| source.function.to_string())
    }

    fn events(&self) -> JitEvents {
        self.jit.counts().events
    }
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// Check the file's place: in the process's root, by its number in its own namespace.
#[test]
fn a_perf_map_is_found_where_the_process_sees_it() {
    let mut host = Host::new();
    host.write_map("1000 10 f\n");
    fs::write(host.in_root(&format!("/tmp/perf-{PID}.map")), "1000 10 wrong\n").unwrap();
    assert_eq!(host.name(0x1004, SECOND), some("f"));
    assert_eq!(host.name(0x1010, SECOND), None);
    let counts = host.jit.counts();
    assert_eq!((counts.programs, counts.entries), (1, 1));
    assert!(counts.bytes > 0 && counts.events == JitEvents::default(), "{counts:?}");
}

/// Check that what was added is read, once, and not before its time.
#[test]
fn a_file_that_grows_is_read_on_now_and_then() {
    let mut host = Host::new();
    host.write_map("1000 10 f\n2000 10 ha");
    assert_eq!(host.name(0x1000, SECOND), some("f"));
    host.append_map("lf\n1000 8 newer\n");
    let later = SECOND + program::FIRST_PAUSE_NS;
    assert_eq!(host.name(0x2000, later - 1), None);
    assert_eq!(host.name(0x2000, later), some("half"));
    assert_eq!((host.name(0x1000, later), host.name(0x1008, later)), (some("newer"), some("f")));
    host.append_map("3000 8 third\n");
    assert_eq!(host.name(0x3000, later + program::FIRST_PAUSE_NS), None, "a longer pause");
    assert_eq!(host.name(0x3000, later + 2 * program::FIRST_PAUSE_NS), some("third"));
    assert_eq!(host.events(), JitEvents::default());
}

/// Check every way in which a file can be another one: what was read of the old one is forgotten.
#[test]
fn a_file_that_was_replaced_is_read_again() {
    type Change = fn(&Host);
    let changes: [Change; 4] = [
        // Another file.
        |host| {
            let new = host.in_root("/tmp/new");
            fs::write(&new, "1000 10 first\n3000 10 other\n").unwrap();
            fs::rename(new, host.map_path()).unwrap();
        },
        // Cut short.
        |host| host.write_map("3000 10 x\n"),
        // Written anew, and longer than it was, as `jcmd Compiler.perfmap` does.
        |host| host.write_map("3000 10 other\n4000 10 other\n5000 10 other\n"),
        // Written anew, and as long as it was.
        |host| host.write_map("3000 10 first\n4000 10 third_\n"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut host = Host::new();
        host.write_map("1000 10 first\n2000 10 second\n");
        assert_eq!(host.name(0x2000, SECOND), some("second"));
        // The time of a change is told in ticks of the kernel's clock.
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&host);
        let later = 2 * SECOND;
        assert!(host.name(0x3000, later).is_some(), "change {number}");
        assert_eq!(host.name(0x2000, later), None, "change {number}");
        assert_eq!(host.events().files_replaced, 1, "change {number}");
    }
}

/// Check who may name a process's functions: its user and root.
#[test]
fn files_of_strangers_are_refused() {
    let mut host = Host::new();
    host.write_map("1000 10 f\n");
    let owner = fs::metadata(host.map_path()).unwrap().uid();
    host.runs_as(owner + 1);
    if owner == 0 {
        // Root may write for everybody; nobody for root.
        assert_eq!(host.name(0x1000, SECOND), some("f"));
        std::os::unix::fs::chown(host.map_path(), Some(65_534), None).unwrap();
    }
    host.jit.programs.clear();
    assert_eq!(host.name(0x1000, 2 * SECOND), None);
    assert_eq!(host.events().files_refused, 1);
    host.runs_as(fs::metadata(host.map_path()).unwrap().uid());
    assert_eq!(host.name(0x1000, 100 * SECOND), some("f"));
}

/// Check that nothing is read but a regular file that is there by itself, and that nothing waits.
#[test]
fn pipes_devices_folders_and_links_are_refused() {
    type Make = fn(&Host);
    let kinds: [Make; 4] = [
        |host| {
            let status = std::process::Command::new("mkfifo").arg(host.map_path()).status();
            assert!(status.unwrap().success());
        },
        |host| fs::create_dir(host.map_path()).unwrap(),
        |host| {
            fs::write(host.in_root("/tmp/elsewhere"), "1000 10 f\n").unwrap();
            symlink("elsewhere", host.map_path()).unwrap();
        },
        |host| symlink("/dev/zero", host.map_path()).unwrap(),
    ];
    for (number, make) in kinds.into_iter().enumerate() {
        let mut host = Host::new();
        make(&host);
        assert_eq!(host.name(0x1000, SECOND), None, "kind {number}");
        assert_eq!(host.events().files_refused, 1, "kind {number}");
    }
}

/// Check that a link on the way does not lead out of the process's root.
#[test]
fn a_link_does_not_lead_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join(format!("perf-{OWN_PID}.map")), "1000 10 outside\n").unwrap();
    let mut host = Host::new();
    fs::remove_dir(host.in_root("/tmp")).unwrap();
    symlink(outside.path(), host.in_root("/tmp")).unwrap();
    assert_eq!(host.name(0x1000, SECOND), None);
    fs::remove_file(host.in_root("/tmp")).unwrap();
    fs::create_dir(host.in_root("/var")).unwrap();
    symlink("/var", host.in_root("/tmp")).unwrap();
    host.write_map_at("/var", "1000 10 inside\n");
    assert_eq!(host.name(0x1000, 100 * SECOND), some("inside"));
}

impl Host {
    fn write_map_at(&self, folder: &str, text: &str) {
        fs::write(self.in_root(&format!("{folder}/perf-{OWN_PID}.map")), text).unwrap();
    }

    /// Maps a jitdump as its writer does.
    fn map_dump(&mut self, path: &str, bytes: &[u8]) {
        fs::write(self.in_root(path), bytes).unwrap();
        let region = Region::File(FileId {
            inode: fs::metadata(self.in_root(path)).unwrap().ino(),
            ..crate::object::testing::file_id(&self.in_root(path))
        });
        let path: Arc<[u8]> = path.as_bytes().into();
        assert!(self.mappings.insert(Mapping::new(0x9000, 0xa000, 0, path, region)));
    }
}

/// Check a jitdump: found by its mapping, with lines, and before a perf map.
#[test]
fn a_jitdump_is_found_by_its_mapping() {
    let mut host = Host::new();
    let bytes = [
        testing::header(1),
        testing::lines(5, 0x1000, &[(0x1000, 12, b"a.js")]),
        testing::load(6, 0x1000, &[0; 16], "from dump"),
        testing::load(7, 0x1000, &[0; 8], "later"),
    ];
    host.map_dump(&format!("/tmp/jit-{OWN_PID}.dump"), &bytes.concat());
    host.write_map("1000 10 from map\n2000 10 only map\n");
    assert_eq!(host.name(0x1000, SECOND), some("later"));
    assert_eq!(host.name(0x2000, SECOND), some("only map"));
    let mappings = host.mappings.clone();
    let subject = Subject { mappings: &mappings, ..host.subject(SECOND) };
    let source = host.jit.name_in(&subject, 0x1008).expect("a name");
    assert_eq!(source.name(), SourceName { function: "from dump", file: Some("a.js"), line: 12 });
}

/// Check the jitdump of somebody else, and one that is none.
#[test]
fn a_jitdump_of_another_process_is_not_its_own() {
    let mut host = Host::new();
    let bytes = [testing::header(1), testing::load(6, 0x1000, &[0; 16], "f")].concat();
    host.map_dump("/tmp/jit-1.dump", &bytes);
    assert_eq!(host.name(0x1000, SECOND), None);
    let mut host = Host::new();
    host.map_dump(&format!("/tmp/jit-{PID}.dump"), b"something else, but long enough for a head");
    assert_eq!(host.name(0x1000, SECOND), None);
    assert_eq!(host.events().malformed, 1);
}

/// Check that a long file is read in turns, and that it is not looked at again before the next.
#[test]
fn a_long_file_is_read_in_turns() {
    let mut host = Host::new();
    let lines: String =
        (0..400_000).map(|n| format!("{:x} 10 {n:>40}\n", 0x1000 + n * 0x10)).collect();
    assert!(lines.len() > 18 << 20);
    host.write_map(&lines);
    let last = 0x1000 + 399_999 * 0x10;
    assert_eq!((host.name(0x1000, SECOND), host.name(last, SECOND)), (some("0"), None));
    assert_eq!(host.name(last, 2 * SECOND), None, "nobody's is read so soon after so much");
    let later = host.name(last, 3 * SECOND);
    assert!(later.is_some() || host.events().entries_refused > 0);
    assert_eq!(host.events().malformed, 0);
}

/// Check that programs that ended are dropped when no sample can ask for them any more.
#[test]
fn what_ended_is_dropped() {
    let mut host = Host::new();
    host.write_map("1000 10 f\n");
    assert_eq!(host.name(0x1000, SECOND), some("f"));
    host.jit.apply(&ProcessEvent::Exit { time_ns: 2 * SECOND, pid: PID + 1 });
    host.jit.apply(&ProcessEvent::Exit { time_ns: 3 * SECOND, pid: PID });
    host.jit.drained(3 * SECOND + KEEP_NS);
    assert_eq!(host.name(0x1000, 2 * SECOND), some("f"), "samples of its time may come");
    host.jit.drained(5 * SECOND + KEEP_NS);
    assert_eq!(host.jit.counts().programs, 0);
    // What ended was only a thread: the process is sampled again.
    assert_eq!(host.name(0x1000, 30 * SECOND), some("f"));
    host.jit.apply(&ProcessEvent::Exit { time_ns: 31 * SECOND, pid: PID });
    assert_eq!(host.name(0x1000, 32 * SECOND), some("f"));
    host.jit.drained(100 * SECOND);
    assert_eq!(host.jit.counts().programs, 1);
    host.jit.drained(100 * SECOND + IDLE_NS);
    assert_eq!(host.jit.counts().programs, 0);
}

/// Check that an ended process is not looked for: its number may be another's.
#[test]
fn files_of_an_ended_process_are_not_read() {
    let mut host = Host::new();
    host.write_map("1000 10 f\n");
    let mappings = host.mappings.clone();
    let subject = Subject { ended: true, mappings: &mappings, ..host.subject(SECOND) };
    assert_eq!(host.jit.name_in(&subject, 0x1000), None);
}

/// Check that programs make way for others, the longest unused first.
#[test]
fn programs_are_forgotten_to_keep_within_the_limit() {
    let mut host = Host::with(JitConfig { max_program_bytes: 1 << 20, max_bytes: 700 << 10 });
    let lines: String = (0..3_000).map(|n| format!("{:x} 10 {n}\n", 0x1000 + n * 0x10)).collect();
    host.write_map(&lines);
    for image in [1, 2, 3, 4, 5] {
        let mappings = host.mappings.clone();
        let image_id = ImageId::for_test(image);
        let time_ns = image * SECOND;
        let subject = Subject { image: image_id, mappings: &mappings, ..host.subject(time_ns) };
        assert!(host.jit.name_in(&subject, 0x1000).is_some());
    }
    let before = host.jit.counts();
    host.jit.drained(10 * SECOND);
    let after = host.jit.counts();
    assert!(before.bytes > 700 << 10 && after.bytes <= 700 << 10, "{before:?} {after:?}");
    assert_eq!(after.events.evicted as usize, before.programs - after.programs);
    assert!(host.jit.programs.contains_key(&ImageId::for_test(5)));
    assert!(!host.jit.programs.contains_key(&ImageId::for_test(1)));
}

/// Check that a time before now becomes one of the other clock, and one after now is not believed.
#[test]
fn times_are_made_those_of_samples() {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let monotonic_ns = u64::try_from(monotonic.tv_sec).unwrap() * SECOND;
    let converted = from_monotonic(monotonic_ns);
    assert!(converted >= monotonic_ns && converted <= crate::aggregate::Clocks::now().boottime_ns);
    assert_eq!((from_monotonic(0), from_monotonic(u64::MAX)), (0, 0));
}
