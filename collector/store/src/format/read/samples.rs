//! Reads samples.

use std::collections::BTreeSet;

use arrow_array::RecordBatch;
use fleetprof_proto::{
    batch::{MAX_LABEL_NAME_BYTES, OriginIndex, StackIndex, Window},
    labels::SERVICE,
};
use hashbrown::{HashMap, HashSet};

use super::{
    columns::{Columns, LabelMap, Text},
    file::File,
};
use crate::{
    format::{FormatError, Wanted, schema::LABELS},
    level::midpoint,
    table::TableBuilder,
};

/// Whether a row group may have anything that is wanted.
pub(super) fn is_wanted(file: &File, group: usize, wanted: &Wanted) -> bool {
    let has_one = |services: &BTreeSet<String>| {
        services.iter().any(|service| file.may_have(group, SERVICE, service))
    };
    let is_in = |(start, end): &(i64, i64)| {
        // A middle lies between the first start and the last end.
        let first = file.bounds(group, "start").map_or(i64::MIN, |bounds| bounds.0);
        let last = file.bounds(group, "end").map_or(i64::MAX, |bounds| bounds.1);
        first.saturating_mul(1000) < *end && last.saturating_mul(1000) >= *start
    };
    wanted.services.as_ref().is_none_or(has_one) && wanted.range.as_ref().is_none_or(is_in)
}

/// Collects the stacks of the samples that are wanted.
pub(super) fn stack_ids(
    file: &File,
    group: usize,
    wanted: &Wanted,
    ids: &mut HashSet<i64>,
) -> Result<(), FormatError> {
    for rows in file.batches(group, [SERVICE, "start", "end", "stack_id"])? {
        let rows = rows.map_err(|error| file.damaged(error.to_string()))?;
        let columns = Columns::new(file, &rows);
        let service = columns.text(SERVICE)?;
        let is_service = service.meanings(|service| wanted.has_service(service));
        let windows = Windows::new(file, &columns)?;
        let mut last = 0;
        for (row, id) in columns.amounts("stack_id")?.iter().enumerate() {
            let number = usize::try_from(service.numbers[row]).ok();
            let is_service = number.is_some_and(|number| is_service[number]);
            if *id != last && is_service && wanted.has_window(windows.get(row)?) {
                ids.insert(*id);
                last = *id;
            }
        }
    }
    Ok(())
}

/// Adds the wanted samples of a row group; the number of samples added.
pub(super) fn read(
    file: &File,
    group: usize,
    wanted: &Wanted,
    stacks: Option<&HashMap<i64, StackIndex>>,
    builder: &mut TableBuilder,
) -> Result<u64, FormatError> {
    let keeps = |label: &str| wanted.keeps(label);
    let known: Vec<&str> = LABELS.into_iter().filter(|label| keeps(label)).collect();
    let has_map = match &wanted.labels {
        None => true,
        Some(kept) => kept.iter().any(|label| !LABELS.contains(&label.as_str())),
    };
    let mut columns = vec!["start", "end", "result", "samples", "cpu_nanos"];
    columns.extend(&known);
    columns.extend(has_map.then_some("labels"));
    columns.extend(stacks.map(|_| "stack_id"));
    columns.extend(wanted.services.as_ref().map(|_| SERVICE));
    let mut added = 0_u64;
    for rows in file.batches(group, columns)? {
        let rows = rows.map_err(|error| file.damaged(error.to_string()))?;
        let labels = RowLabels::new(file, &rows, wanted, &known, has_map)?;
        added = added.saturating_add(add(file, &rows, &labels, stacks, wanted, builder)?);
    }
    Ok(added)
}

/// Adds the wanted samples of some rows.
fn add(
    file: &File,
    rows: &RecordBatch,
    labels: &RowLabels<'_>,
    stacks: Option<&HashMap<i64, StackIndex>>,
    wanted: &Wanted,
    builder: &mut TableBuilder,
) -> Result<u64, FormatError> {
    let columns = Columns::new(file, rows);
    let windows = Windows::new(file, &columns)?;
    let ids = stacks.map(|_| columns.amounts("stack_id")).transpose()?;
    let results = columns.ints("result")?;
    let (samples, nanos) = (columns.amounts("samples")?, columns.amounts("cpu_nanos")?);
    let changes = labels.changes(rows.num_rows());
    let (mut origin, mut added) = (None, 0_u64);
    for row in 0..rows.num_rows() {
        if changes[row] {
            origin = labels.origin(row, builder)?;
        }
        let Some(origin) = origin else { continue };
        let window = windows.get(row)?;
        if !wanted.has_window(window) {
            continue;
        }
        let stack = match (ids, stacks) {
            (Some(ids), Some(stacks)) if ids[row] != 0 => {
                let id = ids[row];
                *stacks
                    .get(&id)
                    .ok_or_else(|| file.damaged(format!("stack {id} does not exist")))?
            }
            _ => StackIndex::EMPTY,
        };
        let counts = (samples[row].cast_unsigned(), nanos[row].cast_unsigned());
        builder.add(origin, stack, results[row].cast_unsigned(), window, counts);
        added = added.saturating_add(counts.0);
    }
    Ok(added)
}

