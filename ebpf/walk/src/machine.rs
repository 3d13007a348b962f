// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! What the walk asks of its surroundings.

use core::ops::Deref;

use fleetprof_abi::{ObjectTable, PAGE_WORDS, Rule};

/// What is known about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Code with a table: the position in its file.
    Table(u64),
    /// Code whose table is not there yet.
    Missing,
    /// Code without a table: generated, or of a file that has no unwind information.
    Unknown,
    /// There is no code.
    Nowhere,
}

/// A thread's memory, and what is known about its code.
pub trait Machine {
    /// A page of tables.
    type Page: Deref<Target = [u32; PAGE_WORDS]>;

    /// What is at `address`. The table of a [`Place::Table`] is the current one until the next call.
    fn find(&mut self, address: u64) -> Place;

    /// The current table.
    fn table(&self) -> &ObjectTable;

    /// A page of tables; `None` when it is not there.
    fn page(&mut self, page: u32) -> Option<Self::Page>;

    /// The rule for a position of the current table, if it is remembered.
    #[inline(always)]
    fn remembered(&mut self, _position: u64) -> Option<Rule> {
        None
    }

    /// Remembers a rule of the current table.
    #[inline(always)]
    fn remember(&mut self, _position: u64, _rule: &Rule) {}

    /// The same number. The kernel's verifier follows what a number can be, and so would look at
    /// each turn of a search apart, unless it has to forget.
    fn forget(&mut self, number: u32) -> u32 {
        number
    }

    /// The 8 bytes of the thread's memory at `address`; `None` when they cannot be read.
    fn read(&mut self, address: u64) -> Option<u64>;

    /// Takes a frame of the stack; `false` when there is no room for it.
    fn push(&mut self, frame: u64) -> bool;
}
