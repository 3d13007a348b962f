use proptest::prelude::*;

use super::*;

/// Check the fields of a process whose name tries to look like more of them.
#[test]
fn a_name_cannot_forge_the_fields_of_stat() {
    let text = b"42 (a) R 1 (b ) S 7 42 42 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 1 0 123456 5 6\n";
    let stat = stat(text).unwrap();
    assert_eq!(stat.comm, b"a) R 1 (b ");
    assert_eq!((stat.parent, stat.start_ticks), (7, 123_456));
    assert!(!stat.kernel_thread && !stat.zombie);
}

/// Check that kernel threads and zombies are told.
#[test]
fn kernel_threads_and_zombies_are_told() {
    let kthreadd = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0";
    assert!(stat(kthreadd).unwrap().kernel_thread);
    let zombie = b"9 (sh) Z 1 9 9 0 -1 4228364 0 0 0 0 0 0 0 0 20 0 1 0 77 0 0";
    assert!(stat(zombie).unwrap().zombie);
}

/// Check a line with a file, one without, and one whose name has spaces.
#[test]
fn maps_lines_are_read() {
    let line =
        b"563fe598a000-563fe598f000 r-xp 00002000 fe:00 247026                     /usr/bin/a b";
    let parsed = maps_line(line).unwrap();
    assert_eq!((parsed.start, parsed.end), (0x563f_e598_a000, 0x563f_e598_f000));
    assert!(parsed.executable);
    assert_eq!(parsed.file_offset, 0x2000);
    assert_eq!(parsed.file.device, DeviceId { major: 0xfe, minor: 0 });
    assert_eq!((parsed.file.inode, parsed.path), (247_026, &b"/usr/bin/a b"[..]));

    let bare = maps_line(b"7f00-7f01 rw-p 00000000 00:00 0 ").unwrap();
    assert!(!bare.executable);
    assert_eq!((bare.file, bare.path), (FileId::default(), &b""[..]));
    let vsyscall =
        maps_line(b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0    [vsyscall]")
            .unwrap();
    assert_eq!((vsyscall.executable, vsyscall.path), (true, &b"[vsyscall]"[..]));
}

/// Check that what is not a line of maps is refused.
#[test]
fn nonsense_is_refused() {
    for line in [
        &b""[..],
        b"1000",
        b"2000-1000 r-xp 0 00:00 0",
        b"1000-1000 r-xp 0 00:00 0",
        b"-2000 r-xp 0 00:00 0",
        b"1000-11112222333344445 r-xp 0 00:00 0",
        b"1000-2000 r 0 00:00 0",
        b"1000-2000 r-xp 0 00:00 99999999999999999999999",
        b"1000-2000 r-xp +1 00:00 0",
    ] {
        assert_eq!(maps_line(line), None, "{}", line.escape_ascii());
    }
    assert_eq!(stat(b"1 no name S 0"), None);
    assert_eq!(stat(b") ("), None);
}

/// Check that a path is given as it was when it was mapped.
#[test]
fn marks_and_escapes_are_undone() {
    assert_eq!(mapped_path(b"/bin/x (deleted)"), b"/bin/x");
    assert_eq!(mapped_path(b"/a\\012b\\n"), b"/a\nb\\n");
    assert_eq!(mapped_path(b"[vdso]"), b"[vdso]");
}

/// Check that only the asked variable is taken, not one with a longer name.
#[test]
fn environ_values_are_exact() {
    assert_eq!(environ_value(b"A=b=c", "A"), Some(&b"b=c"[..]));
    assert_eq!(environ_value(b"AB=c", "A"), None);
    assert_eq!(environ_value(b"A", "A"), None);
}

proptest! {
    /// Check that no bytes make a parser panic, and that what parses is a real range.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _parsed = stat(&bytes);
        let _path = mapped_path(&bytes);
        if let Some(line) = maps_line(&bytes) {
            prop_assert!(line.start < line.end);
        }
    }

    /// Check that what the kernel prints comes back.
    #[test]
    fn printed_lines_come_back(
        start in 0_u64..u64::MAX, len in 1_u64..1 << 40, offset: u64, major in 0_u32..4096,
        minor in 0_u32..1 << 20, inode: u64, path in "(/[a-z ]{1,20}[a-z])?"
    ) {
        let end = start.saturating_add(len);
        let line = format!("{start:08x}-{end:08x} r-xp {offset:08x} {major:02x}:{minor:02x} {inode} {path}");
        let parsed = maps_line(line.as_bytes()).unwrap();
        prop_assert_eq!((parsed.start, parsed.end, parsed.file_offset), (start, end, offset));
        prop_assert_eq!((parsed.file.inode, parsed.path), (inode, path.as_bytes()));
        prop_assert_eq!(parsed.file.device, DeviceId { major, minor });
    }

    /// Check that a line of almost the right form never panics.
    #[test]
    fn near_misses_are_survived(line in "[0-9a-f]{0,17}-[0-9a-f]{0,17} [rwxp-]{0,5} [0-9a-f]{0,18} [0-9a-f:]{0,9} [0-9]{0,21} .{0,9}") {
        let _parsed = maps_line(line.as_bytes());
    }
}

/// Check the number in the innermost namespace, and the user that counts.
#[test]
fn status_tells_the_own_number_and_the_effective_user() {
    let text = b"Name:\tNSpid: 7\nPid:\t4711\nUid:\t1000\t1001\t1002\t1003\nNStgid:\t4711\t9\nNSpid:\t4711\t12\t3\n";
    assert_eq!(status(text), Some(Status { own_pid: 3, user: 1001 }));
    let old = b"Pid:\t4711\nUid:\t0\t0\t0\t0\n";
    assert_eq!(status(old), Some(Status { own_pid: 4711, user: 0 }));
    let damaged: [&[u8]; 5] =
        [b"", b"Pid:\t1\n", b"Uid:\t0\nPid:\t1", b"Uid:\t0\t-1\nPid:\t1", b"Uid:\t0\t0\nNSpid:\n"];
    for text in damaged {
        assert_eq!(status(text), None, "{}", text.escape_ascii());
    }
}
