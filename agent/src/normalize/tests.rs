use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use fleetprof_walk::FRAME_BY_POINTER;

use super::*;
use crate::{
    jit::JitConfig,
    kernel::KernelConfig,
    object::{
        Registry,
        testing::{self, Running, compile, readelf_build_id},
    },
    process::TableConfig,
    sampler::{Inode, KernelBuildId, MappedFile, Mapping as MappingEvent, ProcessEvent},
};

/// No process has a pid this high: `/proc` shows nothing of it.
const FICTION: u32 = 0x7fff_0000;

const BASE: u64 = 0xffff_ffff_8100_0000;
const ENTRY: u64 = BASE + 0x290;

struct Host {
    _root: tempfile::TempDir,
    registry: Arc<Registry>,
    table: ProcessTable,
    normalizer: Normalizer,
}

/// Object (path; empty for none), offset and reason of each frame, outermost first.
type Frames = Vec<(String, u64, UnresolvedReason)>;

const KALLSYMS: &str = "\
ffffffff81000000 T _text
ffffffff81000100 T do_idle
ffffffff81000280 T entry_SYSCALL_64_after_hwframe
ffffffff81000300 T asm_exc_page_fault
ffffffff81000400 T _etext
";

impl Host {
    /// This host with a kernel of our making.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("kallsyms"), KALLSYMS).unwrap();
        symlink("/nonexistent", root.path().join("modules")).unwrap();
        let config = KernelConfig {
            proc_root: root.path().to_owned(),
            sys_root: Path::new("/sys").to_owned(),
        };
        let registry = Arc::new(testing::registry());
        let table = ProcessTable::new(TableConfig::default(), Arc::clone(&registry));
        let jit = JitSymbols::new(JitConfig::default(), Arc::clone(&registry));
        let normalizer = Normalizer::new(Arc::new(Kernel::survey(config)), jit);
        Self { _root: root, registry, table, normalizer }
    }

    fn mmap(&mut self, start: u64, len: u64, file_offset: u64, path: &str, file: MappedFile) {
        let (time_ns, pid) = (10, FICTION);
        let path = path.as_bytes().to_vec();
        let event = MappingEvent { time_ns, pid, start, len, file_offset, path, file };
        self.table.apply(&ProcessEvent::Mmap(event));
    }

    fn frames(&mut self, sample: &RawSample<'_>) -> Frames {
        let normalized = self.normalizer.normalize(sample, &mut self.table);
        normalized
            .frames
            .iter()
            .map(|frame| {
                let path = frame.object.as_ref().map_or("", |object| object.path());
                (path.to_owned(), frame.offset, frame.reason)
            })
            .collect()
    }
}

fn sample<'a>(pid: u32, kernel: &'a [u64], user: &'a [u64]) -> RawSample<'a> {
    RawSample {
        pid,
        tid: pid,
        start_boottime_ns: 0,
        time_ns: 100,
        weight_ns: 1,
        cgroup_id: 0,
        cpu: 0,
        result: ResultCode::Complete,
        comm: *b"thread\0\0\0\0\0\0\0\0\0\0",
        kernel,
        user,
        kernel_result: ResultCode::Complete,
        mm: 0,
        copied: None,
    }
}

fn gnu(byte: u8) -> MappedFile {
    MappedFile::BuildId(KernelBuildId::new(&[byte; 20]).unwrap())
}

fn known(path: &str, offset: u64) -> (String, u64, UnresolvedReason) {
    (path.to_owned(), offset, UnresolvedReason::Unspecified)
}

fn exec(host: &mut Host) {
    host.table.apply(&ProcessEvent::Exec { time_ns: 5, pid: FICTION, comm: [b'x'; 16] });
}

/// Check order, file offsets, and that return addresses are moved back into their calls.
#[test]
fn frames_are_offsets_outermost_first() {
    let mut host = Host::new();
    exec(&mut host);
    host.mmap(0x1000, 0x1000, 0x4000, "/bin/x", gnu(1));
    host.mmap(0x8000, 0x1000, 0, "/lib/y.so", gnu(2));
    let frames = host.frames(&sample(FICTION, &[], &[0x8010 | FRAME_IS_EXACT, 0x1100, 0x1200]));
    assert_eq!(
        frames,
        [known("/bin/x", 0x41ff), known("/bin/x", 0x40ff), known("/lib/y.so", 0x10)]
    );
}

/// Check that an address is moved only when it is a return address, as in a system call; those that
/// were interrupted are marked, also further out where a signal came.
#[test]
fn interrupted_instructions_are_told_by_their_mark() {
    let mut host = Host::new();
    exec(&mut host);
    host.mmap(0x1000, 0x1000, 0, "/bin/x", gnu(1));
    let kernel_path = crate::kernel::KERNEL_PATH;
    let in_call = host.frames(&sample(FICTION, &[BASE + 0x105, ENTRY], &[0x1100]));
    let expected = [known("/bin/x", 0xff), known(kernel_path, 0x28f), known(kernel_path, 0x105)];
    assert_eq!(in_call, expected);
    let marked = [0x1100 | FRAME_IS_EXACT, 0x1200, 0x1300 | FRAME_IS_EXACT];
    let in_fault = host.frames(&sample(FICTION, &[], &marked));
    assert_eq!(in_fault, [known("/bin/x", 0x300), known("/bin/x", 0x1ff), known("/bin/x", 0x100)]);
    let by_pointer = host.frames(&sample(FICTION, &[], &[0x1100 | FRAME_BY_POINTER]));
    assert_eq!(by_pointer, [known("/bin/x", 0xff)]);
}

