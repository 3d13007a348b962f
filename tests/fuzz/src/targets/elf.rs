//! Binaries of other people.

use std::{io::Cursor, rc::Rc};

use fleetprof_abi::{GRANULE_SHIFT, Rule};
use fleetprof_gopclntab::FunctionTable;
use fleetprof_proto::ids::{
    BuildIdKind,
    elf_identity::{NoteIds, build_id, htlhash},
};
use fleetprof_replay::machine::Table;
use fleetprof_symbolizer::{fuzz::sections, identity::identify_bytes};
use fleetprof_unwind::{DebugLink, UnwindTable, fuzz_one};

/// Positions of a table that are looked up.
const LOOKUPS: u64 = 128;

/// Ranges of stack depths that are looked at in an input.
const MAX_RANGES: usize = 1 << 16;

/// A binary, and a table on a disk: what the kernel side finds in a table is what is in it.
pub(crate) fn unwind_table(bytes: &[u8]) {
    if let Some(link) = DebugLink::of(&bytes) {
        assert!(!link.name.is_empty() && !link.name.contains(&b'/') && !link.name.contains(&0));
    }
    for table in fuzz_one(bytes) {
        kernel_finds_the_same(&table);
    }
}

fn kernel_finds_the_same(table: &UnwindTable) {
    let descriptor = table.descriptor();
    let walked = Rc::new(Table { descriptor, words: table.words().to_vec() });
    let first = u64::from(descriptor.first_granule) << GRANULE_SHIFT;
    let bytes = u64::from(descriptor.granules) << GRANULE_SHIFT;
    let inside = (0..LOOKUPS).map(|number| first + bytes * number / LOOKUPS + number);
    for position in
        inside.chain([first.wrapping_sub(1), (first + bytes).wrapping_sub(1), first + bytes])
    {
        let found: Option<Rule> = walked.rule(position);
        assert_eq!(found, table.lookup(position), "at {position:#x}");
    }
}

/// Go's function table, as a section has it: functions have code, and ranges fill it from its entry on.
pub(crate) fn go_functions(bytes: &[u8]) {
    let Ok(table) = FunctionTable::parse(bytes) else { return };
    let _text = table.text_start();
    // Functions may share the bytes of their values: so much is enough of all.
    let mut budget = MAX_RANGES;
    for (number, function) in table.functions() {
        assert!(function.start < function.end);
        let again = table.functions().get(number).expect("what is listed can be looked up");
        assert_eq!((again.start, again.end), (function.start, function.end));
        assert!(function.name().is_none_or(|name| !name.contains('\0')));
        let _flags =
            (function.is_top_frame(), function.writes_stack_pointer(), function.is_assembly());
        let mut end = 0;
        for range in function.stack_deltas().take(budget) {
            assert!(range.start == end && range.end > end, "{range:?} after {end}");
            end = range.end;
            budget -= 1;
        }
        assert!(end <= function.end - function.start);
    }
}

/// Which parts of a binary are uploaded.
pub(crate) fn outline(bytes: &[u8]) {
    fleetprof_agent::object::fuzz::outline(bytes);
}

/// Which binary it is: the agent, and the collector that gets it, have to agree.
pub(crate) fn identity(bytes: &[u8]) {
    let hash = htlhash(Cursor::new(bytes)).expect("memory can be read");
    let seen_by_agent = build_id(Cursor::new(bytes));
    if let Ok(id) = &seen_by_agent {
        assert!(id.kind() != BuildIdKind::Htl || *id == hash);
    }
    if let Ok(identity) = identify_bytes(bytes) {
        assert!(seen_by_agent.is_ok(), "only the collector takes it for ELF");
        assert_eq!(identity.htlhash, hash);
        assert!(identity.is(identity.build_id()));
    }
    let notes = NoteIds::of_notes(bytes);
    assert!(notes.gnu.is_none_or(|id| id.kind() == BuildIdKind::Gnu));
    sections(bytes);
}
