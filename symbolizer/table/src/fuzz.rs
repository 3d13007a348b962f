//! What fuzzers and mutation tests call: any bytes, as an object with all its companions, and as a
//! table.

use std::time::Duration;

use crate::{Inputs, Limits, Table, convert};

/// Limits within which a fuzzer's input is done in moments.
pub fn fuzz_limits() -> Limits {
    Limits {
        unpacked_bytes: 16 << 20,
        rows: 1 << 18,
        unit_rows: 1 << 16,
        units: 1 << 12,
        symbols: 1 << 16,
        inlined: 1 << 16,
        functions: 1 << 16,
        text_bytes: 8 << 20,
        name_bytes: 4 << 10,
        depth: 64,
        steps: 1 << 22,
        time: Duration::from_secs(5),
    }
}

/// Converts `bytes` as every kind of input: nothing may panic or hang, and a table that is made is one
/// that its own reader accepts whole.
///
/// # Panics
/// When a table that was made cannot be read: that is the defect to find.
pub fn fuzz_convert(bytes: &[u8]) {
    let mut split = |_: &crate::SplitUnit<'_>| Some(bytes.to_vec());
    let all = Inputs {
        binary: Some(bytes),
        debug: Some(bytes),
        shared: Some(bytes),
        package: Some(bytes),
        split: Some(&mut split),
        others: Vec::new(),
        without_debug_info: false,
    };
    let alone = Inputs { binary: Some(bytes), ..Inputs::default() };
    for inputs in [all, alone] {
        let Ok(converted) = convert(inputs, fuzz_limits()) else { continue };
        let table = Table::open(converted.table).expect("a table that was just made");
        table.verify().expect("its checksums");
        table.for_each_row(|_, frames| drop(frames.to_vec())).expect("its rows");
    }
}

/// Reads `bytes` as a table: nothing may panic or hang, whatever is asked.
pub fn fuzz_table(bytes: &[u8]) {
    let Ok(table) = Table::open(bytes) else { return };
    let _ = table.verify();
    let mut frames = Vec::new();
    let mut text = Vec::new();
    let segments: Vec<_> = table.segments().take(4).collect();
    let addresses = bytes.iter().take(64).map(|byte| u64::from(*byte) * 61);
    for address in addresses.chain(segments.iter().map(|segment| segment.address)) {
        let _ = table.frames_at_address(address, &mut frames);
        let _ = table.frames_at_offset(address, &mut frames);
        for frame in &frames {
            text.clear();
            let _ = frame.function.map(|name| table.text(name, &mut text));
            let _ = frame.file.map(|file| table.path(file, &mut text));
        }
    }
}