/// The columns of time.
struct Windows<'a> {
    file: &'a File,
    starts: &'a [i64],
    ends: &'a [i64],
}

// === impl Windows ===

impl<'a> Windows<'a> {
    fn new(file: &'a File, columns: &Columns<'a>) -> Result<Self, FormatError> {
        Ok(Self { file, starts: columns.times("start")?, ends: columns.times("end")? })
    }

    fn get(&self, row: usize) -> Result<Window, FormatError> {
        let start = self.starts[row].checked_mul(1000);
        match (start, self.ends[row].checked_mul(1000)) {
            (Some(start), Some(end)) if start < end => {
                Ok(Window { start_unix_nanos: start, end_unix_nanos: end })
            }
            _ => Err(self.file.damaged("a window is empty, or not of this age")),
        }
    }
}

/// The columns of labels.
struct RowLabels<'a> {
    file: &'a File,
    wanted: &'a Wanted,
    /// Those that are kept.
    known: Vec<(&'a str, Text<'a>)>,
    others: Option<LabelMap<'a>>,
    /// When only some are wanted.
    service: Option<Text<'a>>,
}

// === impl RowLabels ===

impl<'a> RowLabels<'a> {
    fn new(
        file: &'a File,
        rows: &'a RecordBatch,
        wanted: &'a Wanted,
        known: &[&'a str],
        has_map: bool,
    ) -> Result<Self, FormatError> {
        let columns = Columns::new(file, rows);
        let known = known.iter().map(|name| Ok((*name, columns.text(name)?)));
        Ok(Self {
            file,
            wanted,
            known: known.collect::<Result<_, FormatError>>()?,
            others: has_map.then(|| columns.labels("labels")).transpose()?,
            service: wanted.services.as_ref().map(|_| columns.text(SERVICE)).transpose()?,
        })
    }

    /// Which rows have other labels than the one before, or none before. Rows of the same labels follow
    /// each other, so that few sets have to be made.
    fn changes(&self, rows: usize) -> Vec<bool> {
        let mut changes = vec![false; rows];
        if let Some(first) = changes.first_mut() {
            *first = true;
        }
        let texts = self.known.iter().map(|(_, text)| text).chain(&self.service);
        texts.for_each(|text| text.mark(&mut changes));
        self.others.iter().for_each(|others| others.mark(&mut changes));
        changes
    }

    /// The labels of a row that are kept; `None` when its service is not wanted.
    fn origin(
        &self,
        row: usize,
        builder: &mut TableBuilder,
    ) -> Result<Option<OriginIndex>, FormatError> {
        if let Some(service) = &self.service
            && !service.get(row).is_some_and(|service| self.wanted.has_service(service))
        {
            return Ok(None);
        }
        let known = self.known.iter().filter_map(|(name, text)| Some((*name, text.get(row)?)));
        let mut labels: Vec<_> = known.collect();
        for label in self.others.iter().flat_map(|others| others.get(row)) {
            let (name, value) = label.ok_or_else(|| self.file.damaged("a label is null"))?;
            if name.is_empty() || name.len() > MAX_LABEL_NAME_BYTES || LABELS.contains(&name) {
                return Err(self.file.damaged("a label has a name that it cannot have"));
            }
            if self.wanted.keeps(name) {
                labels.push((name, value));
            }
        }
        Ok(Some(builder.code().origin(labels)))
    }
}

// === impl Wanted ===

impl Wanted {
    fn has_service(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|wanted| wanted.contains(service))
    }

    fn has_window(&self, window: Window) -> bool {
        self.range.is_none_or(|(start, end)| (start..end).contains(&midpoint(window)))
    }

    fn keeps(&self, label: &str) -> bool {
        self.labels.as_ref().is_none_or(|kept| kept.iter().any(|kept| kept == label))
    }
}