/// Check that nothing is moved out of its mapping, and that a call which is the last instruction of
/// its mapping still belongs to it.
#[test]
fn return_addresses_stay_in_their_mapping() {
    let mut host = Host::new();
    exec(&mut host);
    host.mmap(0x1000, 0x1000, 0, "/bin/a", gnu(1));
    host.mmap(0x2000, 0x1000, 0, "/bin/b", gnu(2));
    host.mmap(0x8000, 0x1000, 0, "/bin/c", gnu(3));
    let frames = host.frames(&sample(FICTION, &[], &[0x1000, 0x2000, 0x9000, 0xa000]));
    let nowhere = (String::new(), 0xa000, UnresolvedReason::NoMapping);
    assert_eq!(frames, [nowhere, known("/bin/c", 0xfff), known("/bin/b", 0), known("/bin/a", 0)]);
}

/// Check what becomes of addresses in memory without a file, and in no memory at all.
#[test]
fn what_is_not_known_keeps_its_address_and_a_reason() {
    let mut host = Host::new();
    exec(&mut host);
    host.mmap(0x1000, 0x1000, 0, "//anon", MappedFile::Inode(Inode::default()));
    let file = Inode { major: 9, minor: 9, inode: 9, generation: 9 };
    host.mmap(0x4000, 0x1000, 0x2000, "/gone/x", MappedFile::Inode(file));
    let frames = host.frames(&sample(
        FICTION,
        &[0x10, BASE - 1],
        &[0x4010 | FRAME_IS_EXACT, 0x1021, 0xdead],
    ));
    assert_eq!(
        frames,
        [
            (String::new(), 0xdead, UnresolvedReason::NoMapping),
            known("//anon", 0x20),
            ("/gone/x".to_owned(), 0x2010, UnresolvedReason::NoBuildId),
            (String::new(), BASE - 1, UnresolvedReason::NoKernelSymbols),
            (String::new(), 0x10, UnresolvedReason::NoKernelSymbols),
        ]
    );
}

/// Check that a process which left no trace still gives its sample.
#[test]
fn a_process_that_is_gone_keeps_raw_addresses() {
    let mut host = Host::new();
    let frames = host.frames(&sample(FICTION, &[BASE + 0x105], &[0x1000, 0x2000]));
    let raw = |address| (String::new(), address, UnresolvedReason::ProcessGone);
    let kernel = known(crate::kernel::KERNEL_PATH, 0x105);
    assert_eq!(frames, [raw(0x2000), raw(0x1000), kernel]);
    assert_eq!(host.frames(&sample(FICTION, &[], &[])), []);
}

/// Check a real program: where it says its function is, the file has that function.
#[test]
fn offsets_of_a_real_program_are_those_of_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let source = r#"
        #include <stdio.h>
        void wanted(void) { puts("ready"); fflush(stdout); }
        int main(void) { char byte; wanted(); printf("%p\n", wanted); fflush(stdout);
            return (int)fread(&byte, 1, 1, stdin); }"#;
    let program = compile(directory.path(), "program", source, &["-Wl,--build-id=sha1"]);
    let mut running = Running::ready(&mut Command::new(&program));
    let address = running.line();
    let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap();
    let mut host = Host::new();
    let pid = running.pid();
    let normalized =
        host.normalizer.normalize(&sample(pid, &[], &[address | FRAME_IS_EXACT]), &mut host.table);
    let frame = &normalized.frames[0];
    let object = frame.object.as_ref().unwrap();
    assert_eq!(object.build_id(), Some(&readelf_build_id(&program)));
    assert_eq!(frame.offset, file_offset_of(&program, "wanted"));
    assert_eq!(normalized.process.comm, "program");
    assert!(host.registry.open_for_upload(&object.id().unwrap()).is_ok());
}

/// By nm and the program headers, as readelf shows them.
fn file_offset_of(program: &Path, function: &str) -> u64 {
    let run = |tool: &str, option: &str| {
        let output = Command::new(tool).arg(option).arg(program).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let symbols = run("nm", "-p");
    let line = symbols.lines().find(|line| line.ends_with(&format!(" T {function}"))).unwrap();
    let address = hex(line.split(' ').next().unwrap());
    let headers = run("readelf", "-lW");
    let loads = headers.lines().filter(|line| line.trim_start().starts_with("LOAD"));
    loads
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .map(|words| (hex(&words[1]), hex(&words[2]), hex(&words[4])))
        .find(|(_, start, size)| (*start..start + size).contains(&address))
        .map(|(offset, start, _)| address - start + offset)
        .unwrap()
}

/// Check that extreme addresses and offsets do not overflow.
#[test]
fn extreme_addresses_are_survived() {
    let mut host = Host::new();
    exec(&mut host);
    host.mmap(u64::MAX - 0x1000, 0x1000, u64::MAX, "/x", gnu(1));
    host.mmap(0, 0x1000, u64::MAX, "/zero", gnu(2));
    let extremes = [0, 0, 1, u64::MAX, u64::MAX - 1, 1 << 63];
    let frames = host.frames(&sample(FICTION, &extremes, &extremes));
    assert_eq!(frames.len(), 2 * extremes.len());
}

/// Check that the return address of a thread's outermost function, zero by convention, is no frame.
#[test]
fn the_final_return_address_of_zero_is_no_frame() {
    let mut host = Host::new();
    exec(&mut host);
    host.mmap(0x1000, 0x1000, 0, "/bin/x", gnu(1));
    assert_eq!(
        host.frames(&sample(FICTION, &[], &[0x1010 | FRAME_IS_EXACT, 0])),
        [known("/bin/x", 0x10)]
    );
}
