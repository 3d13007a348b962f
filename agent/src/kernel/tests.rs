use std::{fs, io::Read as _, path::Path};

use fleetprof_proto::ids::{BuildIdKind, ObjectKind};

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A host with a kernel, a module with a build ID, one without, and two BPF programs.
struct Host {
    root: tempfile::TempDir,
}

const KALLSYMS: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000100 T do_idle
ffffffff81000200 T entry_SYSCALL_64
ffffffff81000280 T entry_SYSCALL_64_after_hwframe
ffffffff81000300 T asm_exc_page_fault
ffffffff81000400 T _etext
ffffffff81000500 D data
ffffffffc0100000 t nft_init\t[nf_tables]
ffffffffc0100040 t nft_do_chain\t[nf_tables]
ffffffffc0200010 t other\t[plain]
ffffffffc0300000 t bpf_prog_aabbccddeeff0011_first\t[bpf]
ffffffffc0300080 t bpf_prog_aabbccddeeff0022_second\t[bpf]
";

const MODULES: &str = "\
nf_tables 8192 1 nft_ct,nft_nat, Live 0xffffffffc0100000 (OE)
plain 4096 0 - Live 0xffffffffc0200000
";

fn notes(build_id: &[u8]) -> Vec<u8> {
    let mut notes = Vec::new();
    for word in [4, u32::try_from(build_id.len()).unwrap(), 3] {
        notes.extend(word.to_le_bytes());
    }
    notes.extend(b"GNU\0");
    notes.extend(build_id);
    notes
}

