//! Our frames beside LLVM's.

use std::{collections::BTreeMap, fs};

use fleetprof_symtab::{Inputs, Limits, SplitUnit, Table, convert};

use crate::{
    explained::{self, Class},
    llvm,
    object_file::ObjectFile,
    programs::Built,
};

/// One source-level frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) function: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Compared {
    pub(crate) addresses: usize,
    pub(crate) equal: usize,
    /// Of the addresses, those in code that compilers made.
    pub(crate) compiled: usize,
    pub(crate) equal_compiled: usize,
    /// Those that differ, in words.
    pub(crate) different: BTreeMap<Class, Vec<String>>,
}

// === impl Compared ===

impl Compared {
    /// Percent of the addresses in compiled code that are equal.
    pub(crate) fn share(&self) -> f64 {
        100.0 * self.equal_compiled as f64 / self.compiled.max(1) as f64
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.addresses += other.addresses;
        self.equal += other.equal;
        self.compiled += other.compiled;
        self.equal_compiled += other.equal_compiled;
        for (class, mut examples) in other.different {
            self.different.entry(class).or_default().append(&mut examples);
        }
    }
}

/// Compares the frames of about `most` addresses of an object.
pub(crate) fn compare(object: &Built, most: usize) -> Compared {
    let file = ObjectFile::read(&object.truth);
    let addresses = file.addresses(most);
    let expected = llvm::symbolize(&object.truth, &addresses);
    let table = table(object);
    let mut compared = Compared { addresses: addresses.len(), ..Compared::default() };
    for (address, expected) in addresses.iter().zip(&expected) {
        let found = look_up(&table, *address);
        let is_equal = found == *expected;
        let is_compiled = file.is_compiled(*address);
        compared.equal += usize::from(is_equal);
        compared.compiled += usize::from(is_compiled);
        compared.equal_compiled += usize::from(is_equal && is_compiled);
        if is_equal {
            continue;
        }
        let class = explained::class(*address, &found, expected, &file);
        let words = format!("  {address:#x}:\n    ours {found:?}\n    llvm {expected:?}");
        compared.different.entry(class).or_default().push(words);
    }
    compared
}

fn table(object: &Built) -> Table<Vec<u8>> {
    let read = |path: &std::path::Path| fs::read(path).expect("readable");
    let binary = read(&object.binary);
    let [debug, shared, package] =
        [&object.debug, &object.shared, &object.package].map(|path| path.as_deref().map(read));
    let mut split = |unit: &SplitUnit<'_>| {
        let directory = String::from_utf8_lossy(unit.directory).into_owned();
        let path = String::from_utf8_lossy(unit.path).into_owned();
        fs::read(std::path::Path::new(&directory).join(path)).ok()
    };
    let inputs = Inputs {
        binary: Some(&binary),
        debug: debug.as_deref(),
        shared: shared.as_deref(),
        package: package.as_deref(),
        split: Some(&mut split),
        others: Vec::new(),
        without_debug_info: false,
    };
    let converted = convert(inputs, Limits::default()).expect("converted");
    let report = &converted.report;
    assert_eq!((report.damaged_units, report.damaged_entries), (0, 0), "{report:?}");
    assert_eq!(report.missing_units, 0, "{report:?}");
    let table = Table::open(converted.table).expect("a table");
    table.verify().expect("in order");
    table
}

fn look_up(table: &Table<Vec<u8>>, address: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    // A miss has no frames.
    let _ = table.frames_at_address(address, &mut frames);
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).expect("text")
    };
    let frame = |frame: &fleetprof_symtab::Frame| Frame {
        function: text(&|out| {
            frame.function.map_or(Ok(()), |name| table.text(name, out)).expect("a name");
        }),
        file: text(&|out| {
            frame.file.map_or(Ok(()), |file| table.path(file, out)).expect("a path");
        }),
        line: frame.line,
    };
    assert!(frames.iter().rev().skip(1).all(|frame| frame.is_inlined));
    assert!(frames.last().is_none_or(|frame| !frame.is_inlined));
    frames.iter().map(frame).collect()
}
