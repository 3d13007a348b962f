//! Check that no file takes the converter beyond its limits, whatever it says about itself.

use std::{fs, time::Duration};

use fleetprof_symtab::{ConvertError, Inputs, Limits, convert};
use object::{Object, ObjectSection};

use crate::support::{address_of, assembled, at, converted, directory, names, open, program, run};

/// A function of 16 bytes whose unit has these entries.
fn with_entries(entries: &str) -> String {
    format!(
        r#"
        .text
        .globl f
        .type f, @function
f:
.Lbegin:
        .fill 15, 1, 0x90
        ret
.Lend:
        .size f, .-f
        .section .debug_abbrev,"",@progbits
        .uleb128 1, 0x11                # compile unit
        .byte 1
        .uleb128 0x11, 0x01, 0x12, 0x07, 0, 0
        .uleb128 2, 0x2e                # function: name, low_pc, high_pc
        .byte 1
        .uleb128 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0, 0
        .uleb128 3, 0x1d                # inlined: origin, low_pc, high_pc, call_line
        .byte 0
        .uleb128 0x31, 0x13, 0x11, 0x01, 0x12, 0x07, 0x59, 0x0b, 0, 0
        .uleb128 4, 0x2e                # function: origin
        .byte 0
        .uleb128 0x31, 0x13, 0, 0
        .uleb128 5, 0x1d                # inlined, without any attribute
        .byte 1
        .uleb128 0, 0
        .uleb128 6, 0x2e                # function: name
        .byte 0
        .uleb128 0x03, 0x08, 0, 0
        .byte 0
        .section .debug_info,"",@progbits
.Lunit:
        .long .Linfo_end - .Linfo_begin
.Linfo_begin:
        .short 4
        .long 0
        .byte 8
        .uleb128 1
        .quad .Lbegin, .Lend - .Lbegin
{entries}
        .byte 0
.Linfo_end:
"#
    )
}

/// Check references that lead in a circle, to themselves, and out of the unit.
#[test]
fn references_in_a_circle_name_nothing() {
    let directory = directory();
    let entries = r#"
.La:    .uleb128 4
        .long .Lb - .Lunit
.Lb:    .uleb128 4
        .long .La - .Lunit
.Lc:    .uleb128 4
        .long .Lc - .Lunit
        .uleb128 2
        .asciz "outer"
        .quad .Lbegin, .Lend - .Lbegin
        .uleb128 3
        .long .La - .Lunit
        .quad .Lbegin, 4
        .byte 11
        .uleb128 3
        .long .Lc - .Lunit
        .quad .Lbegin + 4, 4
        .byte 12
        .uleb128 3
        .long 0x7fffffff
        .quad .Lbegin + 8, 4
        .byte 13
        .byte 0"#;
    let bytes = assembled(directory.path(), &with_entries(entries));
    let made = converted(&bytes);
    let table = open(&made);
    let start = address_of(&bytes, "f");
    for (number, line) in [(0, 11), (4, 12), (8, 13)] {
        let words = at(&table, start + number).expect("known");
        let found: Vec<_> =
            words.iter().map(|words| (words.function.as_str(), words.line)).collect();
        // The symbol's name counts for what is not inlined.
        assert_eq!(found, [("", 0), ("f", line)]);
    }
    assert_eq!(names(&table, start + 12), ["f"]);
}

/// Check a million calls inlined into one another: neither recursion nor chains without end.
#[test]
fn deep_nesting_is_cut_and_counted() {
    const DEPTH: usize = 1_000_000;
    let directory = directory();
    let entries = format!(
        r#"
        .uleb128 2
        .asciz "outer"
        .quad .Lbegin, .Lend - .Lbegin
        .fill {DEPTH}, 1, 5
        .fill {DEPTH}, 1, 0
        .byte 0
        .uleb128 6
        .asciz "behind""#
    );
    let bytes = assembled(directory.path(), &with_entries(&entries));
    let made = converted(&bytes);
    let limit = u64::from(Limits::default().depth);
    assert_eq!(made.report.too_deep, DEPTH as u64 - limit);
    assert_eq!(names(&open(&made), address_of(&bytes, "f")), ["f"]);
}

/// Check that a name of a megabyte costs what the limit allows.
#[test]
fn long_names_are_cut_and_counted() {
    let directory = directory();
    let entries = r#"
.La:    .uleb128 6
        .fill 1048576, 1, 'a'
        .byte 0
        .uleb128 2
        .asciz "outer"
        .quad .Lbegin, .Lend - .Lbegin
        .uleb128 3
        .long .La - .Lunit
        .quad .Lbegin, 4
        .byte 11
        .byte 0"#;
    let bytes = assembled(directory.path(), &with_entries(entries));
    let made = converted(&bytes);
    assert_eq!(made.report.cut_names, 1);
    let found = names(&open(&made), address_of(&bytes, "f"));
    assert_eq!(found[0].len(), Limits::default().name_bytes);
    assert!(made.table.len() < 20_000, "{}", made.table.len());
}

