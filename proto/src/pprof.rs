//! A symbolized batch as a pprof profile.
//!
//! Every object is a mapping with its build ID, in an address range of its own
//! ([`MAPPING_STRIDE`] apart, file offset 0), so that
//! `address - memory_start` is the offset in the object: a reader can symbolize locally what has no
//! name here. Frames without a name are locations without lines; those that their host named have an
//! address of no meaning.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use pprof::protos::{self, Message as _};

use crate::{
    batch::Batch,
    symbol::{Line, Symbol},
};

/// Distance of the mappings' start addresses: larger than any object, and the same in every profile,
/// so that two profiles' mappings compare equal.
pub const MAPPING_STRIDE: u64 = 1 << 32;

/// Encodes a batch as an uncompressed pprof message.
///
/// `symbols` is parallel to the batch's frame rows; a frame past its end has no name.
/// Sample types are `samples/count` and `cpu/nanoseconds` (default); the period is the mean weight
/// of a sample in nanoseconds; `comments` are shown by `pprof -comments`.
pub fn encode(batch: &Batch, symbols: &[Symbol], comments: &[String]) -> Vec<u8> {
    Encoder::new(batch, symbols).profile(comments).encode_to_vec()
}

/// Compresses a profile the way pprof files are: gzip.
///
/// # Errors
/// Only when memory runs out.
pub fn gzip(profile: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(5));
    encoder.write_all(profile)?;
    encoder.finish()
}

struct Encoder<'a> {
    batch: &'a Batch,
    symbols: &'a [Symbol],
    strings: Strings,
    functions: HashMap<FunctionKey, u64>,
    /// Mapping id of each object row.
    mappings: HashMap<usize, u64>,
    /// Location id of each frame row; 0: none yet.
    locations: Vec<u64>,
    out: protos::Profile,
}

/// Name, raw name and file: what makes a function one in pprof.
type FunctionKey = (Arc<str>, Arc<str>, Option<Arc<str>>);

#[derive(Default)]
struct Strings {
    index: HashMap<String, i64>,
    table: Vec<String>,
}

// === impl Strings ===

impl Strings {
    fn add(&mut self, text: &str) -> i64 {
        if let Some(known) = self.index.get(text) {
            return *known;
        }
        let index = i64::try_from(self.table.len()).unwrap_or(i64::MAX);
        self.table.push(text.to_owned());
        self.index.insert(text.to_owned(), index);
        index
    }
}

// === impl Encoder ===

impl<'a> Encoder<'a> {
    fn new(batch: &'a Batch, symbols: &'a [Symbol]) -> Self {
        let mut strings = Strings::default();
        strings.add("");
        Self {
            batch,
            symbols,
            strings,
            functions: HashMap::new(),
            mappings: HashMap::new(),
            locations: vec![0; batch.frame_count()],
            out: protos::Profile::default(),
        }
    }

    fn profile(mut self, comments: &[String]) -> protos::Profile {
        let cpu = self.value_type("cpu", "nanoseconds");
        self.out.sample_type = vec![self.value_type("samples", "count"), cpu.clone()];
        self.out.default_sample_type = cpu.ty;
        self.out.period_type = Some(cpu);
        let window = self.batch.window();
        self.out.time_nanos = window.start_unix_nanos;
        self.out.duration_nanos = window.end_unix_nanos - window.start_unix_nanos;
        self.out.comment = comments.iter().map(|text| self.strings.add(text)).collect();
        self.samples();
        self.out.string_table = self.strings.table;
        self.out
    }

    /// Rows that differ only in the sampler's result are one pprof sample.
    fn samples(&mut self) {
        let mut merged: HashMap<(usize, usize), (u64, u64)> = HashMap::new();
        let mut order = Vec::new();
        for row in self.batch.samples() {
            let values = merged.entry((row.origin, row.stack)).or_insert_with(|| {
                order.push((row.origin, row.stack));
                (0, 0)
            });
            values.0 = values.0.saturating_add(row.count);
            values.1 = values.1.saturating_add(row.nanos);
        }
        let (count, nanos) = merged.values().fold((0_u64, 0_u64), |sum, row| {
            (sum.0.saturating_add(row.0), sum.1.saturating_add(row.1))
        });
        self.out.period = signed(nanos.checked_div(count).unwrap_or(0));
        let labels: Vec<_> = (0..self.batch.origin_count()).map(|o| self.labels(o)).collect();
        for key @ (origin, stack) in order {
            let (count, nanos) = merged[&key];
            let frames: Vec<_> = self.batch.stack_frames(stack).collect();
            let sample = protos::Sample {
                location_id: frames.into_iter().map(|frame| self.location(frame)).collect(),
                value: vec![signed(count), signed(nanos)],
                label: labels[origin].clone(),
            };
            self.out.sample.push(sample);
        }
    }

