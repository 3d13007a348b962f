use super::*;
use crate::jit::testing::{header, lines, load, moved, record};

/// What each record says.
fn read(parser: &mut Jitdump, bytes: &[u8], available: usize) -> (Vec<String>, Parsed) {
    let mut seen = Vec::new();
    let parsed = parser.parse(bytes, available as u64, &mut |record| {
        seen.push(match record {
            Record::Load { start, size, name, time_ns } => {
                format!("load {start:x} {size} {} {time_ns}", name.escape_ascii())
            }
            Record::Move { from, to, size, time_ns } => {
                format!("move {from:x} {to:x} {size} {time_ns}")
            }
            Record::Lines { start, rows } => {
                let rows = rows.map(|row| {
                    format!("{:x} {}:{}", row.address, row.file.escape_ascii(), row.line)
                });
                format!("lines {start:x} [{}]", rows.collect::<Vec<_>>().join(", "))
            }
        });
    });
    (seen, parsed)
}

fn all(bytes: &[u8]) -> (Vec<String>, Parsed) {
    read(&mut Jitdump::default(), bytes, bytes.len())
}

/// Every kind of record, in the order a runtime writes them.
fn file() -> Vec<u8> {
    let rows: [(u64, i32, &[u8]); 4] = [
        (0x1000, 10, b"a.js"),
        (0x1004, 11, b"\xff"),
        (0x1008, -1, b"b.js"),
        (0x100c, 12, b"\xff"),
    ];
    [
        header(0),
        lines(6, 0x1000, &rows),
        record(4, 6, &[9; 33]),
        load(7, 0x1000, &[0x90; 32], "foo"),
        record(99, 7, &[]),
        moved(8, 0x1000, 0x2000, 32),
        record(3, 9, &[]),
    ]
    .concat()
}

/// Check what is read, and that unwinding, the end and unknown kinds are passed over.
#[test]
fn records_are_read_in_their_order() {
    let bytes = file();
    let (seen, parsed) = all(&bytes);
    let expected = [
        "lines 1000 [1000 a.js:10, 1004 a.js:11, 1008 b.js:0, 100c b.js:12]",
        "load 1000 32 foo 7",
        "move 1000 2000 32 8",
    ];
    assert_eq!(seen, expected);
    assert_eq!(parsed, Parsed { consumed: bytes.len() as u64, malformed: 0, damaged: false });
}

/// Check a file that grows byte by byte: each record comes once, when it is whole.
#[test]
fn a_record_that_is_still_written_waits() {
    let bytes = file();
    let expected = all(&bytes).0;
    for cut in 0..bytes.len() {
        let mut parser = Jitdump::default();
        let (mut seen, parsed) = read(&mut parser, &bytes[..cut], cut);
        assert!(!parsed.damaged);
        let at = usize::try_from(parsed.consumed).unwrap();
        assert!(at <= cut);
        seen.extend(read(&mut parser, &bytes[at..], bytes.len() - at).0);
        assert_eq!(seen, expected, "cut at {cut}");
    }
}

/// Check that the code of a function need not be read: the next record is looked for behind it.
#[test]
fn code_is_skipped_without_being_read() {
    let code = vec![0xcc; 3 << 20];
    let bytes = [header(0), load(7, 0x1000, &code, "big"), load(8, 0x9000, &[1], "next")].concat();
    let mut parser = Jitdump::default();
    let (seen, parsed) = read(&mut parser, &bytes[..MAX_PIECE_BYTES], bytes.len());
    assert_eq!(seen, ["load 1000 3145728 big 7"]);
    let at = usize::try_from(parsed.consumed).unwrap();
    assert!(at > MAX_PIECE_BYTES);
    let (seen, _) = read(&mut parser, &bytes[at..], bytes.len() - at);
    assert_eq!(seen, ["load 9000 1 next 8"]);
}

/// Check that times of a clock that nobody else has are not taken for ours.
#[test]
fn times_of_the_processor_are_no_times() {
    let bytes = [header(1), load(7, 0x1000, &[1], "f")].concat();
    assert_eq!(all(&bytes).0, ["load 1000 1 f 0"]);
}

/// Check each way in which a record can lie; what follows is read all the same.
#[test]
fn malformed_records_are_skipped_and_counted() {
    let whole = lines(1, 0x1000, &[(0x1000, 1, b"a")]);
    let too_many = {
        let mut lie = whole.clone();
        lie[24..32].copy_from_slice(&u64::MAX.to_ne_bytes());
        lie
    };
    let endless_name = {
        let mut bytes = load(1, 0x1000, &[1; 4], "f");
        bytes[16 + 40..].fill(b'x');
        bytes
    };
    let long = lines(1, 0x1000, &vec![(0x1000, 1, &b"abcdefgh"[..]); 30_000]);
    let lies = [
        record(LOAD, 1, &[]),
        record(LOAD, 1, &[0; 40]),
        load(1, 0x1000, &[], "no code"),
        load(1, 0x1000, &[1], ""),
        endless_name,
        record(MOVE, 1, &[0; 8]),
        moved(1, 0x1000, 0x2000, 0),
        record(DEBUG_INFO, 1, &[0; 8]),
        too_many,
        long,
        lines(1, 0x1000, &[(0x1000, 1, b"a"), (0xfff, 2, b"a")]),
        lines(1, 0x1000, &[(0x1000, 1, b"a"), (0x1_0000_1000, 2, b"a")]),
        lines(1, 0x1000, &[(0x1000, 1, b"\xb35\x02")]),
        lines(1, 0x1000, &[(0x1000, 1, b"a\nb")]),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let bytes = [header(0), lie, load(8, 0x9000, &[1], "next")].concat();
        let (seen, parsed) = all(&bytes);
        assert_eq!(seen, ["load 9000 1 next 8"], "lie {number}");
        assert_eq!((parsed.malformed, parsed.damaged), (1, false), "lie {number}");
    }
}

/// Check what cannot be read at all: another file, another version, a record without an end.
#[test]
fn what_is_no_jitdump_is_given_up() {
    let mut newer = header(0);
    newer[4] = 2;
    let mut short = header(0);
    short[8] = 39;
    let mut foreign = header(0);
    foreign[..4].reverse();
    let stuck = [header(0), vec![0; 16]].concat();
    for bytes in [newer, short, foreign, stuck, b"1000 10 a perf map\n".to_vec()] {
        let (seen, parsed) = all(&bytes);
        assert_eq!(seen.len(), 0);
        assert!(parsed.damaged && parsed.malformed == 1, "{}", bytes.escape_ascii());
    }
    // A longer head than ours is of a later writer, and not wrong.
    let mut longer = [header(0), vec![0; 8]].concat();
    longer[8] = 48;
    longer.extend(load(7, 0x1000, &[1], "f"));
    assert_eq!(all(&longer).0, ["load 1000 1 f 7"]);
}

/// Check that a record of 4 GiB in a small file is waited for, not asked for.
#[test]
fn a_record_longer_than_the_file_waits() {
    let mut bytes = [header(0), load(7, 0x1000, &[1], "f")].concat();
    bytes[44..48].copy_from_slice(&u32::MAX.to_ne_bytes());
    let (seen, parsed) = all(&bytes);
    assert_eq!((seen.len(), parsed.consumed, parsed.malformed), (0, 40, 0));
}
