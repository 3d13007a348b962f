//! Check that functions, files, lines and inlined calls are those that LLVM finds: an independent
//! implementation, asked for every few bytes of the code of programs built on the spot.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use fleetprof_proto::symbol::Symbol;
use fleetprof_symbolizer::{ObjectSource, Options, Symbolizer};

use crate::support::{self, Frame};

fn frames(symbol: &Symbol) -> Vec<Frame> {
    let lines = match symbol {
        Symbol::Named(lines) => lines.as_slice(),
        Symbol::Unknown(_) => &[],
    };
    // Between functions there may be lines that are no function's.
    let named = |name: &str| if name == "[unknown]" { String::new() } else { name.to_owned() };
    let frames = lines.iter().map(|line| Frame {
        function: named(&line.system_name),
        file: line.file.as_deref().unwrap_or_default().to_owned(),
        line: line.line,
    });
    frames.collect()
}

/// Equal, but for what is not wrong on either side: which of several symbols at one address names
/// it; LLVM's guess of a file (without line) from the symbol table; the line but no function that
/// LLVM gives for the padding between functions.
fn same(ours: &[Frame], llvm: &[Frame], aliases: &HashMap<String, HashSet<u64>>) -> bool {
    let places = |frame: &Frame| aliases.get(&frame.function).cloned().unwrap_or_default();
    if let ([], [padding]) = (ours, llvm) {
        return padding.function.is_empty();
    }
    ours.len() == llvm.len()
        && ours.iter().zip(llvm).all(|(a, b)| {
            let name = a.function == b.function || !places(a).is_disjoint(&places(b));
            let guessed = a.file.is_empty() && a.line == 0 && b.line == 0;
            name && (guessed || (&a.file, a.line) == (&b.file, b.line))
        })
}

fn compare(object: &Path, step: u64) {
    let code = support::code(object, step);
    let (addresses, offsets): (Vec<u64>, Vec<u64>) = code.into_iter().unzip();
    let expected = support::llvm(object, &addresses);
    let source = ObjectSource::Elf { path: PathBuf::from(object) };
    let directly = Symbolizer::new(Options::default()).symbolize(&source, &offsets);
    agree(object, "directly", &addresses, &directly, &expected);
    let by_table = support::convert(object).symbolize(&offsets);
    agree(object, "by its table", &addresses, &by_table, &expected);
}

fn agree(object: &Path, how: &str, addresses: &[u64], found: &[Symbol], expected: &[Vec<Frame>]) {
    assert_eq!(found.len(), addresses.len());
    let aliases = support::aliases(object);
    let mut differences = Vec::new();
    for ((address, found), expected) in addresses.iter().zip(found).zip(expected) {
        let found = frames(found);
        if !same(&found, expected, &aliases) {
            differences.push(format!("{address:#x}:\n  ours {found:?}\n  llvm {expected:?}"));
        }
    }
    let share = differences.len() as f64 / addresses.len() as f64;
    let (path, count) = (object.display(), addresses.len());
    println!("{path}, {how}: {count} addresses, {} differ", differences.len());
    let shown = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(share <= 0.0, "{how}: {} of {count} differ:\n{shown}", differences.len());
}

#[test]
fn cpp() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, flags) in [
        ("pie-dwarf5", &["-O2", "-g", "-gdwarf-5", "-std=c++17", "-pie", "-fPIE"][..]),
        ("fixed-dwarf4", &["-O2", "-g", "-gdwarf-4", "-std=c++17", "-no-pie"][..]),
        ("plain", &["-O0", "-g", "-std=c++17"][..]),
    ] {
        let object = dir.path().join(name);
        support::compile("nested.cc", &object, flags);
        compare(&object, 3);
    }
}

#[test]
fn c() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, flags) in [
        ("o2", &["-O2", "-g", "-gdwarf-5"][..]),
        ("o3-fixed", &["-O3", "-g", "-gdwarf-4", "-no-pie", "-ffunction-sections"][..]),
        ("no-debug", &["-O2"][..]),
        ("compressed", &["-O2", "-g", "-gz=zlib"][..]),
        ("moved", &["-O2", "-g", "-Wl,-z,separate-code,-Ttext-segment=0x7000000", "-no-pie"][..]),
    ] {
        let object = dir.path().join(name);
        support::compile("nested.c", &object, flags);
        compare(&object, 1);
    }
}

#[test]
fn rust() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, flags) in [
        ("legacy", &["-Copt-level=2", "-g", "--edition=2021"][..]),
        ("v0", &["-Copt-level=3", "-g", "--edition=2021", "-Csymbol-mangling-version=v0"][..]),
    ] {
        let object = dir.path().join(name);
        support::compile("nested.rs", &object, flags);
        compare(&object, 61);
    }
}
