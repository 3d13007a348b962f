//! The tables of the files that captured threads had mapped, each built once.

use std::{cell::RefCell, collections::HashMap, fs, rc::Rc};

use fleetprof_abi::{Rule, RuleKind};
use fleetprof_unwind::{Limits, build};

use crate::{machine::Table, table_of_rows};

/// Tables by path.
#[derive(Default)]
pub struct Objects {
    tables: RefCell<HashMap<String, Option<Rc<Table>>>>,
}

/// What the kernel maps into every process instead of a file.
pub const VDSO: &str = "[vdso]";

/// Where an emulator has signal handlers return to, from 16 bytes before it on.
pub const SIGRETURN: &str = "[sigreturn]";

// === impl Objects ===

impl Objects {
    /// The table of a file; `None` when it cannot have one, and then its code is unknown.
    pub fn table(&self, path: &str) -> Option<Rc<Table>> {
        if let Some(known) = self.tables.borrow().get(path) {
            return known.clone();
        }
        if path == SIGRETURN {
            // Its code is the emulator's; real kernels have it in the vDSO.
            let rows = [(0, Rule::plain(RuleKind::Signal))];
            return Some(Rc::new(table_of_rows::table(&rows)));
        }
        let table = read(path)
            .and_then(|bytes| build(&bytes, None, &Limits::default()).ok())
            .map(|table| Table { descriptor: table.descriptor(), words: table.words().to_vec() })
            .map(Rc::new);
        self.tables.borrow_mut().insert(path.to_owned(), table.clone());
        table
    }
}

/// The bytes of a file, or of this process's own vDSO: all processes of a host have the same.
pub(crate) fn read(path: &str) -> Option<Vec<u8>> {
    if path != VDSO {
        return fs::read(path).ok();
    }
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with(VDSO))?;
    let (start, rest) = line.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(rest.split_once(' ')?.0, 16).ok()?;
    let mut bytes = vec![0; usize::try_from(end - start).ok()?];
    let memory = fs::File::open("/proc/self/mem").ok()?;
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, start).ok()?;
    Some(bytes)
}
