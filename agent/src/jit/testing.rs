//! Jitdump files made for tests.

/// A file's head; `flags` is 1 for times of the processor's clock.
pub(super) fn header(flags: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0x4a69_5444_u32, 1, 40, 62, 0, 4711] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(5_u64.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes
}

/// A record of any kind.
pub(super) fn record(kind: u32, time_ns: u64, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 16).unwrap();
    [&kind.to_ne_bytes()[..], &size.to_ne_bytes(), &time_ns.to_ne_bytes(), body].concat()
}

/// A function and its code.
pub(super) fn load(time_ns: u64, start: u64, code: &[u8], name: &str) -> Vec<u8> {
    let mut body = [4711_u32, 4712].map(u32::to_ne_bytes).concat();
    for number in [start, start, code.len() as u64, 1] {
        body.extend(number.to_ne_bytes());
    }
    body.extend(name.as_bytes());
    body.push(0);
    body.extend(code);
    record(0, time_ns, &body)
}

/// Code that was moved.
pub(super) fn moved(time_ns: u64, from: u64, to: u64, size: u64) -> Vec<u8> {
    let mut body = [4711_u32, 4712].map(u32::to_ne_bytes).concat();
    for number in [from, from, to, size, 1] {
        body.extend(number.to_ne_bytes());
    }
    // Virtual address, old, new, size, number.
    record(1, time_ns, &body)
}

/// Address, line and file of each row.
pub(super) fn lines(time_ns: u64, start: u64, rows: &[(u64, i32, &[u8])]) -> Vec<u8> {
    let mut body = [start, rows.len() as u64].map(u64::to_ne_bytes).concat();
    for (address, line, file) in rows {
        body.extend(address.to_ne_bytes());
        body.extend(line.to_ne_bytes());
        body.extend(7_i32.to_ne_bytes());
        body.extend(*file);
        body.push(0);
    }
    record(2, time_ns, &body)
}
