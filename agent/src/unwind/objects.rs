//! The objects that are mapped anywhere, by number, and their tables in the kernel's memory.
//!
//! In: build IDs, and the tables that were built for them. Out: an object's number, and where its
//! table is. Tables are kept within one budget: when there is no room for another one, those that
//! were not used for longest go.

use std::collections::VecDeque;

use fleetprof_abi::{CHUNK_PAGES, MAX_CHUNKS, MAX_OBJECTS, ObjectState, ObjectTable, PAGE_WORDS};
use fleetprof_proto::ids::ObjectId;
use fleetprof_unwind::UnwindTable;
use rustc_hash::FxHashMap;
use tracing::{debug, warn};

use super::{
    arena::{Arena, Run},
    kernel::KernelSide,
};

/// Number of an object on the kernel side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ObjectNumber(pub u32);

/// Objects and tables, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectCounts {
    /// Objects that are known by number.
    pub objects: usize,
    /// Tables in the kernel.
    pub tables: usize,
    /// Bytes of the pages they take.
    pub table_bytes: usize,
    /// Tables that made way for others.
    pub evicted: u64,
    /// Tables that were built.
    pub built: u64,
    /// Objects without a table: the file has no unwind information, or it cannot be read or is too
    /// large.
    pub failed: u64,
}

/// Objects and tables.
pub(super) struct Objects {
    numbers: FxHashMap<ObjectId, ObjectNumber>,
    slots: Vec<Slot>,
    free: Vec<ObjectNumber>,
    pages: Arena,
    chunks: u32,
    /// Number of the table that was put into the kernel last.
    loaded: u32,
    /// Tables that wait for pages.
    waiting: VecDeque<(ObjectNumber, UnwindTable)>,
    counts: ObjectCounts,
}

#[derive(Debug)]
struct Slot {
    id: Option<ObjectId>,
    /// Runs of mappings that name it, and samples that wait for it.
    users: u32,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Nobody needed it yet.
    Unrequested,
    /// It is being built, or waits for pages.
    Requested,
    Loaded(Run),
    Failed,
}

/// Bytes of a page of tables.
pub(super) const PAGE_BYTES: usize = PAGE_WORDS * size_of::<u32>();

/// A table used more recently than this does not make way: better some samples without it than
/// tables that chase each other away.
const KEEP_NS: u64 = 5_000_000_000;

/// Most tables that wait for pages.
const MAX_WAITING: usize = 64;

// === impl Objects ===

impl Objects {
    /// Room for `table_bytes` of tables.
    pub(super) fn new(table_bytes: usize) -> Self {
        let most = MAX_CHUNKS * CHUNK_PAGES;
        let pages = u32::try_from(table_bytes / PAGE_BYTES).unwrap_or(most).min(most);
        Self {
            numbers: FxHashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            pages: Arena::new(pages),
            chunks: 0,
            loaded: 0,
            waiting: VecDeque::new(),
            counts: ObjectCounts::default(),
        }
    }

