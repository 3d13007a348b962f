//! The walk along a copied stack: the same steps as in the kernel, with a copy for its memory.
//!
//! In: the copy, what the process mapped, the tables in the kernel. Out: the frames, or the object
//! whose table has to be there first. Nothing is waited for here.

use std::sync::Arc;

use fleetprof_abi::{
    Architecture, MAX_STACK_BYTES, MAX_USER_FRAMES, ObjectState, ObjectTable, RED_ZONE_BYTES,
    ResultCode,
};
use fleetprof_walk::{Machine, Place, Step, step};
use rustc_hash::FxHashMap;

use super::{
    arena::Run,
    kernel::KernelSide,
    objects::{ObjectNumber, Objects},
    processes::{bias_of, number_of},
};
use crate::{
    process::Bound,
    sampler::{CopiedStack, TablePage},
};

/// How a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// All frames there are.
    Done(ResultCode),
    /// It goes on when this object has its table. The caller is one of the object's users. The frame
    /// it stands at was not handed out.
    Missing(ObjectNumber, u64),
}

/// Pages of tables that were read from the kernel lately.
#[derive(Default)]
pub(super) struct PageCache {
    pages: FxHashMap<u32, Arc<TablePage>>,
}

/// A copied stack and what is known of its code.
struct Copy<'a, K> {
    bound: &'a Bound,
    objects: &'a mut Objects,
    kernel: &'a K,
    cache: &'a mut PageCache,
    /// Address of the first word.
    base: u64,
    words: &'a [u64],
    frames: &'a mut Vec<u64>,
    /// The current mapping: its range, bias and object.
    current: Option<(u64, u64, u64, Option<ObjectNumber>)>,
    table: ObjectTable,
    /// The walk asked for memory behind the end of the copy.
    beyond: bool,
}

/// Most pages kept: 1 MiB.
const MAX_PAGES: usize = 256;

/// Frames of other languages' runtimes are bounded by `MAX_USER_FRAMES`; a walk that adds none to
/// them and does not end is a defect, and ends here.
const MAX_STEPS: usize = 2 * MAX_USER_FRAMES;

// === impl PageCache ===

impl PageCache {
    /// Forgets pages that were written.
    pub(super) fn forget(&mut self, run: Run) {
        if !self.pages.is_empty() {
            (run.first..run.first + run.count).for_each(|page| {
                self.pages.remove(&page);
            });
        }
    }

    /// Memory it holds, bytes.
    pub(super) fn approx_bytes(&self) -> usize {
        self.pages.len() * size_of::<TablePage>()
    }

    fn get(&mut self, page: u32, kernel: &impl KernelSide) -> Option<Arc<TablePage>> {
        if let Some(words) = self.pages.get(&page) {
            return Some(Arc::clone(words));
        }
        if self.pages.len() >= MAX_PAGES {
            self.pages.clear();
        }
        let words: Arc<TablePage> = kernel.read_page(page)?.into();
        self.pages.insert(page, Arc::clone(&words));
        Some(words)
    }
}

/// Walks on from where the kernel stopped; frames are added to `frames`.
pub(super) fn walk(
    copied: &CopiedStack<'_>,
    bound: &Bound,
    objects: &mut Objects,
    kernel: &impl KernelSide,
    cache: &mut PageCache,
    frames: &mut Vec<u64>,
) -> Walked {
    let mut walk = copied.walk();
    let stack = walk.registers[usize::from(Architecture::HOST.stack_pointer())];
    let base = stack.wrapping_sub(RED_ZONE_BYTES as u64);
    let mut machine = Copy {
        bound,
        objects,
        kernel,
        cache,
        base,
        words: copied.words,
        frames,
        current: None,
        table: ObjectTable::default(),
        beyond: false,
    };
    let mut walked = Walked::Done(ResultCode::UserTruncated);
    for _ in 0..MAX_STEPS {
        match step(Architecture::HOST, &mut walk, &mut machine) {
            Step::Caller => {}
            Step::End(code) => {
                walked = Walked::Done(machine.reason(code));
                break;
            }
            Step::Missing => {
                walked = match machine.current.take() {
                    Some((_, _, _, Some(number))) => Walked::Missing(number, walk.frame()),
                    _ => Walked::Done(ResultCode::NoUnwindInfo),
                };
                break;
            }
        }
    }
    machine.leave();
    walked
}

// === impl Copy ===

impl<K: KernelSide> Copy<'_, K> {
    /// Why the walk really ended: what was not copied is not the same as what is not there.
    fn reason(&self, code: ResultCode) -> ResultCode {
        let cut = matches!(code, ResultCode::UserUnreadable | ResultCode::RegisterLost);
        if cut && self.beyond { ResultCode::CopyTooShort } else { code }
    }

    /// The current mapping is no more.
    fn leave(&mut self) {
        if let Some((_, _, _, Some(number))) = self.current.take() {
            self.objects.release(number);
        }
    }

    fn enter(&mut self, address: u64) -> bool {
        self.leave();
        let Some(mapping) = self.bound.mapping(address) else { return false };
        let object = self.bound.object(mapping);
        let number = number_of(mapping, &object, self.objects, self.kernel);
        self.current = Some((mapping.start, mapping.end, bias_of(mapping, &object), number));
        self.table = match number {
            Some(number) if self.objects.state(number) == ObjectState::Ready => {
                self.kernel.object(number.0).unwrap_or_default()
            }
            _ => ObjectTable::default(),
        };
        true
    }
}

impl<K: KernelSide> Machine for Copy<'_, K> {
    type Page = Arc<TablePage>;

    fn find(&mut self, address: u64) -> Place {
        let inside = |(start, end, ..): &(u64, u64, u64, Option<ObjectNumber>)| {
            (*start..*end).contains(&address)
        };
        if !self.current.as_ref().is_some_and(inside) && !self.enter(address) {
            return Place::Nowhere;
        }
        match self.current {
            Some((_, _, bias, Some(number))) => match self.objects.state(number) {
                ObjectState::Ready => Place::Table(address.wrapping_sub(bias)),
                ObjectState::Missing => Place::Missing,
                ObjectState::Failed => Place::Unknown,
            },
            _ => Place::Unknown,
        }
    }

    fn table(&self) -> &ObjectTable {
        &self.table
    }

    fn page(&mut self, page: u32) -> Option<Self::Page> {
        self.cache.get(page, self.kernel)
    }

    fn read(&mut self, address: u64) -> Option<u64> {
        let Some(offset) = address.checked_sub(self.base) else {
            // On another stack: Go's runtime works on one of its own.
            self.beyond = true;
            return None;
        };
        let end = 8 * self.words.len() as u64;
        if offset.checked_add(8)? > end {
            // A shorter copy ends where the stack does.
            let is_full = end + 4096 > MAX_STACK_BYTES as u64;
            self.beyond |= is_full;
            return None;
        }
        let index = usize::try_from(offset / 8).ok()?;
        let shift = (offset % 8) * 8;
        let low = *self.words.get(index)?;
        if shift == 0 {
            return Some(low);
        }
        let high = *self.words.get(index + 1)?;
        Some((low >> shift) | (high << (64 - shift)))
    }

    fn push(&mut self, frame: u64) -> bool {
        if self.frames.len() >= MAX_USER_FRAMES {
            return false;
        }
        self.frames.push(frame);
        true
    }
}
