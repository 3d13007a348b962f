//! Reads samples.

use std::collections::BTreeSet;

use fleetprof_proto::{
    batch::{MAX_LABEL_NAME_BYTES, OriginIndex, Window},
    labels::SERVICE,
};
use hashbrown::HashSet;

use super::{
    columns::{Columns, LabelMap, Text},
    file::File,
};
use crate::{
    format::{FormatError, Wanted, schema::LABELS},
    level::midpoint,
    table::TableBuilder,
};

/// What is null in every row without labels that have no column of their own.
const MAP_KEYS: &str = "labels.key_value.key";

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
        let columns = Columns::new(file, group, &rows);
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

/// A row that is wanted.
pub(super) struct Found {
    pub origin: OriginIndex,
    /// 0 is the empty stack; 0 as well where none are wanted.
    pub stack_id: i64,
    pub result: u32,
    /// `None` where windows are not told apart.
    pub window: Option<Window>,
    /// Samples, and CPU time in nanoseconds.
    pub counts: (u64, u64),
}

/// Hands the wanted rows of a row group to `each`.
pub(super) fn for_each(
    file: &File,
    group: usize,
    wanted: &Wanted,
    builder: &mut TableBuilder,
    mut each: impl FnMut(&mut TableBuilder, Found) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let keeps = |label: &str| wanted.keeps(label) && !file.is_null(group, label);
    let known: Vec<&str> = LABELS.into_iter().filter(|label| keeps(label)).collect();
    let has_map = match &wanted.labels {
        None => true,
        Some(kept) => kept.iter().any(|label| !LABELS.contains(&label.as_str())),
    } && !file.is_null(group, MAP_KEYS);
    let has_windows = wanted.windows || !is_inside(file, group, wanted);
    let mut columns = vec!["result", "samples", "cpu_nanos"];
    if has_windows {
        columns.extend(["start", "end"]);
    }
    columns.extend(&known);
    columns.extend(has_map.then_some("labels"));
    columns.extend(wanted.has_stacks().then_some("stack_id"));
    columns.extend(wanted.services.as_ref().map(|_| SERVICE));
    for rows in file.batches(group, columns)? {
        let rows = rows.map_err(|error| file.damaged(error.to_string()))?;
        let columns = Columns::new(file, group, &rows);
        let labels = RowLabels::new(file, &columns, wanted, &known, has_map)?;
        let windows = has_windows.then(|| Windows::new(file, &columns)).transpose()?;
        rows_of(wanted, &columns, rows.num_rows(), &labels, windows.as_ref(), builder, &mut each)?;
    }
    Ok(())
}

fn rows_of(
    wanted: &Wanted,
    columns: &Columns<'_>,
    rows: usize,
    labels: &RowLabels<'_>,
    windows: Option<&Windows<'_>>,
    builder: &mut TableBuilder,
    each: &mut impl FnMut(&mut TableBuilder, Found) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let ids = wanted.has_stacks().then(|| columns.amounts("stack_id")).transpose()?;
    let results = columns.ints("result")?;
    let (samples, nanos) = (columns.amounts("samples")?, columns.amounts("cpu_nanos")?);
    let changes = labels.changes(rows);
    let mut origin = None;
    for row in 0..rows {
        if changes[row] {
            origin = labels.origin(row, builder)?;
        }
        let Some(origin) = origin else { continue };
        let window = windows.map(|windows| windows.get(row)).transpose()?;
        if window.is_some_and(|window| !wanted.has_window(window)) {
            continue;
        }
        let found = Found {
            origin,
            stack_id: ids.map_or(0, |ids| ids[row]),
            result: results[row].cast_unsigned(),
            window,
            counts: (samples[row].cast_unsigned(), nanos[row].cast_unsigned()),
        };
        each(builder, found)?;
    }
    Ok(())
}

/// Whether all windows of a row group have their middle in the range that is wanted.
fn is_inside(file: &File, group: usize, wanted: &Wanted) -> bool {
    let Some((start, end)) = wanted.range else { return true };
    let (starts, ends) = (file.bounds(group, "start"), file.bounds(group, "end"));
    let span = starts.zip(ends).and_then(|((first, _), (_, last))| {
        Some((first.checked_mul(1000)?, last.checked_mul(1000)?))
    });
    span.is_some_and(|(first, last)| start <= first && last <= end)
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
        columns: &Columns<'a>,
        wanted: &'a Wanted,
        known: &[&'a str],
        has_map: bool,
    ) -> Result<Self, FormatError> {
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
