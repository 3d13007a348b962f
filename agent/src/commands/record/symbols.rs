//! Names for a recorded batch, from the files and the kernel of this host.
//!
//! In: the batch and the means to open its objects again. Out: one answer per frame. Any process of
//! the host may have mapped any file, so files are parsed by a worker process, which this one
//! outlives.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::AsRawFd as _,
    path::PathBuf,
};

use anyhow::Context as _;
use fleetprof_proto::{
    batch::Batch,
    ids::ObjectId,
    symbol::{Reason, Symbol},
    v1::ObjectFormat,
};
use fleetprof_symbolizer::{
    DebugLinks, ObjectSource, Options, SymbolizerPool, WorkerCommand, WorkerLimits,
};
use tempfile::NamedTempFile;
use tracing::{debug, warn};

use crate::pipeline::Sources;

/// One symbol per frame row of the batch. What cannot be named says why; one unreadable object
/// voids nothing else.
///
/// # Errors
/// When a temporary file cannot be written, or procfs is not mounted.
pub(super) fn symbolize(
    batch: &Batch,
    sources: &Sources,
    worker: WorkerCommand,
) -> anyhow::Result<Vec<Symbol>> {
    let mut symbols = vec![Symbol::Unknown(Reason::NoMapping); batch.frame_count()];
    let mut by_object: BTreeMap<ObjectId, Vec<usize>> = BTreeMap::new();
    for (row, symbol) in symbols.iter_mut().enumerate() {
        let frame = batch.frame(row);
        match frame.locate() {
            Ok(id) => by_object.entry(id).or_default().push(row),
            Err(reason) => *symbol = Symbol::Unknown(reason),
        }
    }
    // Objects are asked for one after the other, so none needs to stay parsed.
    let options =
        Options { max_objects: 1, debug_links: DebugLinks::follow_system(), ..Options::default() };
    let pool = SymbolizerPool::isolated(worker, 1, &options, WorkerLimits::default());
    for (id, rows) in by_object {
        let offsets: Vec<u64> = rows.iter().map(|row| batch.frame(*row).offset).collect();
        let answers = ask(&pool, &id, &offsets, sources)?;
        for (row, answer) in rows.into_iter().zip(answers) {
            symbols[row] = answer;
        }
    }
    Ok(symbols)
}

fn ask(
    pool: &SymbolizerPool,
    id: &ObjectId,
    offsets: &[u64],
    sources: &Sources,
) -> anyhow::Result<Vec<Symbol>> {
    let mut object = match sources.open_object(id) {
        Ok(object) => object,
        Err(error) => {
            debug!(%id, %error, "object cannot be read");
            return Ok(vec![Symbol::Unknown(Reason::NoObject); offsets.len()]);
        }
    };
    // A file is read where it is; what exists in memory only goes through a temporary file.
    let mut copy = None;
    let path = match object.as_file() {
        Some(file) => path_of(file)?,
        None => {
            let file = copy.insert(NamedTempFile::new().context("cannot write a temporary file")?);
            io::copy(&mut object, file)
                .and_then(|_| file.flush())
                .context("cannot write a temporary file")?;
            file.path().to_owned()
        }
    };
    let source = match object.format() {
        ObjectFormat::Kallsyms => ObjectSource::Kallsyms { path },
        ObjectFormat::Elf
        | ObjectFormat::ElfDebug
        | ObjectFormat::ElfSplit
        | ObjectFormat::Unspecified => ObjectSource::Elf { path },
    };
    Ok(pool.symbolize(&source, offsets).unwrap_or_else(|error| {
        warn!(%id, %error, "object stays without names: its parser could not be started");
        vec![Symbol::Unknown(Reason::NoObject); offsets.len()]
    }))
}

/// Path under which other processes, too, reach a file that this one has open, whatever became of its
/// name. Not by this process's own number: procfs may be of another pid namespace.
fn path_of(file: &File) -> anyhow::Result<PathBuf> {
    let this = fs::read_link("/proc/self").context("cannot read /proc/self; is /proc mounted?")?;
    let descriptor = file.as_raw_fd().to_string();
    Ok(PathBuf::from("/proc").join(this).join("fd").join(descriptor))
}
