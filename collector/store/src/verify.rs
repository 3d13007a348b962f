//! Whether a pair of files, or a functions file, is what is said of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use fleetprof_proto::{labels::SERVICE, time_range::format_instant};

use crate::{
    catalog::{FileRow, FunctionFile, NewFile, ServiceSum},
    format::{FormatError, FunctionsFile, Reader, Wanted},
    level::Level,
    spans,
    table::{Table, TableBuilder},
};

/// Why a file is not what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It cannot be read.
    Undecodable(String),
    /// It holds something else.
    Contents(String),
}

/// What a pair holds.
pub(crate) struct Contents {
    pub(crate) rows: u64,
    pub(crate) services: Vec<ServiceSum>,
    /// Where the windows of the rows are.
    pub(crate) spans: Vec<(i64, i64)>,
}

/// Reads a pair as a whole and compares it with what is said of it; gives what it holds.
///
/// # Errors
/// When it was written by a newer version.
pub(crate) fn verify(
    file: &NewFile,
    samples: Bytes,
    stacks: Bytes,
) -> Result<Result<Table, Wrong>, FormatError> {
    let table = match read(file, samples, stacks) {
        Ok(Ok(table)) => table,
        Ok(Err(what)) => return Ok(Err(Wrong::Contents(what))),
        Err(FormatError::Damaged { file, what }) => {
            return Ok(Err(Wrong::Undecodable(format!("{file}: {what}"))));
        }
        Err(error) => return Err(error),
    };
    Ok(compare(file, &table).map_err(Wrong::Contents).map(|()| table))
}

/// Reads a functions file as a whole and compares it with what is said of it, and of the pairs that name it:
/// each sample is in one function itself.
///
/// # Errors
/// When it was written by a newer version.
pub(crate) fn verify_functions(
    file: &FunctionFile,
    pairs: &[FileRow],
    bytes: &Bytes,
) -> Result<Option<Wrong>, FormatError> {
    let start = bytes.len().saturating_sub(usize::try_from(file.end).unwrap_or(usize::MAX));
    let read = || {
        let mut open = FunctionsFile::open(&bytes[start..], bytes.len() as u64)?;
        Ok((open.id(), open.audit(bytes)?))
    };
    let (id, sums) = match read() {
        Ok(read) => read,
        Err(FormatError::Damaged { file, what }) => {
            return Ok(Some(Wrong::Undecodable(format!("{file}: {what}"))));
        }
        Err(error) => return Err(error),
    };
    if id != file.id {
        return Ok(Some(Wrong::Contents(format!("it is the functions file {id}"))));
    }
    for FileRow { file: pair, .. } in pairs {
        let said = pair.services.iter().fold((0_u64, 0_u64), |sum, of| {
            (sum.0.saturating_add(of.samples), sum.1.saturating_add(of.nanos))
        });
        let has = sums.get(&pair.id).copied().unwrap_or_default();
        if has != said {
            return Ok(Some(Wrong::Contents(format!(
                "of the pair {} it has {} samples and {} ns of CPU, the pair has {} and {}",
                pair.id, has.0, has.1, said.0, said.1
            ))));
        }
    }
    Ok(None)
}

/// All of a pair.
fn read(
    file: &NewFile,
    samples: Bytes,
    stacks: Bytes,
) -> Result<Result<Table, String>, FormatError> {
    let mut reader = Reader::new(samples, Some(stacks), &Wanted::all())?;
    if reader.id() != file.id {
        return Ok(Err(format!("it is the pair {}", reader.id())));
    }
    let mut builder = TableBuilder::new();
    while reader.read_group(&mut builder)?.is_some() {}
    Ok(Ok(builder.finish()))
}

/// What a table would be as a file.
pub(crate) fn contents(table: &Table) -> Contents {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let service = |origin: usize| {
        let labels = table.code.origin_labels(origin);
        labels.into_iter().find(|(name, _)| *name == SERVICE).map_or("", |(_, value)| value)
    };
    let services: Vec<&str> = (0..table.code.origin_count()).map(service).collect();
    let mut windows = Vec::new();
    for row in &table.rows {
        let name = services.get(row.origin as usize).copied().unwrap_or_default();
        if !sums.contains_key(name) {
            sums.insert(name.to_owned(), (0, 0));
        }
        if let Some(sum) = sums.get_mut(name) {
            *sum = (sum.0.saturating_add(row.samples), sum.1.saturating_add(row.nanos));
        }
        let window = (row.window.start_unix_nanos, row.window.end_unix_nanos);
        if windows.last() != Some(&window) {
            windows.push(window);
        }
    }
    let sum = |(service, (samples, nanos))| ServiceSum { service, samples, nanos };
    Contents {
        rows: table.rows.len() as u64,
        services: sums.into_iter().map(sum).collect(),
        spans: spans::union(windows),
    }
}

fn compare(file: &NewFile, table: &Table) -> Result<(), String> {
    let found = contents(table);
    if found.rows != file.rows {
        return Err(format!("it has {} rows, the catalog says {}", found.rows, file.rows));
    }
    compare_services(&found.services, &file.services)?;
    for row in &table.rows {
        let bucket = file.level.bucket(row.window);
        if bucket != file.bucket {
            let (of, expected) = (format_instant(bucket), format_instant(file.bucket));
            return Err(format!("it has samples of {of}, the catalog says {expected}"));
        }
    }
    compare_spans(file, table, &found.spans)
}

fn compare_services(found: &[ServiceSum], said: &[ServiceSum]) -> Result<(), String> {
    let by_name = |sums: &[ServiceSum]| -> BTreeMap<String, (u64, u64)> {
        sums.iter().map(|sum| (sum.service.clone(), (sum.samples, sum.nanos))).collect()
    };
    let (found, said) = (by_name(found), by_name(said));
    for name in found.keys().chain(said.keys()) {
        let (has, expected) = (found.get(name).copied(), said.get(name).copied());
        if has != expected {
            let (has, expected) = (has.unwrap_or_default(), expected.unwrap_or_default());
            return Err(format!(
                "of service {name:?} it has {} samples and {} ns of CPU, the catalog says {} and {}",
                has.0, has.1, expected.0, expected.1
            ));
        }
    }
    Ok(())
}

/// Fine files say exactly when they have data; those of other levels say it more finely than their rows
/// do, so that each row must have a span in it.
fn compare_spans(file: &NewFile, table: &Table, found: &[(i64, i64)]) -> Result<(), String> {
    let differs = || "it has data at other times than the catalog says".to_owned();
    if file.level == Level::Fine {
        return if found == spans::union(file.spans.clone()) { Ok(()) } else { Err(differs()) };
    }
    let has_data = |start: i64, end: i64| {
        let at = file.spans.partition_point(|span| span.1 <= start);
        file.spans.get(at).is_some_and(|span| span.0 < end)
    };
    let windows = table.rows.iter().map(|row| row.window);
    let mut known = windows.map(|it| has_data(it.start_unix_nanos, it.end_unix_nanos));
    if known.all(|known| known) { Ok(()) } else { Err(differs()) }
}

/// What a pair holds, read as a whole.
///
/// # Errors
/// When it is damaged.
pub(crate) fn contents_of(samples: Bytes, stacks: Bytes) -> Result<Contents, FormatError> {
    crate::format::decode(samples, Some(stacks), &Wanted::all()).map(|table| contents(&table))
}
