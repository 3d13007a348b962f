//! Recorded stacks (`tests/replay/cases`) in the forms of the targets.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use fleetprof_abi::{Architecture, RED_ZONE_BYTES, Rule};
use fleetprof_replay::{
    case::{Case, CodeRange},
    machine::Table,
    table_of_rows::table,
};

use crate::Seeds;

/// Longer ones are left out: a fuzzer changes one place at a time.
const MAX_BYTES: usize = 6 << 10;

/// Words of a stack.
const MAX_WORDS: u64 = 512;

/// Walk of `fleetprof_walk`, in words.
const WALK_WORDS: usize = 36;

/// As records of samples, with the stack copied.
pub(crate) fn samples() -> Result<Seeds> {
    let mut seeds = Seeds::new();
    for (name, case) in cases()? {
        if case.architecture != Architecture::HOST {
            continue;
        }
        let bytes = sample(&case);
        if bytes.len() <= MAX_BYTES {
            seeds.push((name, bytes));
        }
    }
    Ok(seeds)
}

/// As what the walk has around it.
pub(crate) fn walks() -> Result<Seeds> {
    let all = cases()?.into_iter().map(|(name, case)| (name, walk(&case)));
    Ok(all.filter(|(_, bytes)| bytes.len() <= MAX_BYTES).collect())
}

fn cases() -> Result<Vec<(String, Case)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../replay/cases");
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let case = Case::read(&fs::read_to_string(entry.path())?)?;
        cases.push((entry.file_name().to_string_lossy().into_owned(), case));
    }
    cases.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(cases)
}

/// The files' tables by name.
fn tables(case: &Case) -> BTreeMap<&str, Table> {
    let mut rows: BTreeMap<&str, Vec<(u64, Rule)>> = BTreeMap::new();
    for ((name, position), rule) in &case.rows {
        rows.entry(name).or_default().push((*position, *rule));
    }
    rows.into_iter().map(|(name, rows)| (name, table(&rows))).collect()
}

fn put_table(bytes: &mut Vec<u8>, table: &Table) {
    let descriptor = &table.descriptor;
    bytes.push(descriptor.first_page as u8);
    for number in [descriptor.first_granule, descriptor.granules, descriptor.index, descriptor.rows]
    {
        bytes.extend(number.to_le_bytes());
    }
    // Pages are filled up with zeros by whoever reads this.
    let used = table.words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    bytes.extend((used as u16).to_le_bytes());
    bytes.extend(table.words[..used].iter().flat_map(|word| word.to_le_bytes()));
}

/// The words of memory from an address on, those that are not known as zero.
fn memory(case: &Case, start: u64) -> Vec<u64> {
    let last = case.stack.keys().next_back().map_or(start, |address| address + 8);
    let words = (last.saturating_sub(start) / 8).min(MAX_WORDS);
    let at = |word| case.stack.get(&(start + 8 * word)).copied().unwrap_or(0);
    (0..words).map(at).collect()
}

fn stack_pointer(case: &Case) -> u64 {
    let number = case.architecture.stack_pointer();
    let found = case.registers.iter().find(|(register, _)| *register == number);
    found.map_or(0, |(_, value)| *value)
}

fn walk(case: &Case) -> Vec<u8> {
    let tables = tables(case);
    let names: Vec<&str> = tables.keys().take(3).copied().collect();
    let mut bytes = vec![names.len() as u8];
    names.iter().for_each(|name| put_table(&mut bytes, &tables[name]));
    let code: Vec<&(String, CodeRange)> = case.code.iter().take(7).collect();
    bytes.push(code.len() as u8);
    for (name, CodeRange { start, end, bias }) in code {
        bytes.extend(start.to_le_bytes());
        bytes.extend(((end - start) as u32).to_le_bytes());
        bytes.extend(bias.to_le_bytes());
        let table = names.iter().position(|known| known == name);
        bytes.push(table.map_or(u8::MAX, |number| number as u8));
    }
    bytes.extend(case.ip.to_le_bytes());
    bytes.push(case.registers.len() as u8);
    for (number, value) in &case.registers {
        bytes.push(*number);
        bytes.extend(value.to_le_bytes());
    }
    let stack = stack_pointer(case).saturating_sub(RED_ZONE_BYTES as u64);
    bytes.extend(stack.to_le_bytes());
    bytes.extend(memory(case, stack).iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

fn sample(case: &Case) -> Vec<u8> {
    // One table: that of the interrupted code.
    let tables = tables(case);
    let code = case.code.iter().find(|(_, code)| (code.start..code.end).contains(&case.ip));
    let ours = code.map_or("", |(name, _)| name);
    let mappings: Vec<&(String, CodeRange)> = case.code.iter().take(7).collect();
    let mut bytes = vec![mappings.len() as u8];
    for (name, CodeRange { start, end, bias }) in mappings {
        bytes.extend(start.to_le_bytes());
        bytes.extend(((end - start) as u32).to_le_bytes());
        bytes.extend((start.wrapping_sub(*bias) as u32).to_le_bytes());
        // The first byte of its build ID: it has a table, or will never have one.
        bytes.push(if name == ours { 4 } else { 7 });
    }
    match tables.get(ours) {
        Some(table) => put_table(&mut bytes, table),
        None => bytes.extend([0; 19]),
    }
    bytes.extend(record(case).iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

/// See `fleetprof_abi::SampleHeader`: two kernel frames, one user frame, then the copy.
fn record(case: &Case) -> Vec<u64> {
    let halves = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    let stack = memory(case, stack_pointer(case).saturating_sub(RED_ZONE_BYTES as u64));
    let mut words = vec![1, 52_631_578, 2, 3, halves(70, 71), halves(0, 12), halves(2, 1)];
    words.extend([u64::from_le_bytes(*b"program\0"), 0, 4, halves(8 * stack.len() as u32, 0)]);
    words.extend([0xffff_ffff_8100_0010, 0xffff_ffff_8100_0020, case.ip]);
    let mut walk = vec![0; WALK_WORDS];
    let mut known = 0_u32;
    for (number, value) in &case.registers {
        if let Some(register) = walk.get_mut(usize::from(*number)) {
            *register = *value;
            known |= 1_u32.checked_shl((*number).into()).unwrap_or(0);
        }
    }
    // Behind the registers: the instruction, which registers are known, that it was interrupted.
    let after = [case.ip, halves(known, 0), halves(1, 0)];
    walk[32..35].copy_from_slice(&after);
    words.extend(walk);
    words.extend(stack);
    words
}
