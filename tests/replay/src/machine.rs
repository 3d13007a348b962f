//! The surroundings of a walk: memory and tables that were recorded.

use std::rc::Rc;

use fleetprof_abi::{Architecture, MAX_USER_FRAMES, ObjectTable, PAGE_WORDS, ResultCode, Rule};
use fleetprof_walk::{Machine, Place, Step, Walk, step};

/// Code in memory.
#[derive(Clone, Debug)]
pub struct Code {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Address − `bias` = position in the file.
    pub bias: u64,
    /// The table; `None` when the file has none.
    pub table: Option<Rc<Table>>,
}

/// A table as the walk reads it.
#[derive(Debug)]
pub struct Table {
    /// Where its parts are.
    pub descriptor: ObjectTable,
    /// Its words, in whole pages.
    pub words: Vec<u32>,
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The frames, with their marks.
    pub frames: Vec<u64>,
    /// How it ended.
    pub end: ResultCode,
    /// Addresses of the memory it read.
    pub reads: Vec<u64>,
    /// It asked for memory that was not recorded.
    pub missed: bool,
    /// Rules it asked for: number of the code, and position.
    pub looked_up: Vec<(usize, u64)>,
}

struct Replay<'a, R> {
    code: &'a [Code],
    memory: R,
    current: Option<Rc<Table>>,
    none: ObjectTable,
    walked: Walked,
}

/// Walks from the registers `registers`, in memory that `memory` reads.
pub fn walk(
    architecture: Architecture,
    registers: &[(u8, u64)],
    ip: u64,
    code: &[Code],
    memory: impl FnMut(u64) -> Option<u64>,
) -> Walked {
    let mut walk = Walk::default();
    walk.begin(ip, true, 0);
    for (register, value) in registers {
        walk.set(*register, *value);
    }
    let walked = Walked::new(ResultCode::UserTruncated);
    let none = ObjectTable::default();
    let mut machine = Replay { code, memory, current: None, none, walked };
    // Every step adds a frame, or is the last.
    for _ in 0..=MAX_USER_FRAMES {
        match step(architecture, &mut walk, &mut machine) {
            Step::Caller => {}
            Step::End(end) => {
                machine.walked.end = end;
                break;
            }
            Step::Missing => {
                machine.walked.end = ResultCode::TableLate;
                break;
            }
        }
    }
    machine.walked
}

// === impl Replay ===

impl<R: FnMut(u64) -> Option<u64>> Machine for Replay<'_, R> {
    type Page = Box<[u32; PAGE_WORDS]>;

    fn find(&mut self, address: u64) -> Place {
        let found = |code: &&Code| (code.start..code.end).contains(&address);
        let Some(number) = self.code.iter().position(|code| found(&code)) else {
            return Place::Nowhere;
        };
        let code = &self.code[number];
        self.current.clone_from(&code.table);
        if code.table.is_none() {
            return Place::Unknown;
        }
        let position = address.wrapping_sub(code.bias);
        self.walked.looked_up.push((number, position));
        Place::Table(position)
    }

    fn table(&self) -> &ObjectTable {
        self.current.as_ref().map_or(&self.none, |table| &table.descriptor)
    }

    fn page(&mut self, page: u32) -> Option<Self::Page> {
        let table = self.current.as_ref()?;
        let page = page.checked_sub(table.descriptor.first_page)? as usize;
        let words = table.words.chunks_exact(PAGE_WORDS).nth(page)?;
        words.try_into().ok().map(Box::new)
    }

    fn read(&mut self, address: u64) -> Option<u64> {
        let word = (self.memory)(address);
        match word {
            Some(_) => self.walked.reads.push(address),
            None => self.walked.missed = true,
        }
        word
    }

    fn push(&mut self, frame: u64) -> bool {
        let fits = self.walked.frames.len() < MAX_USER_FRAMES;
        if fits {
            self.walked.frames.push(frame);
        }
        fits
    }
}

// === impl Walked ===

impl Walked {
    fn new(end: ResultCode) -> Self {
        let (frames, reads, looked_up) = (Vec::new(), Vec::new(), Vec::new());
        Self { frames, end, reads, missed: false, looked_up }
    }
}

// === impl Table ===

impl Table {
    /// The rule at a position, by the walk's own search.
    #[must_use]
    pub fn rule(self: &Rc<Self>, position: u64) -> Option<Rule> {
        let walked = Walked::new(ResultCode::Complete);
        let current = Some(Rc::clone(self));
        let none = ObjectTable::default();
        let mut machine = Replay { code: &[], memory: |_| None, current, none, walked };
        fleetprof_walk::rule_at(&mut machine, position)
    }
}
