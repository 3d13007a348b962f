//! `perf.data`: registers and stack bytes of each sample, and what was mapped at that moment.
//!
//! The format is that of `tools/perf/Documentation/perf.data-file-format.txt` and
//! `perf_event_open(2)`, as `perf record` writes it into a file on x86-64. Numbers out of range are
//! an error: the file is this test's own.

use std::{collections::HashMap, rc::Rc};

use anyhow::{Context as _, Result, bail, ensure};

use crate::capture::{Mapping, Memory, map_over};

/// A sample in user mode.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its thread.
    pub tid: u32,
    /// When, nanoseconds of perf's clock.
    pub time: u64,
    /// Registers by DWARF number.
    pub registers: Vec<(u8, u64)>,
    /// Address of the instruction.
    pub ip: u64,
    /// The stack from the stack pointer on.
    pub stack: Memory,
    /// Code that the process had mapped.
    pub mappings: Rc<[Mapping]>,
}

const MAGIC: &[u8] = b"PERFILE2";

const RECORD_COMM: u32 = 3;
const RECORD_FORK: u32 = 7;
const RECORD_SAMPLE: u32 = 9;
const RECORD_MMAP2: u32 = 10;
const MISC_COMM_EXEC: u16 = 1 << 13;

const SAMPLE_IP: u64 = 1 << 0;
const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_TIME: u64 = 1 << 2;
const SAMPLE_ADDR: u64 = 1 << 3;
const SAMPLE_CALLCHAIN: u64 = 1 << 5;
const SAMPLE_ID: u64 = 1 << 6;
const SAMPLE_CPU: u64 = 1 << 7;
const SAMPLE_PERIOD: u64 = 1 << 8;
const SAMPLE_STREAM_ID: u64 = 1 << 9;
const SAMPLE_REGS_USER: u64 = 1 << 12;
const SAMPLE_STACK_USER: u64 = 1 << 13;
/// Behind what is read here.
const SAMPLE_DATA_SRC: u64 = 1 << 15;
const SAMPLE_IDENTIFIER: u64 = 1 << 16;
const SAMPLE_KNOWN: u64 = SAMPLE_IP
    | SAMPLE_TID
    | SAMPLE_TIME
    | SAMPLE_ADDR
    | SAMPLE_CALLCHAIN
    | SAMPLE_ID
    | SAMPLE_CPU
    | SAMPLE_PERIOD
    | SAMPLE_STREAM_ID
    | SAMPLE_REGS_USER
    | SAMPLE_STACK_USER
    | SAMPLE_DATA_SRC
    | SAMPLE_IDENTIFIER;

/// DWARF numbers of the kernel's registers (`asm/perf_regs.h`), by number there.
const DWARF: [Option<u8>; 24] = [
    Some(0),
    Some(3),
    Some(2),
    Some(1),
    Some(4),
    Some(5),
    Some(6),
    Some(7),
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    Some(8),
    Some(9),
    Some(10),
    Some(11),
    Some(12),
    Some(13),
    Some(14),
    Some(15),
];
const REGISTER_IP: usize = 8;
const STACK_POINTER: u8 = 7;

/// What the first event asked for.
struct Attributes {
    sample_type: u64,
    registers: u64,
}

struct Record<'a> {
    kind: u32,
    misc: u16,
    time: u64,
    body: &'a [u8],
}

struct Reader<'a>(&'a [u8]);

/// All samples of a file, by time.
///
/// # Errors
/// When the file is not as `perf record --call-graph dwarf` writes it.
pub fn read(file: &[u8]) -> Result<Vec<Sample>> {
    ensure!(file.starts_with(MAGIC), "not a file of perf record");
    let header = |number: usize| number_at(file, 8 * number);
    let attributes = Attributes::read(part(file, header(3)?, header(4)?)?)?;
    let records = records(part(file, header(5)?, header(6)?)?, &attributes)?;
    let mut processes: HashMap<u32, Vec<Mapping>> = HashMap::new();
    let mut samples = Vec::new();
    for record in records {
        let mut body = Reader(record.body);
        match record.kind {
            RECORD_MMAP2 => {
                let (pid, mapping) = mapping(&mut body)?;
                map_over(processes.entry(pid).or_default(), mapping);
            }
            RECORD_FORK => {
                let (pid, parent) = (body.u32()?, body.u32()?);
                if pid != parent {
                    let mappings = processes.get(&parent).cloned().unwrap_or_default();
                    processes.insert(pid, mappings);
                }
            }
            RECORD_COMM if record.misc & MISC_COMM_EXEC != 0 => {
                processes.remove(&body.u32()?);
            }
            RECORD_SAMPLE => samples.extend(attributes.sample(&mut body, &processes)?),
            _ => {}
        }
    }
    Ok(samples)
}

/// Records by time: each CPU's are in order, but not all together.
fn records<'a>(data: &'a [u8], attributes: &Attributes) -> Result<Vec<Record<'a>>> {
    let mut records = Vec::new();
    let mut rest = data;
    while rest.len() >= 8 {
        let mut head = Reader(rest);
        let (kind, misc, size) = (head.u32()?, head.u16()?, usize::from(head.u16()?));
        let body = rest.get(8..size).context("a record ends behind the data")?;
        rest = &rest[size..];
        let time = match kind {
            RECORD_SAMPLE => attributes.time_of_sample(body)?,
            RECORD_COMM | RECORD_FORK | RECORD_MMAP2 => attributes.time_of_other(body)?,
            _ => continue,
        };
        records.push(Record { kind, misc, time, body });
    }
    records.sort_by_key(|record| record.time);
    Ok(records)
}

