//! The way for fuzzers to the texts of `/proc/PID`.

use std::sync::Arc;

use super::{
    mapping::{Mapping, MappingSet, Region},
    parse::{self, MapsLine},
    procfs::{environ, maps_lines},
    table::TableConfig,
};
use crate::fuzz::Pieces;

/// Shorter than the real buffer, so that lines cross its end.
const BUFFER_BYTES: usize = 256;

/// Lines that are made mappings: each is compared with all.
const MAX_MAPPINGS: usize = 256;

/// Reads any bytes as each of the texts.
///
/// # Panics
/// When a text read in pieces is another than the whole, or mappings do not lie as they were told.
pub fn texts(bytes: &[u8]) {
    // Names may be anything: they only have to be survived.
    let _stat = parse::stat(bytes);
    let _status = parse::status(bytes);
    let lines: Vec<MapsLine<'_>> = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => {
            bytes[..end].split(|byte| *byte == b'\n').filter_map(parse::maps_line).collect()
        }
        None => Vec::new(),
    };
    maps_in_pieces(bytes, &lines);
    mappings(&lines);
    environment(bytes);
}

fn maps_in_pieces(bytes: &[u8], expected: &[MapsLine<'_>]) {
    // What the process chose decides how it is cut, too.
    let piece = 1 + usize::from(bytes.len() as u8);
    let mut lines = expected.iter();
    let mut is_same = true;
    let mut take = |line: &MapsLine<'_>| is_same &= lines.next() == Some(line);
    let count = maps_lines(&mut Pieces::new(bytes, piece), &mut [0; BUFFER_BYTES], &mut take);
    assert!(is_same, "lines in pieces are other lines");
    // A line that does not fit ends the reading.
    if bytes.split(|byte| *byte == b'\n').all(|line| line.len() < BUFFER_BYTES) {
        assert_eq!(count.ok(), Some(expected.len()));
    }
}

/// Later mappings replace what they overlap.
fn mappings(lines: &[MapsLine<'_>]) {
    let lines = &lines[..lines.len().min(MAX_MAPPINGS)];
    let mut set = MappingSet::default();
    for line in lines {
        let path: Arc<[u8]> = parse::mapped_path(line.path).into();
        let region = Region::of(&path, line.file);
        assert!(set.insert(Mapping::new(line.start, line.end, line.file_offset, path, region)));
    }
    let ranges: Vec<(u64, u64)> = set.iter().map(|mapping| (mapping.start, mapping.end)).collect();
    assert!(ranges.iter().all(|(start, end)| start < end), "{ranges:x?}");
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:x?}");
    for address in lines.iter().flat_map(|line| [line.start.wrapping_sub(1), line.start, line.end])
    {
        let holds = |line: &&MapsLine<'_>| (line.start..line.end).contains(&address);
        // Address and offset differ by the same number all over a mapping, also where it was cut.
        let expected = lines.iter().rev().find(holds).map(|l| l.file_offset.wrapping_sub(l.start));
        let found = set.find(address, 0).map(|m| m.file_offset.wrapping_sub(m.start));
        assert_eq!(found, expected, "{address:x} {lines:x?}");
    }
}

fn environment(bytes: &[u8]) {
    let names = TableConfig::default().environ_names;
    let values = environ(bytes, names).unwrap_or_default();
    for name in names {
        let prefix = [name.as_bytes(), b"="].concat();
        let is_set = bytes.split(|byte| *byte == 0).any(|entry| entry.starts_with(&prefix));
        assert_eq!(values.iter().filter(|(known, _)| known == name).count(), usize::from(is_set));
    }
}
