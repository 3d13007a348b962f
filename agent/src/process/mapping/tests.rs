use proptest::prelude::*;

use super::*;

fn mapping(start: u64, end: u64, since_ns: u64, name: &str) -> Mapping {
    let file = FileId { inode: 1, ..FileId::default() };
    let mut mapping = Mapping::new(start, end, start, name.as_bytes().into(), Region::File(file));
    mapping.since_ns = since_ns;
    mapping
}

fn name_at(set: &MappingSet, address: u64, time_ns: u64) -> Option<String> {
    set.find(address, time_ns).map(|m| String::from_utf8(m.path.to_vec()).unwrap())
}

/// Check that a new mapping cuts a hole into an old one, and the pieces keep their file offsets.
#[test]
fn an_overlap_replaces_only_what_it_covers() {
    let mut set = MappingSet::default();
    assert!(set.insert(mapping(0x1000, 0x9000, 1, "/old")));
    assert!(set.insert(mapping(0x3000, 0x5000, 2, "/new")));
    let found: Vec<_> = set
        .iter()
        .map(|m| (m.start, m.end, m.file_offset, m.path.escape_ascii().to_string()))
        .collect();
    assert_eq!(
        found,
        [
            (0x1000, 0x3000, 0x1000, "/old".to_owned()),
            (0x3000, 0x5000, 0x3000, "/new".to_owned()),
            (0x5000, 0x9000, 0x5000, "/old".to_owned()),
        ]
    );
}

/// Check that a sample from before a replacement still finds what was there.
#[test]
fn samples_see_the_mappings_of_their_time() {
    let mut set = MappingSet::default();
    set.insert(mapping(0x1000, 0x2000, 10, "/first"));
    set.insert(mapping(0x1000, 0x2000, 20, "/second"));
    set.insert(mapping(0x1000, 0x2000, 30, "/third"));
    assert_eq!(name_at(&set, 0x1800, 15).unwrap(), "/first");
    assert_eq!(name_at(&set, 0x1800, 20).unwrap(), "/second");
    assert_eq!(name_at(&set, 0x1800, 99).unwrap(), "/third");
    assert_eq!(name_at(&set, 0x2000, 99), None);
    set.forget_before(25);
    assert_eq!(name_at(&set, 0x1800, 25).unwrap(), "/second");
    set.forget_before(30);
    assert!(!set.has_replaced());
    assert_eq!(name_at(&set, 0x1800, 25).unwrap(), "/third");
}

/// Check that a process with absurdly many mappings costs a bounded amount.
#[test]
fn mappings_are_bounded() {
    let mut set = MappingSet::default();
    let refused = (0..20_000_u64)
        .filter(|n| !set.insert(mapping(n * 0x2000, n * 0x2000 + 0x1000, 1, "/x")))
        .count();
    assert_eq!(refused, 20_000 - MAX_MAPPINGS);
    assert!(set.insert(mapping(0, 0x1000, 2, "/y")), "replacing is still possible");
    assert!(set.approx_bytes() < 2 << 20);
}

/// Check what a name and an inode make of a mapping.
#[test]
fn regions_are_told_by_name_and_file() {
    let file = FileId { inode: 7, ..FileId::default() };
    assert_eq!(Region::of(b"/lib/x.so", file), Region::File(file));
    assert_eq!(Region::of(b"[vdso]", FileId::default()), Region::Vdso);
    for name in [&b"//anon"[..], b"", b"[heap]", b"[anon:v8]", b"/SYSV00000000"] {
        assert_eq!(Region::of(name, FileId::default()), Region::Anonymous);
    }
    assert_eq!(Region::of(b"anon_inode:[perf_event]", file), Region::Anonymous);
    assert!(Region::is_memory_file(b"/memfd:doublemapper"));
    assert!(!Region::is_memory_file(b"/usr/bin/memfd"));
}

proptest! {
    /// Check against a table with one entry per page.
    #[test]
    fn lookups_agree_with_a_page_table(
        ranges in proptest::collection::vec((0_u64..64, 1_u64..16), 1..40)
    ) {
        let mut set = MappingSet::default();
        let mut pages = vec![None; 80];
        for (time, (first, count)) in (1..).zip(ranges) {
            let (start, end) = (first * 0x1000, (first + count) * 0x1000);
            let name = format!("/{time}");
            prop_assert!(set.insert(mapping(start, end, time, &name)));
            for page in first..first + count {
                pages[usize::try_from(page).unwrap()] = Some(name.clone());
            }
        }
        for (page, expected) in (0_u64..).zip(&pages) {
            prop_assert_eq!(&name_at(&set, page * 0x1000, u64::MAX), expected);
            prop_assert_eq!(&name_at(&set, page * 0x1000 + 0xfff, u64::MAX), expected);
        }
        let mut previous = 0;
        for mapping in set.iter() {
            prop_assert!(previous <= mapping.start && mapping.start < mapping.end);
            prop_assert_eq!(mapping.file_offset, mapping.start);
            previous = mapping.end;
        }
    }
}
