//! The way for fuzzers to the files of runtimes.

use super::{
    jitdump::Jitdump,
    names::MAX_NAME_BYTES,
    perf_map::PerfMap,
    record::{MAX_PIECE_BYTES, Parsed, Record},
    table::CodeTable,
};

/// Room for what an input can hold.
const MAX_TABLE_BYTES: usize = 1 << 20;

/// Reads any bytes as a perf map.
///
/// # Panics
/// When it says another thing in pieces than as a whole, or the table of it is not sound.
pub fn perf_map(bytes: &[u8]) {
    let mut whole = PerfMap::default();
    let mut pieces = PerfMap::default();
    compare(
        bytes,
        |rest, sink| whole.parse(rest, sink),
        |rest, len, sink| pieces.parse(&rest[..len], sink),
    );
}

/// Reads any bytes as a jitdump.
///
/// # Panics
/// As [`perf_map`].
pub fn jitdump(bytes: &[u8]) {
    let mut whole = Jitdump::default();
    let mut pieces = Jitdump::default();
    compare(
        bytes,
        |rest, sink| whole.parse(rest, rest.len() as u64, sink),
        |rest, len, sink| pieces.parse(&rest[..len], rest.len() as u64, sink),
    );
}

/// What a record says, as text, and what becomes of it.
fn take(table: &mut CodeTable, said: &mut Vec<String>, record: Record<'_>) {
    let ranges = match record {
        Record::Load { start, size, .. } => vec![start, start.wrapping_add(size / 2)],
        Record::Move { from, to, .. } => vec![from, to],
        Record::Lines { start, .. } => vec![start],
    };
    said.push(match record {
        Record::Lines { start, rows } => format!("{start} {:?}", rows.collect::<Vec<_>>()),
        record => format!("{record:?}"),
    });
    table.apply(record, |time_ns| time_ns);
    for address in ranges {
        for time_ns in [0, 1, u64::MAX] {
            if let Some(found) = table.find(address, time_ns) {
                assert!(table.show(found).0.len() <= MAX_NAME_BYTES);
            }
        }
    }
    if let Record::Load { start, size, name, .. } = record
        && u32::try_from(size).is_ok()
        && start.checked_add(size).is_some()
    {
        let found = table.find(start, u64::MAX).expect("there is room");
        let name = String::from_utf8_lossy(name);
        assert!(name.len() > MAX_NAME_BYTES || table.show(found).0 == name);
    }
    assert!(table.is_sound());
}

fn compare(
    bytes: &[u8],
    mut whole: impl FnMut(&[u8], &mut dyn FnMut(Record<'_>)) -> Parsed,
    mut in_pieces: impl FnMut(&[u8], usize, &mut dyn FnMut(Record<'_>)) -> Parsed,
) {
    assert!(bytes.len() < MAX_PIECE_BYTES);
    let (mut table, mut expected) = (CodeTable::new(MAX_TABLE_BYTES), Vec::new());
    let once = whole(bytes, &mut |record| take(&mut table, &mut expected, record));
    assert!(once.consumed <= bytes.len() as u64);
    table.forget(u64::MAX);

    // Each piece is as long as a file that grows: what was left over and a little more.
    let step = 1 + usize::from(bytes.first().copied().unwrap_or(0));
    let (mut table, mut said) = (CodeTable::new(MAX_TABLE_BYTES), Vec::new());
    let (mut at, mut end, mut malformed) = (0, 0, 0);
    while end < bytes.len() {
        end = (end.max(at) + step).min(bytes.len());
        let parsed =
            in_pieces(&bytes[at..], end - at, &mut |record| take(&mut table, &mut said, record));
        malformed += parsed.malformed;
        at += usize::try_from(parsed.consumed).unwrap_or(usize::MAX);
        assert!(at <= bytes.len());
        if parsed.damaged {
            break;
        }
    }
    assert_eq!((said, malformed), (expected, once.malformed));
}
