use super::*;
use crate::jit::{jitdump::Jitdump, testing};

const ROOM: usize = 1 << 20;

fn load(table: &mut CodeTable, time_ns: u64, start: u64, size: u64, name: &str) {
    table.apply(Record::Load { start, size, name: name.as_bytes(), time_ns }, |time_ns| time_ns);
    assert!(table.is_sound());
}

fn name(table: &CodeTable, address: u64, time_ns: u64) -> Option<&str> {
    Some(table.show(table.find(address, time_ns)?).0)
}

/// Names at each of some addresses now.
fn now<const N: usize>(table: &CodeTable, addresses: [u64; N]) -> [Option<&str>; N] {
    addresses.map(|address| name(table, address, u64::MAX))
}

/// Check the first and last address of a function, and those beside it.
#[test]
fn a_function_is_where_it_was_said_to_be() {
    let mut table = CodeTable::new(ROOM);
    load(&mut table, 0, 0x1000, 0x10, "f");
    load(&mut table, 0, 0x1010, 0x10, "g");
    let found = now(&table, [0xfff, 0x1000, 0x100f, 0x1010, 0x101f, 0x1020]);
    assert_eq!(found, [None, Some("f"), Some("f"), Some("g"), Some("g"), None]);
    load(&mut table, 0, u64::MAX - 4, 0x10, "past the end");
    load(&mut table, 0, 0x9000, 1 << 32, "too long");
    assert_eq!((table.len(), table.refused()), (2, 2));
}

/// Check each way in which a later function can lie over an earlier one.
#[test]
fn later_functions_replace_what_they_overlap() {
    let old = |table: &mut CodeTable| load(table, 0, 0x1000, 0x30, "old");
    let with = |start, size| {
        let mut table = CodeTable::new(ROOM);
        old(&mut table);
        load(&mut table, 0, start, size, "new");
        now(&table, [0x1000, 0x1010, 0x1020, 0x102f]).map(|name| name.unwrap_or("-").to_owned())
    };
    assert_eq!(with(0x1000, 0x30), ["new"; 4]);
    assert_eq!(with(0x0f00, 0x1000), ["new"; 4]);
    assert_eq!(with(0x0f00, 0x108), ["new", "old", "old", "old"]);
    assert_eq!(with(0x1008, 0x10), ["old", "new", "old", "old"]);
    assert_eq!(with(0x1018, 0x100), ["old", "old", "new", "new"]);
    let mut table = CodeTable::new(ROOM);
    for start in 0..64 {
        load(&mut table, 0, 0x1000 + start * 0x10, 0x10, "small");
    }
    load(&mut table, 0, 0x1008, 0x3f0, "large");
    assert_eq!(table.len(), 3);
    assert_eq!(
        now(&table, [0x1007, 0x1008, 0x13f7, 0x13f8]),
        [Some("small"), Some("large"), Some("large"), Some("small")]
    );
}

/// Check that a sample from before memory was used again gets the name of then, and that this is
/// forgotten.
#[test]
fn samples_from_before_a_replacement_get_the_earlier_name() {
    let mut table = CodeTable::new(ROOM);
    load(&mut table, 100, 0x1000, 0x10, "first");
    load(&mut table, 200, 0x1000, 0x20, "second");
    load(&mut table, 300, 0x1000, 0x10, "third");
    let at = |table: &CodeTable, time_ns| name(table, 0x1004, time_ns).map(str::to_owned);
    let names = [99, 100, 199, 200, 299, 300, u64::MAX].map(|time_ns| at(&table, time_ns));
    let expected = ["third", "first", "first", "second", "second", "third", "third"];
    assert_eq!(names, expected.map(|name| Some(name.to_owned())));
    assert_eq!(name(&table, 0x1018, 300), Some("second"), "what is left of it");
    table.forget(200 + KEEP_NS);
    assert_eq!(at(&table, 150), Some("third".to_owned()));
    assert_eq!(at(&table, 250), Some("second".to_owned()));
}