    /// The object's number; `None` when there are too many objects. The caller is one of its users
    /// from now on.
    pub(super) fn number(
        &mut self,
        id: &ObjectId,
        kernel: &impl KernelSide,
    ) -> Option<ObjectNumber> {
        if let Some(number) = self.numbers.get(id) {
            self.slots[number.index()].users += 1;
            return Some(*number);
        }
        let slot = Slot { id: Some(id.clone()), users: 1, content: Content::Unrequested };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number.index()] = slot;
                number
            }
            None if self.slots.len() < MAX_OBJECTS as usize => {
                self.slots.push(slot);
                ObjectNumber(u32::try_from(self.slots.len() - 1).ok()?)
            }
            None => {
                let number = self.forget_unused(kernel)?;
                self.slots[number.index()] = slot;
                number
            }
        };
        self.set(number, ObjectTable::default(), kernel);
        self.numbers.insert(id.clone(), number);
        Some(number)
    }

    /// One user fewer. The object and its table stay until their room is needed.
    pub(super) fn release(&mut self, number: ObjectNumber) {
        let slot = &mut self.slots[number.index()];
        slot.users = slot.users.saturating_sub(1);
    }

    /// Which object has a number.
    pub(super) fn id(&self, number: ObjectNumber) -> Option<&ObjectId> {
        self.slots.get(number.index())?.id.as_ref()
    }

    /// Whether the object's table has to be built; from now on it is said to be.
    pub(super) fn request(&mut self, number: ObjectNumber) -> bool {
        let content = &mut self.slots[number.index()].content;
        let wanted = *content == Content::Unrequested;
        if wanted {
            *content = Content::Requested;
        }
        wanted
    }

    /// Whether the object's table is on its way.
    pub(super) fn is_requested(&self, number: ObjectNumber) -> bool {
        self.slots[number.index()].content == Content::Requested
    }

    /// Whether it is said which table the object has, be it none.
    pub(super) fn state(&self, number: ObjectNumber) -> ObjectState {
        match self.slots[number.index()].content {
            Content::Unrequested | Content::Requested => ObjectState::Missing,
            Content::Loaded(_) => ObjectState::Ready,
            Content::Failed => ObjectState::Failed,
        }
    }

    /// The object's table was built, or cannot be.
    pub(super) fn built(
        &mut self,
        number: ObjectNumber,
        table: Option<UnwindTable>,
        kernel: &impl KernelSide,
    ) {
        match table {
            Some(table) => {
                self.counts.built += 1;
                if self.waiting.len() < MAX_WAITING {
                    self.waiting.push_back((number, table));
                } else {
                    // Whoever needs it asks again.
                    self.slots[number.index()].content = Content::Unrequested;
                }
            }
            None => self.fail(number, kernel),
        }
    }

    /// Puts tables that wait into the kernel, as far as there is room. To be called when no walk is
    /// under way any more that was at the call before. Page numbers that were written go to
    /// `written`.
    pub(super) fn load(
        &mut self,
        kernel: &impl KernelSide,
        now_ns: u64,
        written: &mut dyn FnMut(Run),
    ) {
        self.pages.settle();
        while let Some((number, table)) = self.waiting.pop_front() {
            let pages = u32::try_from(table.words().len().div_ceil(PAGE_WORDS)).unwrap_or(u32::MAX);
            if pages > self.pages.capacity() {
                warn!(
                    object = ?self.id(number),
                    table_bytes = pages as usize * PAGE_BYTES,
                    "an unwind table is larger than the memory for all of them; see --unwind-memory"
                );
                self.fail(number, kernel);
                continue;
            }
            let Some(run) = self.pages.take(pages) else {
                self.make_room(pages, now_ns, kernel);
                self.waiting.push_front((number, table));
                return;
            };
            match self.write(number, run, &table, kernel) {
                Ok(()) => written(run),
                Err(error) => {
                    warn!(%error, "an unwind table cannot be put into the kernel");
                    self.pages.release(run);
                    self.fail(number, kernel);
                }
            }
        }
    }

    /// Sizes and events.
    pub(super) fn counts(&self) -> ObjectCounts {
        let is_loaded = |slot: &&Slot| matches!(slot.content, Content::Loaded(_));
        ObjectCounts {
            objects: self.numbers.len(),
            tables: self.slots.iter().filter(is_loaded).count(),
            table_bytes: self.pages.used() as usize * PAGE_BYTES,
            ..self.counts
        }
    }

    /// Memory held here, bytes, estimated; without the kernel's.
    pub(super) fn approx_bytes(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(|(_, table)| 4 * table.words().len()).sum();
        waiting + self.slots.capacity() * size_of::<Slot>() + self.numbers.capacity() * 96
    }

    fn write(
        &mut self,
        number: ObjectNumber,
        run: Run,
        table: &UnwindTable,
        kernel: &impl KernelSide,
    ) -> Result<(), crate::sampler::SamplerError> {
        while self.chunks * CHUNK_PAGES < run.first + run.count {
            kernel.add_chunk(self.chunks)?;
            self.chunks += 1;
        }
        for (page, words) in (run.first..).zip(table.words().chunks(PAGE_WORDS)) {
            let mut padded = [0; PAGE_WORDS];
            padded[..words.len()].copy_from_slice(words);
            kernel.write_page(page, &padded)?;
        }
        // Rules that walks remember are those of this table, and of none that was in its place before.
        self.loaded = if self.loaded == ObjectTable::MAX_NUMBER { 1 } else { self.loaded + 1 };
        let missing = ObjectTable::state_with(ObjectState::Missing, self.loaded);
        let ready = ObjectTable::state_with(ObjectState::Ready, self.loaded);
        let place = ObjectTable { first_page: run.first, ..table.descriptor() };
        // A walk that sees the state sees the rest, too.
        kernel.set_object(number.0, ObjectTable { state: missing, ..place })?;
        kernel.set_object(number.0, ObjectTable { state: ready, ..place })?;
        self.slots[number.index()].content = Content::Loaded(run);
        Ok(())
    }

    fn fail(&mut self, number: ObjectNumber, kernel: &impl KernelSide) {
        self.counts.failed += 1;
        self.slots[number.index()].content = Content::Failed;
        let state = ObjectState::Failed as u32;
        self.set(number, ObjectTable { state, ..ObjectTable::default() }, kernel);
    }

    fn set(&self, number: ObjectNumber, table: ObjectTable, kernel: &impl KernelSide) {
        if let Err(error) = kernel.set_object(number.0, table) {
            debug!(%error, number = number.0, "object not set in the kernel");
        }
    }

    /// Takes tables out of the kernel until `pages` will be free; they are after the next settling.
    fn make_room(&mut self, pages: u32, now_ns: u64, kernel: &impl KernelSide) {
        let mut loaded = self.loaded_by_age(kernel);
        let mut promised = self.pages.released() + self.pages.capacity() - self.pages.used();
        // Free pages are rarely neighbours: half as much again makes it likely.
        let wanted = pages.saturating_add(pages / 2).min(self.pages.capacity());
        loaded.retain(|(used_ns, _)| now_ns.saturating_sub(*used_ns) >= KEEP_NS);
        for (_, number) in loaded {
            if promised >= wanted {
                return;
            }
            promised += self.evict(number, kernel);
        }
    }

    /// Tables in the kernel, the longest unused first.
    fn loaded_by_age(&self, kernel: &impl KernelSide) -> Vec<(u64, ObjectNumber)> {
        let mut loaded: Vec<(u64, ObjectNumber)> = (0..)
            .map(ObjectNumber)
            .zip(&self.slots)
            .filter(|(_, slot)| matches!(slot.content, Content::Loaded(_)))
            .map(|(number, _)| (kernel.object(number.0).map_or(0, |table| table.used_ns), number))
            .collect();
        loaded.sort_unstable();
        loaded
    }

    /// Takes a table out of the kernel; gives its pages.
    fn evict(&mut self, number: ObjectNumber, kernel: &impl KernelSide) -> u32 {
        let Content::Loaded(run) = self.slots[number.index()].content else { return 0 };
        self.set(number, ObjectTable::default(), kernel);
        self.slots[number.index()].content = Content::Unrequested;
        self.pages.release(run);
        self.counts.evicted += 1;
        run.count
    }

    /// Forgets an object that nobody uses; gives its number.
    fn forget_unused(&mut self, kernel: &impl KernelSide) -> Option<ObjectNumber> {
        let unused = |slot: &Slot| slot.users == 0 && slot.content != Content::Requested;
        let index = self.slots.iter().position(unused)?;
        let number = ObjectNumber(u32::try_from(index).ok()?);
        self.evict(number, kernel);
        if let Some(id) = self.slots[index].id.take() {
            self.numbers.remove(&id);
        }
        Some(number)
    }
}

// === impl ObjectNumber ===

impl ObjectNumber {
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests;
