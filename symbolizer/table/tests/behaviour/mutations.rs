//! Check that bytes changed anywhere cost at most their own answers: the fuzzers' functions on objects
//! and tables that were in order once.

use std::{fs, sync::OnceLock};

use fleetprof_symtab::{Table, TableError, fuzz_convert, fuzz_table};
use object::{Object, ObjectSection};
use proptest::prelude::*;

use crate::support::{converted, directory, program};

/// Small programs with every version of debug information, and where in them it is.
fn objects() -> &'static [(Vec<u8>, Vec<usize>)] {
    static OBJECTS: OnceLock<Vec<(Vec<u8>, Vec<usize>)>> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let directory = directory();
        let build = |name: &str, options: &[&str]| {
            let bytes = fs::read(program(directory.path(), name, options)).expect("readable");
            let file = object::File::parse(&*bytes).expect("an object file");
            let mut places: Vec<usize> = (0..64).collect();
            for section in file.sections() {
                let name = section.name().unwrap_or_default();
                let counts = name.starts_with(".debug") || [".symtab", ".rela.plt"].contains(&name);
                if let Some((start, length)) = section.file_range().filter(|_| counts) {
                    places.extend(start as usize..(start + length) as usize);
                }
            }
            // Section headers lie at the end.
            places.extend(bytes.len() - 2000..bytes.len());
            (bytes, places)
        };
        vec![
            build("five", &["-O2", "-g", "-gdwarf-5"]),
            build("four", &["-O2", "-g", "-gdwarf-4"]),
            build("split", &["-O1", "-g", "-gdwarf-5", "-gsplit-dwarf"]),
            build("packed", &["-O1", "-g", "-gz=zlib"]),
        ]
    })
}

fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| converted(&objects()[0].0).table)
}

/// Makes the header's checksum right again.
fn reseal(table: &mut [u8]) {
    const HEADER: usize = 280;
    table[32..36].fill(0);
    let checksum = crc32c::crc32c(&table[..HEADER]);
    table[32..36].copy_from_slice(&checksum.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_objects_are_harmless(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let (bytes, places) = which.get(objects());
        let mut bytes = bytes.clone();
        for (place, byte) in changes {
            bytes[*place.get(places)] = byte;
        }
        fuzz_convert(&bytes);
    }

    #[test]
    fn cut_objects_are_harmless(which in any::<prop::sample::Index>(), part in 0.0..1.0_f64) {
        let (bytes, _) = which.get(objects());
        fuzz_convert(&bytes[..(bytes.len() as f64 * part) as usize]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_tables_are_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        in_header in any::<bool>(),
    ) {
        let mut bytes = table().to_vec();
        let end = if in_header { 280 } else { bytes.len() };
        for (place, byte) in changes {
            bytes[place.index(end)] = byte;
        }
        reseal(&mut bytes);
        fuzz_table(&bytes);
    }

    #[test]
    fn any_bytes_are_no_table(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_table(&bytes);
    }
}

/// Check that a table is refused as a whole when it is not whole, and for what it is.
#[test]
fn a_damaged_table_is_recognised() {
    let good = table();
    let error = |bytes: &[u8]| Table::open(bytes).map(|_| ()).expect_err("refused");
    assert_eq!(error(b""), TableError::Magic);
    assert_eq!(error(&good[..100]), TableError::Length);
    assert_eq!(error(&good[..good.len() - 8]), TableError::Length);
    assert_eq!(error(&[good, &[0; 8]].concat()), TableError::Length);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(error(&changed(0, b'F')), TableError::Magic);
    assert_eq!(error(&changed(8, 9)), TableError::Version(9));
    assert_eq!(error(&changed(16, !good[16])), TableError::Checksum("header"));
    let mut found = 0;
    for at in (280..good.len()).step_by(101) {
        let bytes = changed(at, !good[at]);
        let table = Table::open(bytes).expect("its header is in order");
        found += usize::from(table.verify().is_err());
    }
    // All but the bytes between sections.
    assert!(found * 101 + 10_000 > good.len(), "{found} of {}", good.len() / 101);
}