fn mapping(body: &mut Reader<'_>) -> Result<(u32, Mapping)> {
    let (pid, _tid) = (body.u32()?, body.u32()?);
    let (start, length, position) = (body.u64()?, body.u64()?, body.u64()?);
    // Device, inode and protection, or a build ID in their place.
    body.skip(32)?;
    let end = body.0.iter().position(|byte| *byte == 0).context("a path has no end")?;
    let path = std::str::from_utf8(&body.0[..end]).context("a path is not UTF-8")?;
    let end = start.checked_add(length).context("a mapping has no end")?;
    // The kernel's own code is at the beginning of what it maps.
    let position = if path.starts_with('[') { 0 } else { position };
    Ok((pid, Mapping { start, end, position, path: path.into() }))
}

fn part(file: &[u8], offset: u64, size: u64) -> Result<&[u8]> {
    let from = usize::try_from(offset)?;
    let to = from.checked_add(usize::try_from(size)?).context("a part has no end")?;
    file.get(from..to).context("the file is cut off")
}

fn number_at(bytes: &[u8], at: usize) -> Result<u64> {
    let bytes = bytes.get(at..at + 8).context("the header is cut off")?;
    Ok(u64::from_le_bytes(bytes.try_into()?))
}

// === impl Attributes ===

impl Attributes {
    fn read(bytes: &[u8]) -> Result<Self> {
        let sample_type = number_at(bytes, 24)?;
        ensure!(sample_type & !SAMPLE_KNOWN == 0, "unknown parts of a sample: {sample_type:#x}");
        let wanted = SAMPLE_TID | SAMPLE_TIME | SAMPLE_REGS_USER | SAMPLE_STACK_USER;
        ensure!(sample_type & wanted == wanted, "not recorded with --call-graph dwarf");
        Ok(Self { sample_type, registers: number_at(bytes, 80)? })
    }

    fn has(&self, part: u64) -> bool {
        self.sample_type & part != 0
    }

    fn time_of_sample(&self, body: &[u8]) -> Result<u64> {
        let before = [SAMPLE_IDENTIFIER, SAMPLE_IP, SAMPLE_TID];
        let skipped = before.into_iter().filter(|part| self.has(*part)).count();
        number_at(body, 8 * skipped)
    }

    /// Other records have the same parts, as far as they apply, at their end.
    fn time_of_other(&self, body: &[u8]) -> Result<u64> {
        let behind = [SAMPLE_ID, SAMPLE_STREAM_ID, SAMPLE_CPU, SAMPLE_IDENTIFIER];
        let words = 1 + behind.into_iter().filter(|part| self.has(*part)).count();
        number_at(body, body.len().checked_sub(8 * words).context("a record is too short")?)
    }

    /// A sample; none when the thread had no user registers.
    fn sample(
        &self,
        body: &mut Reader<'_>,
        processes: &HashMap<u32, Vec<Mapping>>,
    ) -> Result<Option<Sample>> {
        for part in [SAMPLE_IDENTIFIER, SAMPLE_IP] {
            body.skip(if self.has(part) { 8 } else { 0 })?;
        }
        let (pid, tid, time) = (body.u32()?, body.u32()?, body.u64()?);
        let parts = [SAMPLE_ADDR, SAMPLE_ID, SAMPLE_STREAM_ID, SAMPLE_CPU, SAMPLE_PERIOD];
        for part in parts {
            body.skip(if self.has(part) { 8 } else { 0 })?;
        }
        if self.has(SAMPLE_CALLCHAIN) {
            let frames = usize::try_from(body.u64()?)?;
            body.skip(frames.saturating_mul(8))?;
        }
        if body.u64()? == 0 {
            return Ok(None);
        }
        let (mut registers, mut ip) = (Vec::new(), 0);
        for number in (0..64_usize).filter(|number| self.registers & (1 << number) != 0) {
            let value = body.u64()?;
            if number == REGISTER_IP {
                ip = value;
            }
            if let Some(dwarf) = DWARF.get(number).copied().flatten() {
                registers.push((dwarf, value));
            }
        }
        let size = usize::try_from(body.u64()?)?;
        let bytes = body.0.get(..size).context("a sample's stack is cut off")?.to_vec();
        body.skip(size)?;
        let used = if size > 0 { usize::try_from(body.u64()?)? } else { 0 };
        let base = registers.iter().find(|(number, _)| *number == STACK_POINTER);
        let Some((_, base)) = base.copied() else { bail!("samples without the stack pointer") };
        let mut stack = Memory { base, bytes };
        stack.bytes.truncate(used);
        let mappings = processes.get(&pid).map(|mappings| mappings.as_slice().into());
        let mappings = mappings.unwrap_or_else(|| Rc::from([]));
        Ok(Some(Sample { tid, time, registers, ip, stack, mappings }))
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn skip(&mut self, bytes: usize) -> Result<()> {
        self.0 = self.0.get(bytes..).context("a record is cut off")?;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().context("a record is cut off")?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
