//! Programs that mean harm to a profiler, and one that does not, side by side in one recording.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use fleetprof_tests::{
    machine::{self, machine},
    pprof::{Profile, Sample},
    process::{self, Running},
    programs, record,
};

use crate::unwinding::{judge, oracle::Oracle};

const HONEST: &str = "r-gcc-o2";
const REMAP: &str = "remap";
const CLAIMS: &str = "claims";
const SPARSE: &str = "sparse";
/// Files of this name, with a number, live for `BRIEF_MS` and are deleted.
const GONE: &str = "gone-";
const BRIEF_MS: &str = "20";
/// Where a build ID is in its note, behind three numbers and the owner.
const BUILD_ID_AT: usize = 16;
/// What a damaged file says the size of its unwind information is.
const CLAIMED: u64 = 1 << 30;
/// Memory that the recording may take: its buffers, and much less than any file claims.
const MAX_KIB: u64 = 400 << 10;

/// Where the header of a section is in a 64-bit ELF file.
fn header(elf: &[u8], section: &str) -> usize {
    let word = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().expect("8 bytes"));
    let half = |at: usize| u16::from_le_bytes(elf[at..at + 2].try_into().expect("2 bytes"));
    let name = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().expect("4 bytes"));
    let (table, size) = (word(40) as usize, usize::from(half(58)));
    let names = word(table + usize::from(half(62)) * size + 24) as usize;
    let mut headers = (0..usize::from(half(60))).map(|number| table + number * size);
    let wanted = format!("{section}\0");
    let is_wanted = |at: &usize| elf[names + name(*at) as usize..].starts_with(wanted.as_bytes());
    headers.find(is_wanted).unwrap_or_else(|| panic!("no section {section}"))
}

fn write_program(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .expect("it can be made executable");
}

/// Makes it another program for whoever goes by build IDs.
fn set_build_id(elf: &mut [u8], id: u64) {
    let header = header(elf, ".note.gnu.build-id");
    let note = elf[header + 24..header + 32].try_into().map(u64::from_le_bytes);
    let at = note.expect("8 bytes") as usize + BUILD_ID_AT;
    elf[at..at + 8].copy_from_slice(&id.to_le_bytes());
}

/// A program that says its unwind information fills a gigabyte; from `offset` on it does, with zeros.
fn claiming(program: &Path, path: &Path, offset: Option<u64>) {
    let mut bytes = fs::read(program).expect("a program");
    let header = header(&bytes, ".eh_frame");
    if let Some(offset) = offset {
        bytes[header + 24..header + 32].copy_from_slice(&offset.to_le_bytes());
    }
    bytes[header + 32..header + 40].copy_from_slice(&CLAIMED.to_le_bytes());
    set_build_id(&mut bytes, u64::MAX - offset.unwrap_or(0));
    write_program(path, &bytes);
    if let Some(offset) = offset {
        let file = File::options().write(true).open(path).expect("the program");
        file.set_len(offset + CLAIMED).expect("a sparse file");
    }
}

/// Starts programs that end while they are looked at, each with another build ID; their number.
fn start_and_delete(program: &Path, folder: &Path, stop: &AtomicBool) -> u64 {
    let original = fs::read(program).expect("a program");
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let path = folder.join(format!("{GONE}{number}"));
        let mut bytes = original.clone();
        set_build_id(&mut bytes, number);
        write_program(&path, &bytes);
        let mut command = process::command(&path);
        let mut running = Running::daemon(GONE, command.arg(BRIEF_MS), &folder.join("log"));
        running.wait(Duration::from_secs(60));
        fs::remove_file(path).expect("it can be deleted");
        number += 1;
    }
    number
}