/// Check that a damaged unit costs only what is behind the damage.
#[test]
fn what_is_before_damage_is_kept() {
    let directory = directory();
    let entries = r#"
        .uleb128 2
        .asciz "outer"
        .quad .Lbegin, .Lend - .Lbegin
        .uleb128 3
        .long 0
        .quad .Lbegin, 4
        .byte 11
        .uleb128 99"#;
    let bytes = assembled(directory.path(), &with_entries(entries));
    let made = converted(&bytes);
    assert_eq!(made.report.damaged_units, 1);
    assert!(made.report.first_damage.is_some());
    assert_eq!(names(&open(&made), address_of(&bytes, "f")), ["", "f"]);
}

/// Check sections that claim to unpack to much, and some that do.
#[test]
fn what_unpacks_to_too_much_is_refused() {
    let directory = directory();
    let text = format!(
        "{}\n.section .debug_str,\"\",@progbits\n.zero 67108864\n",
        with_entries("        .byte 0")
    );
    assembled(directory.path(), &text);
    let path = directory.path().join("made");
    run("objcopy", ["--compress-debug-sections=zlib".as_ref(), path.as_os_str()]);
    let mut bytes = fs::read(&path).expect("readable");
    assert!(bytes.len() < 1 << 20, "it was packed: {}", bytes.len());
    let try_with = |bytes: &[u8], unpacked_bytes| {
        let inputs = Inputs { binary: Some(bytes), ..Inputs::default() };
        convert(inputs, Limits { unpacked_bytes, ..Limits::default() }).map(|_| ())
    };
    assert!(try_with(&bytes, 128 << 20).is_ok());
    let refused = try_with(&bytes, 32 << 20);
    assert!(matches!(refused, Err(ConvertError::TooLarge { what: "unpacked bytes", .. })));
    let file = object::File::parse(&*bytes).expect("an object file");
    let section = file.section_by_name(".debug_str").expect("there");
    let (start, _) = section.file_range().expect("in the file");
    // Elf64_Chdr: type, reserved, size.
    let size = start as usize + 8;
    bytes[size..size + 8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    assert!(matches!(try_with(&bytes, 128 << 20), Err(ConvertError::TooLarge { .. })));
}

/// Check that limits are named when they are passed.
#[test]
fn limits_hold() {
    let directory = directory();
    let bytes = fs::read(program(directory.path(), "limits", &["-O2", "-g"])).expect("readable");
    let refused = |limits: Limits| {
        let inputs = Inputs { binary: Some(&bytes), ..Inputs::default() };
        convert(inputs, limits).expect_err("a limit is passed").to_string()
    };
    let all = Limits::default();
    for (limits, what) in [
        (Limits { rows: 10, ..all }, "more rows than the limit of 10"),
        (Limits { unit_rows: 10, ..all }, "more lines in a unit than the limit of 10"),
        (Limits { inlined: 5, ..all }, "more inlined calls than the limit of 5"),
        (Limits { functions: 3, ..all }, "more functions than the limit of 3"),
        (Limits { text_bytes: 50, ..all }, "more bytes of names than the limit of 50"),
        (Limits { units: 1, ..all }, "more units of debug information than the limit of 1"),
        (Limits { symbols: 2, ..all }, "more symbols than the limit of 2"),
        (Limits { steps: 9, ..all }, "more entries of debug information than the limit of 9"),
        (Limits { time: Duration::ZERO, ..all }, "conversion took longer than 0ns"),
    ] {
        assert_eq!(refused(limits), what);
    }
}

#[test]
fn what_cannot_be_converted_says_why() {
    let directory = directory();
    let object = directory.path().join("object.o");
    let source = directory.path().join("empty.c");
    fs::write(&source, "int f(void) { return 1; }\n").expect("written");
    run("gcc", ["-c".as_ref(), source.as_os_str(), "-o".as_ref(), object.as_os_str()]);
    let unlinked = fs::read(object).expect("readable");
    let big_endian = [b"\x7fELF\x02\x02\x01".as_slice(), &[0; 57]].concat();
    for (bytes, why) in [
        (&b""[..], "is not an ELF file"),
        (b"#!/bin/sh\n", "is not an ELF file"),
        (b"\x7fELF", "is not an ELF file"),
        (&big_endian, "for a big-endian processor cannot be converted"),
        (&unlinked, "an object that is not linked cannot be converted"),
    ] {
        let inputs = Inputs { binary: Some(bytes), ..Inputs::default() };
        let error = convert(inputs, Limits::default()).expect_err("refused").to_string();
        assert!(error.contains(why), "{error}");
    }
    let nothing = convert(Inputs::default(), Limits::default());
    assert!(matches!(nothing, Err(ConvertError::NoCode)));
}
