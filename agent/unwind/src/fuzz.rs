//! What fuzzers and mutation tests call: any bytes, as an ELF file and as a table of the disk.

use crate::build::build;
use crate::codec;
use crate::error::Limits;
use crate::table::UnwindTable;
use std::time::Duration;

/// Builds and decodes `bytes`: nothing may panic, hang, or make a table that its own decoder
/// refuses. Gives the tables there are.
///
/// # Panics
/// When a table that was built cannot be read back as it was: that is the defect to find.
pub fn fuzz_one(bytes: &[u8]) -> Vec<UnwindTable> {
    let limits = Limits {
        frame_bytes: 4 << 20,
        rows: 1 << 18,
        table_bytes: 8 << 20,
        steps: 1 << 22,
        scan_bytes: 1 << 20,
        time: Duration::from_secs(5),
    };
    let mut tables = Vec::new();
    if let Ok(table) = build(bytes_as_object(&bytes), Some(bytes_as_object(&bytes)), &limits) {
        let again = UnwindTable::decode(&table.encode());
        assert_eq!(again.as_ref(), Ok(&table));
        tables.push(table);
    }
    // The checksum finds accidents; what gets past it is looked at here.
    let mut stored = bytes.to_vec();
    codec::seal(&mut stored);
    if let Ok(table) = UnwindTable::decode(&stored) {
        let first = u64::from(table.descriptor().first_granule) << fleetprof_abi::GRANULE_SHIFT;
        assert!(table.descriptor().granules == 0 || table.lookup(first).is_some());
        assert_eq!(table.encode(), stored);
        tables.push(table);
    }
    tables
}

fn bytes_as_object<'a>(bytes: &'a &'a [u8]) -> &'a dyn crate::ReadAt {
    bytes
}
