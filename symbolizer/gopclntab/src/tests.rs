use proptest::prelude::*;

use crate::{Function, FunctionTable, InlinedCall, Range, TableError};

/// A table of two functions, of 16 and 32 bytes, as the linker of Go 1.20 lays it out.
fn table() -> Vec<u8> {
    let names = b"runtime.goexit\0main.f\0";
    // Values at 1: 0 for 4 bytes, 8 for 20, 0 for 8. At 9: 0 for all.
    let values = [0, 2, 4, 16, 20, 15, 8, 0, 2, 16, 0];
    let record = |entry: u32, name: u32, values: u32, flags: u8| {
        let mut record = Vec::new();
        for word in [entry, name, 0, 0, values, 0, 0, 0, 0, 7] {
            record.extend(word.to_le_bytes());
        }
        record.extend([0, flags, 0, 0]);
        record
    };
    let (first, second) = (record(0, 0, 8, 0b101), record(16, 15, 1, 0));
    let offsets = 2 * 8 + 4;
    let mut functions = Vec::new();
    for word in [0, offsets, 16, offsets + first.len() as u32, 48] {
        functions.extend(word.to_le_bytes());
    }
    functions.extend(first);
    functions.extend(second);

    let mut bytes = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    let names_at = 8 + 8 * 8;
    let values_at = names_at + names.len();
    let functions_at = values_at + values.len();
    for word in [2, 0, 0x40_1000, names_at, 0, 0, values_at, functions_at] {
        bytes.extend((word as u64).to_le_bytes());
    }
    bytes.extend(names);
    bytes.extend(values);
    bytes.extend(functions);
    bytes
}

fn functions(bytes: &[u8]) -> Vec<Function<'_>> {
    FunctionTable::parse(bytes).unwrap().functions().map(|(_, function)| function).collect()
}

#[test]
fn functions_have_ranges_names_and_flags() {
    let bytes = table();
    assert_eq!(FunctionTable::parse(&bytes).unwrap().text_start(), Some(0x40_1000));
    let functions = functions(&bytes);
    let [goexit, f] = functions.as_slice() else { panic!("{functions:?}") };
    assert_eq!((goexit.start, goexit.end, goexit.name()), (0, 16, Some("runtime.goexit")));
    assert_eq!((f.start, f.end, f.name()), (16, 48, Some("main.f")));
    assert!(goexit.is_top_frame() && goexit.is_assembly() && !goexit.writes_stack_pointer());
    assert!(!f.is_top_frame() && !f.is_assembly());
}

#[test]
fn stack_deltas_are_sums_of_differences() {
    let bytes = table();
    let functions = functions(&bytes);
    let ranges: Vec<Range> = functions[1].stack_deltas().collect();
    let range = |start, end, value| Range { start, end, value };
    assert_eq!(ranges, [range(0, 4, 0), range(4, 24, 8), range(24, 32, 0)]);
    assert_eq!(functions[0].stack_deltas().collect::<Vec<_>>(), [range(0, 16, 0)]);
}

#[test]
fn what_is_no_table_is_refused_with_its_reason() {
    let parse = |bytes: &[u8]| FunctionTable::parse(bytes).map(|_| ()).unwrap_err();
    assert_eq!(parse(b"\xfb\xff\xff\xff\0\0\x01\x08"), TableError::Format(0xffff_fffb));
    assert_eq!(parse(b"\xf1\xff\xff\xff\0\0\x04\x04"), TableError::PointerBytes(4));
    assert_eq!(parse(&table()[..70]), TableError::Damaged("truncated header"));
    let mut many = table();
    many[8..16].fill(0x7f);
    assert_eq!(parse(&many), TableError::Damaged("number of functions"));
}

proptest! {
    #[test]
    fn damaged_tables_neither_panic_nor_leave_their_ranges(
        at in 0_usize..400, byte: u8, cut in 0_usize..400,
    ) {
        let mut bytes = table();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        if let Ok(table) = FunctionTable::parse(&bytes) {
            for (_, function) in table.functions() {
                let _ = (function.name(), function.is_top_frame(), function.inlined_calls());
                let values = [function.files(), function.lines(), function.inlined_numbers()];
                for range in values.into_iter().flatten() {
                    prop_assert!(range.end <= function.end - function.start);
                    let _ = table.file(function.unit(), range.value);
                    let _ = InlinedCall::get(&table, &bytes, range.value);
                }
                let mut end = 0;
                for range in function.stack_deltas() {
                    prop_assert!(range.start == end && range.end > end);
                    prop_assert!(range.end <= function.end - function.start);
                    end = range.end;
                }
            }
        }
    }
}
