//! The way for fuzzers to what comes from a worker process, to conversions and tables, and to the section
//! table of an object.

use std::io::Cursor;

use fleetprof_proto::symbol::Symbol;
use fleetprof_symtab::{Inputs, Table, convert};

use crate::{
    go::GoFunctions,
    sections::Sections,
    wire::{Hello, Question, Reply, WireConversion, Work, receive, send},
};

/// Most answers that are asked for: a reply says how many it has.
const MAX_ANSWERS: usize = 1024;

/// Reads any bytes as each of the messages between a pool and its workers.
///
/// # Panics
/// When symbols do not survive being sent again.
pub fn wire(bytes: &[u8]) {
    if let Ok(Some(Hello { work: Some(Work::Symbolize(options)), .. })) =
        receive::<Hello>(&mut Cursor::new(bytes))
    {
        let _options = options.into_options();
    }
    if let Ok(Some(question)) = receive::<Question>(&mut Cursor::new(bytes)) {
        let again = Question::new(&question.source(), question.depth(), &question.addresses);
        assert_eq!(again, question);
    }
    if let Ok(Some(conversion)) = receive::<WireConversion>(&mut Cursor::new(bytes)) {
        let conversion = conversion.into_conversion();
        assert_eq!(WireConversion::new(&conversion).into_conversion(), conversion);
    }
    let Ok(Some(reply)) = receive::<Reply>(&mut Cursor::new(bytes)) else { return };
    let count = reply.answers().min(MAX_ANSWERS);
    let Some(symbols) = reply.into_symbols(count) else { return };
    assert_eq!(symbols.len(), count);
    let mut sent = Vec::new();
    if send(&mut sent, &Reply::new(&symbols)).is_ok() {
        let again: Option<Vec<Symbol>> = match receive::<Reply>(&mut Cursor::new(&sent)) {
            Ok(Some(reply)) => reply.into_symbols(count),
            _ => None,
        };
        assert_eq!(again.as_ref(), Some(&symbols));
    }
}

/// Converts any bytes, as an object and all its companions, and as a Go program.
///
/// # Panics
/// When a table that was made cannot be read.
pub fn conversion(bytes: &[u8]) {
    fleetprof_symtab::fuzz_convert(bytes);
    let Some(mut go) = GoFunctions::of(bytes) else { return };
    let inputs = Inputs { binary: Some(bytes), others: vec![&mut go], ..Inputs::default() };
    let Ok(converted) = convert(inputs, fleetprof_symtab::fuzz_limits()) else { return };
    let table = Table::open(converted.table).expect("a table that was just made");
    table.verify().expect("its checksums");
    table.for_each_row(|_, frames| drop(frames.to_vec())).expect("its rows");
}

/// Reads any bytes as a symbol table.
pub fn table(bytes: &[u8]) {
    fleetprof_symtab::fuzz_table(bytes);
}

/// Reads any bytes as an object's section table.
///
/// # Panics
/// When an address is not in its own section.
pub fn sections(bytes: &[u8]) {
    let Ok(sections) = Sections::of(bytes) else { return };
    let _claimed = sections.decompressed_bytes();
    for address in [0, 0x1000, u64::MAX] {
        let same = sections.same(address, address);
        // One that is in no section at all is not in the same one as itself.
        assert!(same || !sections.same(address, address.wrapping_add(1)));
    }
}
