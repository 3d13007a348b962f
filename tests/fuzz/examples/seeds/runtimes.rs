//! Files of runtimes about the code they generate.

use crate::{Seeds, numbered};

const LOAD: u32 = 0;
const MOVE: u32 = 1;
const LINES: u32 = 2;
const CLOSE: u32 = 3;
const UNWINDING: u32 = 4;

/// As Node and the JVM write them, and what they must not be.
pub(crate) fn perf_maps() -> Seeds {
    let node = "3ef414c0 398 RegExp:[{(]\n3ef418a0 398 JS:*foo /app/x.js:12:3\n\
                3ef41980 20 Builtins_InterpreterEntryTrampoline\n";
    let jvm = "0x00007f8cd0ec71c0 0x0000000000000270 java.lang.Object Foo.bar(java.lang.Object, long)\n\
               0x00007f8cd0ec7200 0x0000000000000100 StubRoutines (1)\r\n";
    let strange = "1000 10 a\n\n  \nhello\n1000 0 none\n1004 ffffffffffffffff all\n1008 4 \u{fc}\n-1 1 x\n1000 10 cut";
    numbered([node, jvm, strange].map(|text| text.as_bytes().to_vec()))
}

/// Every kind of record, and each way of using memory again.
pub(crate) fn jitdumps() -> Seeds {
    let all = [
        header(0),
        lines(1, 0x1000, &[(0x1000, 10, b"a.js"), (0x1004, 11, b"\xff"), (0x1008, -1, b"b.js")]),
        record(UNWINDING, 2, &[9; 40]),
        load(3, 0x1000, 32, "foo"),
        load(4, 0x1008, 8, "inside"),
        load(5, 0x0ff0, 24, "across"),
        moved(6, 0x1010, 0x2000, 16),
        moved(7, 0x1008, 0x1004, 8),
        record(CLOSE, 8, &[]),
    ];
    let lies = [
        header(1),
        record(LOAD, 1, &[0; 40]),
        load(2, u64::MAX - 4, 32, "past the end"),
        record(LINES, 3, &[0xff; 33]),
        record(99, 4, &[1]),
        load(5, 0x1000, 1, ""),
        vec![0; 16],
    ];
    let mut cut = all.concat();
    cut.truncate(cut.len() - 30);
    numbered([all.concat(), lies.concat(), cut])
}

fn header(flags: u64) -> Vec<u8> {
    let words = [0x4a69_5444_u32, 1, 40, 62, 0, 7].map(u32::to_ne_bytes).concat();
    [words, 5_u64.to_ne_bytes().to_vec(), flags.to_ne_bytes().to_vec()].concat()
}

fn record(kind: u32, time_ns: u64, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 16).unwrap_or(u32::MAX);
    [&kind.to_ne_bytes()[..], &size.to_ne_bytes(), &time_ns.to_ne_bytes(), body].concat()
}

fn load(time_ns: u64, start: u64, size: u8, name: &str) -> Vec<u8> {
    let numbers = [7 << 32 | 7, start, start, size.into(), 1].map(u64::to_ne_bytes).concat();
    let code = vec![0x90; size.into()];
    record(LOAD, time_ns, &[&numbers, name.as_bytes(), &[0], &code].concat())
}

fn moved(time_ns: u64, from: u64, to: u64, size: u64) -> Vec<u8> {
    let numbers = [7 << 32 | 7, from, from, to, size, 1].map(u64::to_ne_bytes).concat();
    record(MOVE, time_ns, &numbers)
}

fn lines(time_ns: u64, start: u64, rows: &[(u64, i32, &[u8])]) -> Vec<u8> {
    let mut body = [start, rows.len() as u64].map(u64::to_ne_bytes).concat();
    for (address, line, file) in rows {
        body.extend(address.to_ne_bytes());
        body.extend(line.to_ne_bytes());
        body.extend(0_i32.to_ne_bytes());
        body.extend(*file);
        body.push(0);
    }
    record(LINES, time_ns, &body)
}
