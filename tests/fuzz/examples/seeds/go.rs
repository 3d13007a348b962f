//! Function tables of Go, by hand: of both formats, for both processors.

use crate::{Seeds, numbered};

const HEADER_BYTES: usize = 8 + 8 * 8;

/// Two functions, of 16 and 32 bytes, the second with a frame of 8.
pub(crate) fn tables() -> Seeds {
    let formats = [(0xf0, 1), (0xf0, 4), (0xf1, 1), (0xf1, 4)];
    numbered(formats.map(|(format, quantum)| table(format, quantum)))
}

pub(crate) fn table(format: u8, quantum: u8) -> Vec<u8> {
    let names = b"runtime.goexit\0main.f\0";
    // Pairs of differences: of the value, then of the code in instructions. 0 ends them.
    let second = [2, 4 / quantum, 16, 20 / quantum, 15, 8 / quantum, 0];
    let first = [2, 16 / quantum, 0];
    let values = [&[0][..], &second, &first].concat();
    let (first, second) = (record(format, 0, 0, 8, 0b101), record(format, 16, 15, 1, 0b10));

    let offsets = 2 * 8 + 4;
    let mut functions = Vec::new();
    for word in [0, offsets, 16, offsets + first.len(), 48] {
        functions.extend((word as u32).to_le_bytes());
    }
    functions.extend(first);
    functions.extend(second);

    let mut bytes = vec![format, 0xff, 0xff, 0xff, 0, 0, quantum, 8];
    let values_at = HEADER_BYTES + names.len();
    let functions_at = values_at + values.len();
    for word in [2, 0, 0x40_1000, HEADER_BYTES, 0, 0, values_at, functions_at] {
        bytes.extend((word as u64).to_le_bytes());
    }
    bytes.extend(names);
    bytes.extend(values);
    bytes.extend(functions);
    bytes
}

/// A function's record; the later format has one word more before the flags.
fn record(format: u8, entry: u32, name: u32, deltas: u32, flags: u8) -> Vec<u8> {
    let words = [entry, name, 0, 0, deltas, 0, 0, 0, 0, 7];
    let words = if format == 0xf0 { &words[..9] } else { &words };
    let mut record: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    record.extend([0, flags, 0, 0]);
    record
}