impl Host {
    fn new() -> Self {
        let host = Self { root: tempfile::tempdir().unwrap() };
        host.write("proc/kallsyms", KALLSYMS.as_bytes());
        host.write("proc/modules", MODULES.as_bytes());
        host.write("sys/kernel/notes", &notes(&[1; 20]));
        host.write("sys/module/nf_tables/notes/.note.gnu.build-id", &notes(&[2; 20]));
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn kernel(&self) -> Kernel {
        Kernel::survey(KernelConfig { proc_root: self.path("proc"), sys_root: self.path("sys") })
    }
}

/// Kind, build ID, name and offset of an address.
fn at(kernel: &Kernel, address: u64) -> Option<(ObjectKind, Option<Vec<u8>>, String, u64)> {
    let map = kernel.map();
    let code = map.find(address)?;
    let build_id = code.object.build_id().map(|id| id.value().to_vec());
    Some((code.object.kind(), build_id, code.object.path().to_owned(), address - code.base))
}

fn listing(kernel: &Kernel, address: u64) -> String {
    let id = kernel.map().find(address).unwrap().object.id().unwrap();
    let mut source = kernel.open_for_upload(&id).unwrap();
    assert_eq!(source.format(), ObjectFormat::Kallsyms);
    let mut text = String::new();
    source.read_to_string(&mut text).unwrap();
    assert_eq!(source.size(), text.len() as u64);
    text
}

/// Check the kernel image, a module and their listings.
#[test]
fn image_and_modules_have_ids_and_relative_offsets() {
    let host = Host::new();
    let kernel = host.kernel();
    let image = at(&kernel, 0xffff_ffff_8100_0123).unwrap();
    assert_eq!(image, (ObjectKind::Kernel, Some(vec![1; 20]), KERNEL_PATH.to_owned(), 0x123));
    let module = at(&kernel, 0xffff_ffff_c010_0044).unwrap();
    let name = "[nf_tables]".to_owned();
    assert_eq!(module, (ObjectKind::KernelModule, Some(vec![2; 20]), name, 0x44));
    assert_eq!(
        listing(&kernel, 0xffff_ffff_8100_0123),
        "0 T _text\n0 T _stext\n100 T do_idle\n200 T entry_SYSCALL_64\n\
         280 T entry_SYSCALL_64_after_hwframe\n300 T asm_exc_page_fault\n"
    );
    assert_eq!(listing(&kernel, 0xffff_ffff_c010_0044), "0 t nft_init\n40 t nft_do_chain\n");
    assert_eq!(at(&kernel, 0xffff_ffff_8100_0400), None, "data");
    assert_eq!(at(&kernel, 0xffff_ffff_a000_0000), None);
    let unnamed = at(&kernel, 0xffff_ffff_c020_0010).unwrap();
    assert_eq!(unnamed, (ObjectKind::KernelModule, None, "[plain]".to_owned(), 0x10));
}

/// Check that BPF programs are objects of their own, the same on every host.
#[test]
fn bpf_programs_are_identified_by_their_name() {
    let host = Host::new();
    let kernel = host.kernel();
    let first = at(&kernel, 0xffff_ffff_c030_0010).unwrap();
    let second = at(&kernel, 0xffff_ffff_c030_0090).unwrap();
    assert_eq!((first.0, first.2.as_str(), first.3), (ObjectKind::KernelModule, "[bpf]", 0x10));
    assert_eq!((second.2.as_str(), second.3), ("[bpf]", 0x10));
    assert_ne!(first.1, second.1);
    assert_eq!(listing(&kernel, 0xffff_ffff_c030_0010), "0 t bpf_prog_aabbccddeeff0011_first\n");

    let elsewhere = Host::new();
    elsewhere.write("proc/kallsyms", KALLSYMS.replace("ffffffffc03", "ffffffffc05").as_bytes());
    let same = at(&elsewhere.kernel(), 0xffff_ffff_c050_0010).unwrap();
    assert_eq!(same, first);
    let map = kernel.map();
    let id = map.find(0xffff_ffff_c030_0010).unwrap().object.build_id().unwrap();
    assert_eq!(id.kind(), BuildIdKind::Htl);
}

/// Check that each source may be missing alone, and what then is known.
#[test]
fn a_missing_source_voids_only_what_it_holds() {
    let host = Host::new();
    fs::remove_file(host.path("proc/modules")).unwrap();
    let kernel = host.kernel();
    assert_eq!(at(&kernel, 0xffff_ffff_8100_0123).unwrap().3, 0x123);
    // Its load address is not known, so its offsets mean nothing elsewhere.
    let module = at(&kernel, 0xffff_ffff_c010_0044).unwrap();
    assert_eq!((module.1, module.2.as_str()), (None, "[nf_tables]"));

    fs::remove_dir_all(host.path("sys")).unwrap();
    let kernel = host.kernel();
    let image = at(&kernel, 0xffff_ffff_8100_0123).unwrap();
    assert_eq!((image.1, image.3), (None, 0x123));
    assert!(kernel.map().is_system_call(&[0xffff_ffff_8100_0290]));
}

/// Check a kernel that hides its addresses, and one without kallsyms.
#[test]
fn hidden_addresses_are_told() {
    let host = Host::new();
    let zeros: String =
        KALLSYMS.lines().map(|line| format!("{:016x}{}\n", 0, &line[16..])).collect();
    host.write("proc/kallsyms", zeros.as_bytes());
    let map = host.kernel().map();
    assert!(map.is_empty());
    assert!(map.unavailable.as_ref().unwrap().contains("shows no addresses"));
    fs::remove_file(host.path("proc/kallsyms")).unwrap();
    let kernel = host.kernel();
    assert!(kernel.map().unavailable.as_ref().unwrap().contains("cannot be read"));
    assert!(kernel.refresh(1000 * SECOND).is_none());
}

/// Check that a module loaded later is found, once, and not looked for all the time.
#[test]
fn a_module_loaded_later_is_found() {
    let host = Host::new();
    let kernel = host.kernel();
    assert!(kernel.refresh(SECOND).is_none(), "nothing changed");
    host.write(
        "proc/modules",
        format!("{MODULES}late 4096 0 - Live 0xffffffffc0400000\n").as_bytes(),
    );
    assert!(kernel.refresh(2 * SECOND).is_none(), "too early");
    let before = kernel.map();
    let map = kernel.refresh(100 * SECOND).unwrap();
    assert_eq!(map.find(0xffff_ffff_c040_0001).unwrap().object.path(), "[late]");
    let serial = |map: &KernelMap| map.find(0xffff_ffff_8100_0123).unwrap().object.serial();
    assert_eq!(serial(&map), serial(&before));
    let unknown = fleetprof_proto::ids::BuildId::new(BuildIdKind::Gnu, &[9; 20]).unwrap();
    let id = ObjectId { kind: ObjectKind::Kernel, build_id: unknown };
    assert!(matches!(kernel.open_for_upload(&id), Err(UploadError::Unknown(_))));
}

/// Check the running kernel by arithmetic on its own kallsyms.
#[test]
fn the_running_kernel_is_surveyed() {
    let text = fs::read_to_string("/proc/kallsyms").unwrap();
    let address = |name: &str| {
        let line = text.lines().find(|line| line.split(' ').nth(2) == Some(name)).unwrap();
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    };
    let (base, schedule) = (address("_text"), address("schedule"));
    assert!(Path::new("/sys/kernel/notes").exists() && base != 0, "this test needs root");
    let kernel = Kernel::survey(KernelConfig::default());
    let (kind, build_id, path, offset) = at(&kernel, schedule + 4).unwrap();
    assert_eq!((kind, path.as_str()), (ObjectKind::Kernel, KERNEL_PATH));
    assert_eq!(offset, schedule + 4 - base);
    assert!(build_id.is_some());
    let listing = listing(&kernel, schedule);
    let parsed = fleetprof_symbolizer::kallsyms::Kallsyms::parse(listing.as_bytes()).unwrap();
    assert_eq!(parsed.lookup(offset), Some("schedule"));
    let functions = text
        .lines()
        .filter(|line| matches!(line.split(' ').nth(1), Some("t" | "T")) && !line.contains('['));
    assert!(listing.lines().count() * 10 > functions.count() * 9, "nearly all functions are there");
    let before_outside = address("_text") - 1;
    assert_eq!(at(&kernel, before_outside), None);
}