/// Check that moved code takes its name and lines along, and leaves nothing.
#[test]
fn moved_code_keeps_its_name() {
    let mut table = table_of(&[
        testing::lines(5, 0x1000, &[(0x1000, 1, b"a.js"), (0x1008, 2, b"\xff")]),
        testing::load(6, 0x1000, &[0; 16], "f"),
        testing::load(6, 0x2000, &[0; 16], "g"),
        testing::moved(7, 0x1000, 0x2008, 16),
        testing::moved(8, 0x7000, 0x8000, 16),
    ]);
    assert_eq!(now(&table, [0x1000, 0x2007, 0x2008]), [None, Some("g"), Some("f")]);
    assert_eq!(table.show(table.find(0x2010, 9).unwrap()), ("f", Some("a.js"), 2));
    assert_eq!(name(&table, 0x1000, 6), Some("f"), "before it was moved");
    assert_eq!(table.refused(), 1, "nothing was at 0x7000");
    table.forget(u64::MAX);
    assert_eq!(name(&table, 0x1000, 6), None);
}

fn table_of(records: &[Vec<u8>]) -> CodeTable {
    let mut table = CodeTable::new(ROOM);
    let bytes = [testing::header(0), records.concat()].concat();
    let parsed = Jitdump::default().parse(&bytes, bytes.len() as u64, &mut |record| {
        table.apply(record, |time_ns| time_ns);
    });
    assert_eq!(parsed.malformed, 0);
    assert!(table.is_sound());
    table
}

/// Check lines at, between and before their addresses, and in what is left of a function.
#[test]
fn lines_hold_from_their_address_to_the_next() {
    let rows: [(u64, i32, &[u8]); 4] =
        [(0x1004, 1, b"a.js"), (0x1008, 9, b"a.js"), (0x1008, 2, b"b.js"), (0x100c, 0, b"")];
    let records = [testing::lines(5, 0x1000, &rows), testing::load(6, 0x1000, &[0; 32], "f")];
    let mut table = table_of(&records);
    let at = |table: &CodeTable, address| {
        let (_, file, line) = table.show(table.find(address, u64::MAX).unwrap());
        (file.map(str::to_owned), line)
    };
    let file = |name: &str| Some(name.to_owned());
    assert_eq!(at(&table, 0x1003), (None, 0));
    assert_eq!(at(&table, 0x1004), (file("a.js"), 1));
    assert_eq!(at(&table, 0x100b), (file("b.js"), 2));
    assert_eq!(at(&table, 0x101f), (None, 0));
    load(&mut table, 7, 0x1000, 6, "g");
    assert_eq!(at(&table, 0x1000), (None, 0), "lines are of the function they were said of");
    assert_eq!(at(&table, 0x1006), (file("a.js"), 1), "offsets stay those of the whole function");
    // Lines of another function than the one that follows are nobody's.
    let far = rows.map(|(address, line, file)| (address + 0x4000, line, file));
    let strange = [testing::lines(5, 0x5000, &far), testing::load(6, 0x1000, &[0; 32], "f")];
    assert_eq!(at(&table_of(&strange), 0x1006), (None, 0));
}

/// Check that there is an end to it, that no wrong name is left where a new one has no room, and that
/// room that is given back can be used.
#[test]
fn a_full_table_refuses_and_forgets_what_is_replaced() {
    let mut table = CodeTable::new(64 << 10);
    for number in 0..10_000 {
        load(&mut table, 0, 0x1000 + number * 0x10, 0x10, &format!("function number {number}"));
    }
    assert!(table.refused() > 5_000 && table.bytes() < 128 << 10, "{} bytes", table.bytes());
    assert_eq!(now(&table, [0x1000]), [Some("function number 0")]);
    load(&mut table, 0, 0x1000, 0x8, "new");
    assert_eq!(now(&table, [0x1000, 0x1008]), [None, Some("function number 0")]);
}

/// Check that lines are counted as long as anything refers to them, and no longer.
#[test]
fn lines_are_counted_while_they_are_kept() {
    let rows = vec![(0x1000, 1, &b"a.js"[..]); 1_000];
    let mut table =
        table_of(&[testing::lines(5, 0x1000, &rows), testing::load(6, 0x1000, &[0; 32], "f")]);
    let with_lines = table.line_bytes.load(Relaxed);
    assert!(with_lines >= 12_000);
    load(&mut table, 7, 0x1008, 8, "inside");
    assert_eq!(table.line_bytes.load(Relaxed), with_lines, "both ends are left");
    load(&mut table, 8, 0x1000, 32, "all");
    table.forget(u64::MAX);
    assert_eq!(table.line_bytes.load(Relaxed), 0);
}
