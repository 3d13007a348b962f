//! Tables of real binaries against `readelf`, and against damage.

mod go;

use crate::{Limits, ReadAt, UnwindTable, build, fuzz_one};
use fleetprof_abi::{FpRule, PAGE_WORDS, RaRule, RuleKind};
use proptest::prelude::*;
use std::fs::{self, File};
use std::process::Command;

fn table(bytes: &dyn ReadAt) -> UnwindTable {
    build(bytes, None, &Limits::default()).expect("a table")
}

/// A program that the compiler of this host makes, without frame pointers.
fn program() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("a.c");
    fs::write(
        &source,
        "#include <string.h>\n#include <stdlib.h>\n\
         __attribute__((noinline)) int f(int n) { char b[n + 1]; memset(b, n, n); return b[n / 2] + atoi(b); }\n\
         int main(int c, char **v) { return f(c) + (c > 1 ? f(atoi(v[1])) : 0); }\n",
    )
    .expect("a source");
    let output = folder.path().join("a");
    let status = Command::new("cc")
        .args(["-O2", "-fomit-frame-pointer", "-o"])
        .args([&output, &source])
        .status()
        .expect("a compiler");
    assert!(status.success());
    fs::read(output).expect("a program")
}

/// What `readelf` says for every address where a rule begins: CFA, rbp and return address.
fn readelf(path: &std::path::Path) -> Vec<(u64, String, String, String)> {
    let output = Command::new("readelf")
        .args(["-wN", "--debug-dump=frames-interp"])
        .arg(path)
        .output()
        .expect("readelf");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rows = Vec::new();
    let mut columns: Vec<String> = Vec::new();
    let mut is_function = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.contains(" CIE ") || line.contains(" FDE ") {
            is_function = line.contains(" FDE ");
        } else if words.first() == Some(&"LOC") {
            columns = words.iter().map(|word| (*word).to_owned()).collect();
        } else if is_function && words.len() == columns.len() && !words.is_empty() {
            let Ok(address) = u64::from_str_radix(words[0], 16) else { continue };
            let column = |name: &str| {
                let at = columns.iter().position(|column| column == name);
                at.map_or("u", |at| words[at]).to_owned()
            };
            rows.push((address, column("CFA"), column("rbp"), column("ra")));
        }
    }
    rows
}

fn assert_agrees_with_readelf(path: &std::path::Path) -> usize {
    let bytes = fs::read(path).expect("a library");
    let image = crate::elf::Image::read(&bytes).expect("headers");
    let table = table(&bytes);
    let rows = readelf(path);
    let mut compared = 0;
    for (index, (address, cfa, rbp, ra)) in rows.iter().enumerate() {
        // Of two rows for one address the later one holds.
        if rows.get(index + 1).is_some_and(|next| next.0 == *address) || cfa == "exp" {
            continue;
        }
        let Some((position, _)) = image.code.position(*address) else { continue };
        let rule = table.lookup(position).expect("in the table");
        if rule.kind == RuleKind::Signal as u8 {
            continue;
        }
        let expected = format!("{address:x} {cfa} {rbp} {ra}");
        if ra == "u" {
            assert_eq!(rule.kind, RuleKind::Root as u8, "{expected} {rule:?}");
            continue;
        }
        assert_eq!(rule.kind, RuleKind::Cfa as u8, "{expected} {rule:?}");
        let names = [
            "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15",
        ];
        let name = names[usize::from(rule.cfa_register)];
        assert_eq!(format!("{name}{:+}", rule.cfa_offset), *cfa, "{expected} {rule:?}");
        if let Some(offset) = rbp.strip_prefix('c') {
            let at_cfa = format!("{:+}", i32::from(rule.fp_offset) * 8);
            assert_eq!((rule.fp(), at_cfa.as_str()), (FpRule::AtCfa as u8, offset), "{expected}");
        } else if rbp == "u" || rbp == "s" {
            assert_eq!(rule.fp(), FpRule::Same as u8, "{expected} {rule:?}");
        }
        if let Some(offset) = ra.strip_prefix('c') {
            let at_cfa = format!("{:+}", i32::from(rule.ra_offset) * 8);
            assert_eq!((rule.ra(), at_cfa.as_str()), (RaRule::AtCfa as u8, offset), "{expected}");
        }
        compared += 1;
    }
    compared
}

#[test]
#[cfg(target_arch = "x86_64")]
fn every_row_of_real_libraries_is_the_one_that_readelf_prints() {
    for name in ["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libstdc++.so.6"] {
        let path = std::path::Path::new("/lib/x86_64-linux-gnu").join(name);
        if !path.exists() {
            continue;
        }
        assert!(assert_agrees_with_readelf(&path) > 1000, "{name}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    fs::write(&path, program()).expect("a copy");
    assert!(assert_agrees_with_readelf(&path) > 10);
}

#[test]
fn a_table_read_back_is_the_table_that_was_written() {
    let table = table(&program());
    assert_eq!(UnwindTable::decode(&table.encode()), Ok(table.clone()));
    assert!(table.words().len().is_multiple_of(PAGE_WORDS));
}

#[test]
fn every_flipped_byte_of_a_stored_table_is_noticed() {
    let bytes = table(&program()).encode();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert!(UnwindTable::decode(&damaged).is_err(), "byte {at}");
    }
    assert!(UnwindTable::decode(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn a_binary_without_section_table_has_the_same_rules() {
    let mut bytes = program();
    let whole = table(&bytes);
    bytes[40..48].fill(0);
    let stripped = table(&bytes);
    assert_eq!(whole.stats().functions, stripped.stats().functions);
}

#[test]
fn a_claim_of_a_gigabyte_is_refused() {
    let bytes = program();
    let limits = Limits { frame_bytes: 16, ..Limits::default() };
    let error = build(&bytes, None, &limits).expect_err("a limit");
    assert!(error.to_string().contains(".eh_frame"), "{error}");
    let limits = Limits { steps: 10, ..Limits::default() };
    assert!(build(&bytes, None, &limits).is_err());
}

#[test]
#[cfg(target_os = "linux")]
fn this_program_is_read_from_its_file() {
    let file = File::open("/proc/self/exe").expect("this program");
    assert!(table(&file).stats().functions > 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn mutated_binaries_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64),
        cut in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        static BINARY: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(program);
        let mut bytes = BINARY.clone();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        fuzz_one(&bytes);
    }
}

// Check two signal trampolines side by side, as the fuzzer found them: rules rise, or there is no table.
#[test]
fn trampolines_side_by_side_have_rules_that_rise() {
    let binary: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fuzz/regressions/unwind-table/adjacent-trampolines"
    ));
    let table = table(&binary);
    assert_eq!(UnwindTable::decode(&table.encode()).as_ref(), Ok(&table));
}
