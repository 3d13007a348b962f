use super::*;
use crate::object::testing;

fn procfs() -> ProcFs {
    ProcFs::new(Arc::new(testing::registry()))
}

/// Check this very process.
#[test]
fn this_process_is_read() {
    let mut procfs = procfs();
    let pid = std::process::id();
    assert!(procfs.pids().unwrap().contains(&pid));
    let stat = procfs.stat(pid).unwrap();
    assert!(stat.start_ticks > 0 && !stat.kernel_thread && !stat.zombie);
    assert_eq!(
        procfs.exe(pid).unwrap(),
        std::env::current_exe().unwrap().as_os_str().as_encoded_bytes()
    );
    assert!(procfs.cgroup(pid).unwrap().contains(":/"));
}

/// Check that the lines of a long maps file, read in many pieces, are those of the file.
#[test]
fn long_maps_are_read_whole() {
    let root = tempfile::tempdir().unwrap();
    let process = root.path().join("7");
    fs::create_dir(&process).unwrap();
    let lines: Vec<String> = (1..20_000_u64)
        .map(|n| {
            format!(
                "{:x}-{:x} r-xp 00000000 fe:00 {n} /{}",
                n << 13,
                (n << 13) + 4096,
                "x".repeat(60)
            )
        })
        .collect();
    fs::write(process.join("maps"), lines.join("\n") + "\n").unwrap();
    let config = crate::object::RegistryConfig {
        proc_root: root.path().to_owned(),
        ..crate::object::RegistryConfig::default()
    };
    let mut procfs = ProcFs::new(Arc::new(Registry::new(&config)));
    let mut inodes = Vec::new();
    procfs.maps(7, 7, &mut |line| inodes.push(line.file.inode)).unwrap();
    assert_eq!(inodes, (1..20_000).collect::<Vec<u64>>());
}

/// Check that an environment which cannot be read to its end, here a pipe without a writer, costs no
/// more than the patience.
#[test]
fn an_environment_that_hangs_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("7")).unwrap();
    let pipe = root.path().join("7/environ");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let config = crate::object::RegistryConfig {
        proc_root: root.path().to_owned(),
        patience: std::time::Duration::from_millis(20),
        ..crate::object::RegistryConfig::default()
    };
    let registry = Arc::new(Registry::new(&config));
    let procfs = ProcFs::new(Arc::clone(&registry));
    assert_eq!(procfs.environ(7, &["PATH"]), None);
    assert_eq!(registry.counts().stalled_reads, 1);
    // Lets the helper end.
    drop(File::options().write(true).open(&pipe).unwrap());
}

/// Check that a process that is gone is an error and not nothing.
#[test]
fn a_missing_process_is_told() {
    let mut procfs = procfs();
    assert_eq!(procfs.stat(u32::MAX), None);
    assert!(procfs.maps(u32::MAX, u32::MAX, &mut |_| {}).is_err());
    assert_eq!(procfs.environ(u32::MAX, &["PATH"]), None);
    assert_eq!(procfs.cgroup(u32::MAX), None);
}
