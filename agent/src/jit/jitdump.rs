//! Jitdump files: what a runtime wrote about its generated code, record by record.
//!
//! In: bytes of the file, as they come. Out: [`Record`]s. The code itself, and what is said about
//! unwinding, is skipped without being read. Pure.

use super::record::{MAX_PIECE_BYTES, Parsed, Record, Row, Rows};

/// Reads a jitdump file piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jitdump {
    header: Option<Header>,
}

/// What the head of the file says.
#[derive(Clone, Copy, Debug)]
struct Header {
    /// Times are the processor's, which cannot be compared with anything here.
    foreign_clock: bool,
}

/// "JiTD", in the byte order of who wrote it. No host runs programs of another byte order.
const MAGIC: u32 = 0x4a69_5444;

/// Shortest header: magic, version, size, machine, padding, pid, time, flags.
const HEADER_BYTES: usize = 40;

/// Longest header. Later versions may be longer than ours.
const MAX_HEADER_BYTES: u32 = 4096;

/// The flag for times of the processor's clock.
const FOREIGN_CLOCK: u64 = 1;

/// Head of every record: kind, size with the head, time.
const HEAD_BYTES: usize = 16;

const LOAD: u32 = 0;
const MOVE: u32 = 1;
const DEBUG_INFO: u32 = 2;

/// A load's numbers: pid, tid, virtual address, address, size, number.
const LOAD_BYTES: usize = 40;

/// Most bytes of a load looked at for the end of its name.
const MAX_LOAD_BYTES: usize = 16 << 10;

/// Longest table of lines that is read, bytes; of a function with a longer one there are none.
const MAX_LINES_BYTES: u64 = 512 << 10;

const _: () = assert!(MAX_LINES_BYTES < MAX_PIECE_BYTES as u64);

/// Instead of a file's name: the same as the row before.
const SAME_FILE: &[u8] = b"\xff";

// === impl Jitdump ===

impl Jitdump {
    /// Hands out the whole records at the beginning of `bytes`, which are followed in the file by so
    /// many that `available` is the number of all. What is left over has to come again.
    pub(super) fn parse(
        &mut self,
        bytes: &[u8],
        available: u64,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Parsed {
        let mut parsed = Parsed::default();
        let header = match self.header {
            Some(header) => header,
            None => match header(bytes) {
                Some(Ok((header, size))) => {
                    parsed.consumed = size;
                    self.header = Some(header);
                    header
                }
                Some(Err(NotAJitdump)) => return Parsed { malformed: 1, damaged: true, ..parsed },
                None => return parsed,
            },
        };
        loop {
            let rest = usize::try_from(parsed.consumed).ok().and_then(|at| bytes.get(at..));
            let Some(rest) = rest else { return parsed };
            let Some((kind, size, time_ns)) = head(rest) else { return parsed };
            let size = u64::from(size);
            if size < HEAD_BYTES as u64 {
                // Where the next one begins is anybody's guess.
                return Parsed { malformed: parsed.malformed + 1, damaged: true, ..parsed };
            }
            // The writer is not done with it.
            if size > available.saturating_sub(parsed.consumed) {
                return parsed;
            }
            let needed = match kind {
                LOAD => size.min(MAX_LOAD_BYTES as u64),
                DEBUG_INFO if size <= MAX_LINES_BYTES => size,
                _ => size.min((HEAD_BYTES + LOAD_BYTES + 8) as u64),
            };
            let Some(record) = rest.get(..usize::try_from(needed).unwrap_or(usize::MAX)) else {
                return parsed;
            };
            let time_ns = if header.foreign_clock { 0 } else { time_ns };
            let body = &record[HEAD_BYTES..];
            let read = match kind {
                LOAD => load(body, time_ns).map(Some),
                MOVE => moved(body, time_ns).map(Some),
                DEBUG_INFO if size > MAX_LINES_BYTES => None,
                DEBUG_INFO => lines(body).map(Some),
                // The end, unwinding, and what later versions add.
                _ => Some(None),
            };
            match read {
                Some(Some(record)) => sink(record),
                Some(None) => {}
                None => parsed.malformed += 1,
            }
            parsed.consumed += size;
        }
    }
}

/// The file is something else.
struct NotAJitdump;

/// The file's header and its size; `None` when there is too little to tell.
fn header(bytes: &[u8]) -> Option<Result<(Header, u64), NotAJitdump>> {
    let (magic, rest) = u32_of(bytes)?;
    let (version, rest) = u32_of(rest)?;
    let (size, _) = u32_of(rest)?;
    let is_known = magic == MAGIC && version == 1;
    if !is_known || (size as usize) < HEADER_BYTES || size > MAX_HEADER_BYTES {
        return Some(Err(NotAJitdump));
    }
    let header = bytes.get(..size as usize)?;
    let (flags, _) = u64_of(header.get(32..)?)?;
    let foreign_clock = flags & FOREIGN_CLOCK != 0;
    Some(Ok((Header { foreign_clock }, size.into())))
}

/// Kind, size and time of a record.
fn head(bytes: &[u8]) -> Option<(u32, u32, u64)> {
    let (kind, rest) = u32_of(bytes)?;
    let (size, rest) = u32_of(rest)?;
    let (time_ns, _) = u64_of(rest)?;
    Some((kind, size, time_ns))
}

fn load(body: &[u8], time_ns: u64) -> Option<Record<'_>> {
    let (start, rest) = u64_of(body.get(16..)?)?;
    let (size, rest) = u64_of(rest)?;
    let name = rest.get(8..)?;
    let name = name[..name.iter().position(|byte| *byte == 0)?].trim_ascii();
    (size > 0 && !name.is_empty()).then_some(Record::Load { start, size, name, time_ns })
}

fn moved(body: &[u8], time_ns: u64) -> Option<Record<'_>> {
    let (from, rest) = u64_of(body.get(16..)?)?;
    let (to, rest) = u64_of(rest)?;
    let (size, _) = u64_of(rest)?;
    (size > 0).then_some(Record::Move { from, to, size, time_ns })
}

/// All rows that were announced have to be there, and each has to be of this function and of a file
/// that can be one: Node 20 writes pieces of its memory instead of names, and rows out of step.
fn lines(body: &[u8]) -> Option<Record<'_>> {
    let (start, rest) = u64_of(body)?;
    let (left, bytes) = u64_of(rest)?;
    let rows = Rows { bytes, left, file: b"" };
    let is_sound = |row: Row<'_>| {
        let offset = row.address.checked_sub(start).is_some_and(|o| u32::try_from(o).is_ok());
        let file = std::str::from_utf8(row.file);
        offset && file.is_ok_and(|file| !file.chars().any(char::is_control))
    };
    let sound = rows.take_while(|row| is_sound(*row)).count() as u64;
    (sound == left).then_some(Record::Lines { start, rows })
}

// === impl Rows ===

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (address, rest) = u64_of(self.bytes)?;
        let (line, rest) = u32_of(rest)?;
        let name = rest.get(4..)?;
        let end = name.iter().position(|byte| *byte == 0)?;
        self.bytes = &name[end + 1..];
        if &name[..end] != SAME_FILE {
            self.file = &name[..end];
        }
        // Negative ones are nobody's.
        let line = i32::try_from(line).map_or(0, i32::unsigned_abs);
        Some(Row { address, line, file: self.file })
    }
}

fn u32_of(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (value, rest) = bytes.split_first_chunk()?;
    Some((u32::from_ne_bytes(*value), rest))
}

fn u64_of(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (value, rest) = bytes.split_first_chunk()?;
    Some((u64::from_ne_bytes(*value), rest))
}

#[cfg(test)]
mod tests;