/// The recording, and the most memory that it took, KiB.
fn record_watched(folder: &Path) -> (Profile, u64) {
    let output = folder.join("out.pb.gz");
    let mut command = record::command(Duration::from_secs(8), &output, &["--frequency", "499"]);
    let mut recording = Running::daemon("record", &mut command, &folder.join("record.log"));
    let status = format!("/proc/{}/status", recording.pid());
    let mut peak = 0;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = kib.unwrap_or(0).max(peak);
        if let Some(ended) = recording.ended() {
            break ended;
        }
        thread::sleep(Duration::from_millis(50));
    };
    println!("{}", recording.log());
    assert!(ended.success(), "record failed ({ended}):\n{}", recording.log());
    (Profile::read(&fs::read(output).expect("the recording")), peak)
}

/// Samples of a program, and how many of them have a frame in a file of that name.
fn known(profile: &Profile, is_comm: impl Fn(&str) -> bool) -> (u64, u64) {
    let comm = |sample: &&Sample| sample.labels.get("comm").is_some_and(|comm| is_comm(comm));
    let in_own_file = |sample: &&Sample| {
        let mut files = sample.locations.iter().filter_map(|one| one.mapping.as_ref());
        files.any(|mapping| mapping.file.rsplit('/').next().is_some_and(&is_comm))
    };
    let all = || profile.samples.iter().filter(comm);
    let count = |samples: &mut dyn Iterator<Item = &Sample>| samples.map(|one| one.count).sum();
    (count(&mut all()), count(&mut all().filter(in_own_file)))
}

// Check that programs which change their mappings all the time, whose files claim a gigabyte of unwind information, or
// which are gone and deleted while their file is read cost neither the recording nor their neighbour's stacks
// anything, and that their own samples are there.
#[test]
fn hostile_programs_harm_nobody() {
    let _machine = machine();
    let work = tempfile::tempdir().expect("a temporary folder");
    let folder = work.path();
    let honest = programs::rooted().0.join(HONEST);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/hostile/remap.c");
    let mut compiler = process::command(machine::tool("gcc", "run `make setup`"));
    compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(folder.join(REMAP)).arg(source);
    let compiled = process::run(&mut compiler, Duration::from_secs(60));
    assert!(compiled.status.success(), "{}", compiled.stderr);
    claiming(&honest, &folder.join(CLAIMS), None);
    claiming(&honest, &folder.join(SPARSE), Some(CLAIMED / 2));

    let long = |path: &Path| {
        let mut command = process::command(path);
        Running::daemon("program", command.arg("600000"), &folder.join("log"))
    };
    let mut running = [REMAP, CLAIMS, SPARSE].map(|name| long(&folder.join(name)));
    let mut neighbour = long(&honest);
    let stop = AtomicBool::new(false);
    let (started, (profile, peak_kib)) = thread::scope(|scope| {
        let starting = scope.spawn(|| start_and_delete(&honest, folder, &stop));
        let recorded = record_watched(folder);
        stop.store(true, Ordering::Relaxed);
        (starting.join().expect("programs are started"), recorded)
    });
    running.iter_mut().for_each(Running::check_alive);
    neighbour.check_alive();

    println!("{peak_kib} KiB at most, {started} programs deleted");
    assert!(peak_kib > 0 && peak_kib < MAX_KIB, "{peak_kib} KiB");
    for name in [REMAP, CLAIMS, SPARSE] {
        let (all, in_own_file) = known(&profile, |comm| comm == name);
        println!("{name}: {in_own_file} of {all} samples in its file");
        assert!(all > 200 && in_own_file * 100 >= all * 90, "{name}: {in_own_file} of {all}");
    }
    let (all, in_own_file) = known(&profile, |comm| comm.starts_with(GONE));
    println!("{GONE}: {in_own_file} of {all} samples in its file");
    assert!(started > 20 && all > 100 && in_own_file * 100 >= all * 80, "{in_own_file} of {all}");
    let verdict = judge(&profile, HONEST, &mut Oracle::default());
    println!("{HONEST}: {verdict}");
    assert!(verdict.all() > 200 && verdict.whole() * 100 >= verdict.all() * 99, "{verdict}");
}