    fn labels(&mut self, origin: usize) -> Vec<protos::Label> {
        let batch = self.batch;
        let label = |(name, value): (&str, &str)| protos::Label {
            key: self.strings.add(name),
            str: self.strings.add(value),
            ..protos::Label::default()
        };
        batch.labels().chain(batch.origin_labels(origin)).map(label).collect()
    }

    fn location(&mut self, row: usize) -> u64 {
        if let Some(known) = self.locations.get(row).filter(|id| **id > 0) {
            return *known;
        }
        let frame = self.batch.frame(row);
        let mapping_id = if frame.object == 0 { 0 } else { self.mapping(frame.object, row) };
        let line = match self.symbols.get(row) {
            Some(Symbol::Named(lines)) => lines.iter().map(|line| self.line(line)).collect(),
            Some(Symbol::Unknown(_)) | None => Vec::new(),
        };
        let id = self.out.location.len() as u64 + 1;
        // What its host named has no address. Some readers take locations at one address for the same,
        // so each gets another.
        let offset = if frame.name.is_some() { id } else { frame.offset };
        if let Some(mapping) = mapping_id.checked_sub(1) {
            let mapping = &mut self.out.mapping[usize::try_from(mapping).unwrap_or(usize::MAX)];
            mapping.has_functions |= !line.is_empty();
            mapping.has_inline_frames |= line.len() > 1;
            mapping.has_line_numbers |= line.iter().any(|line| line.line > 0);
            mapping.has_filenames |= mapping.has_line_numbers;
            let end = (mapping.memory_start + 1).saturating_add(offset);
            mapping.memory_limit = mapping.memory_limit.max(end);
        }
        let address = (mapping_id * MAPPING_STRIDE).wrapping_add(offset);
        let location = protos::Location { id, mapping_id, address, line, is_folded: false };
        self.out.location.push(location);
        if let Some(known) = self.locations.get_mut(row) {
            *known = id;
        }
        id
    }

    fn mapping(&mut self, object: usize, frame: usize) -> u64 {
        if let Some(known) = self.mappings.get(&object) {
            return *known;
        }
        let frame = self.batch.frame(frame);
        let id = self.out.mapping.len() as u64 + 1;
        let build_id = frame.build_id.map(ToString::to_string).unwrap_or_default();
        let mapping = protos::Mapping {
            id,
            memory_start: id * MAPPING_STRIDE,
            memory_limit: (id + 1) * MAPPING_STRIDE,
            filename: self.strings.add(frame.path),
            build_id: self.strings.add(&build_id),
            ..protos::Mapping::default()
        };
        self.out.mapping.push(mapping);
        self.mappings.insert(object, id);
        id
    }

    fn line(&mut self, line: &Line) -> protos::Line {
        let key = (line.name.clone(), line.system_name.clone(), line.file.clone());
        let next = self.functions.len() as u64 + 1;
        let function_id = *self.functions.entry(key).or_insert(next);
        if function_id == next {
            self.out.function.push(protos::Function {
                id: next,
                name: self.strings.add(&line.name),
                system_name: self.strings.add(&line.system_name),
                filename: self.strings.add(line.file.as_deref().unwrap_or("")),
                start_line: 0,
            });
        }
        protos::Line { function_id, line: line.line.into() }
    }

    fn value_type(&mut self, ty: &str, unit: &str) -> protos::ValueType {
        protos::ValueType { ty: self.strings.add(ty), unit: self.strings.add(unit) }
    }
}

/// pprof's numbers are signed; sums past 2^63 ns (292 CPU years) saturate.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
