//! Stacks: copied ones in records of samples, and the walk along any memory with any table.
//!
//! Registers, memory and code are what a hostile process makes them. That tables are lies, too, costs
//! nothing and shows that the walk trusts none of its surroundings.

use std::{rc::Rc, sync::Arc, time::Duration};

use fleetprof_abi::{Architecture, MAX_USER_FRAMES, ObjectTable, PAGE_WORDS};
use fleetprof_agent::{
    aggregate::{Aggregator, AggregatorConfig, Clocks},
    jit::{JitConfig, JitSymbols},
    kernel::{Kernel, KernelConfig},
    normalize::Normalizer,
    process::{Bound, ProcessTable, TableConfig},
    sampler,
    sampler::{KernelBuildId, MappedFile, Mapping, ProcessEvent, RawSample},
    unwind::fuzz::{Tables, frames, registry},
};
use fleetprof_proto::{
    batch::{Limits, open, seal},
    ids::BatchId,
    v1,
};
use fleetprof_replay::machine::{self, Code, Table};

use crate::Cursor;

/// Mappings of a process.
const MAX_CODE: u8 = 8;

/// Tables of an input of [`walk`].
const MAX_TABLES: u8 = 4;

/// Words of a table; the pages are filled up with zeros.
const MAX_WORDS: u16 = 4096;

/// When samples are taken: an hour after boot.
const TIME_NS: u64 = 3_600_000_000_000;

/// A sample's record, from the ring buffer to the collector. The input: mappings, a table, the
/// record.
pub(crate) fn samples(bytes: &[u8]) {
    let mut input = Cursor::new(bytes);
    let mappings: Vec<Mapping> = (0..input.u8() % MAX_CODE).map(|_| mapping(&mut input)).collect();
    let (table, words) = table(&mut input);
    let words_of_record = input.rest().chunks(8).map(|word| Cursor::new(word).u64());
    let record: Vec<u64> = words_of_record.collect();
    let Some(sample) = sampler::fuzz::sample(&record) else { return };
    // Of the fields that the kernel side fills in, those that say when.
    let sample = RawSample { time_ns: TIME_NS, start_boottime_ns: 0, ..sample };
    let bound = bind(&sample, mappings);
    let (user, result) = frames(&sample, &bound, Tables { table, words: &words });
    is_delivered(&RawSample { user: &user, result, copied: None, ..sample }, &bound);
}

fn bind(sample: &RawSample<'_>, mappings: Vec<Mapping>) -> Bound {
    let mut processes = ProcessTable::new(TableConfig::default(), registry());
    let (time_ns, pid, comm) = (1, sample.pid, sample.comm);
    processes.apply(&ProcessEvent::Exec { time_ns, pid, comm });
    for mapping in mappings {
        processes.apply(&ProcessEvent::Mmap(Mapping { pid, ..mapping }));
    }
    processes.bind(sample)
}

fn mapping(input: &mut Cursor<'_>) -> Mapping {
    let (start, len, offset, kind) = (input.u64(), input.u32(), input.u32(), input.u8());
    let (path, file) = match kind {
        0..0xf0 => (&b"/bin/fuzz"[..], KernelBuildId::new(&[kind; 20]).map(MappedFile::BuildId)),
        0xf0..0xf8 => (&b"//anon"[..], None),
        _ => (&b"[vdso]"[..], None),
    };
    Mapping {
        time_ns: 2,
        pid: 0,
        start,
        len: len.into(),
        file_offset: offset.into(),
        path: path.to_vec(),
        file: file.unwrap_or(MappedFile::Inode(sampler::Inode::default())),
    }
}

/// Every sample gives a batch that a collector takes, with all its frames.
fn is_delivered(sample: &RawSample<'_>, bound: &Bound) {
    let nowhere =
        KernelConfig { proc_root: "/nonexistent".into(), sys_root: "/nonexistent".into() };
    let jit = JitSymbols::new(JitConfig::default(), registry());
    let mut normalizer = Normalizer::new(Arc::new(Kernel::survey(nowhere)), jit);
    let normalized = normalizer.normalize_in(sample, bound);
    let sentinel = usize::from(sample.user.last() == Some(&0));
    assert_eq!(normalized.frames.len(), sample.user.len() + sample.kernel.len() - sentinel);

    let config = AggregatorConfig { window: Duration::from_secs(10), max_rows: 100_000 };
    let clocks = Clocks { boottime_ns: TIME_NS - 1, unix_ns: 1_795_341_600_000_000_000 };
    let mut aggregator = Aggregator::with_clock(&config, move || clocks);
    let none_closed = aggregator.add(&normalized, |_| [("service", "fuzz")]).is_none();
    assert!(none_closed, "one sample fits a window");
    let closed = aggregator.flush().expect("a window is open");
    let batch = closed.finish([("host", "fuzz")], v1::Accounting::default());
    let id = BatchId::from_wire(&[7; 16], 1).expect("a valid id");
    let sealed = seal(id, &batch).expect("there is memory");
    let (_, opened) = open(&sealed, Limits::default()).expect("a collector takes it");
    let row = opened.samples().next().expect("the sample");
    assert_eq!((row.count, row.nanos), (1, sample.weight_ns));
    assert_eq!(opened.stack_frames(row.stack).count(), normalized.frames.len());
}

/// The walk itself, for each processor. The input: tables, code, registers, memory.
pub(crate) fn walk(bytes: &[u8]) {
    let mut input = Cursor::new(bytes);
    let tables: Vec<Rc<Table>> = (0..input.u8() % MAX_TABLES)
        .map(|_| {
            let (descriptor, mut words) = table(&mut input);
            words.resize(words.len().next_multiple_of(PAGE_WORDS), 0);
            Rc::new(Table { descriptor, words })
        })
        .collect();
    let code: Vec<Code> = (0..input.u8() % MAX_CODE).map(|_| code(&mut input, &tables)).collect();
    let ip = input.u64();
    let registers: Vec<(u8, u64)> =
        (0..input.u8() % 64).map(|_| (input.u8(), input.u64())).collect();
    let (stack, memory) = (input.u64(), input.rest());
    let read = |address: u64| {
        let at = usize::try_from(address.checked_sub(stack)?).ok()?;
        let word = memory.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    };
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let walked = machine::walk(architecture, &registers, ip, &code, read);
        assert!(walked.frames.len() <= MAX_USER_FRAMES);
        // A frame costs a bounded number of reads: of registers, or of all that a signal saved.
        assert!(walked.reads.len() <= 24 * (walked.frames.len() + 1), "{}", walked.reads.len());
    }
}

fn code(input: &mut Cursor<'_>, tables: &[Rc<Table>]) -> Code {
    let (start, len, bias) = (input.u64(), input.u32(), input.u64());
    let table = tables.get(usize::from(input.u8())).cloned();
    Code { start, end: start.saturating_add(len.into()), bias, table }
}

/// Where the parts of a table are, and its words. `examples/seeds` writes the same.
fn table(input: &mut Cursor<'_>) -> (ObjectTable, Vec<u32>) {
    let descriptor = ObjectTable {
        first_page: input.u8().into(),
        first_granule: input.u32(),
        granules: input.u32(),
        index: input.u32(),
        rows: input.u32(),
        ..ObjectTable::default()
    };
    let count = input.u16().min(MAX_WORDS);
    let words = input.take(4 * usize::from(count)).chunks(4);
    (descriptor, words.map(|word| Cursor::new(word).u32()).collect())
}
