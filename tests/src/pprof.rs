//! A reader of pprof files that shares nothing with the product's writer, and that refuses what a
//! strict reader may refuse.

pub mod model;

use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    sync::Arc,
};

use flate2::read::GzDecoder;
use prost::Message as _;

/// A decoded and checked profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The message itself.
    pub raw: model::Profile,
    /// Its samples, with everything looked up.
    pub samples: Vec<Sample>,
}

/// One stack.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Number of samples.
    pub count: u64,
    /// CPU time, nanoseconds.
    pub nanos: u64,
    /// Labels; a name may occur once.
    pub labels: BTreeMap<String, String>,
    /// Innermost first.
    pub locations: Vec<Arc<Location>>,
}

/// One address.
#[derive(Clone, Debug)]
pub struct Location {
    /// As in the file.
    pub address: u64,
    /// Distance from the start of what it belongs to; the address when that is not known.
    pub offset: u64,
    /// What it belongs to.
    pub mapping: Option<Mapping>,
    /// Inlined calls first, the function that they are in last; empty when it has no name.
    pub lines: Vec<Line>,
}

/// Code that addresses belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Path.
    pub file: String,
    /// Build ID as written.
    pub build_id: String,
}

/// A function, perhaps inlined, at a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// For people.
    pub function: String,
    /// As in the symbol table.
    pub system_name: String,
    /// Source file; empty when not known.
    pub file: String,
    /// 0 when not known.
    pub line: i64,
}

// === impl Profile ===

impl Profile {
    /// Reads a gzipped pprof.
    ///
    /// # Panics
    /// When it is not one, or breaks a rule of the format.
    pub fn read(gzipped: &[u8]) -> Self {
        let mut bytes = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut bytes).expect("a pprof is gzipped");
        let raw = model::Profile::decode(bytes.as_slice()).expect("a pprof is a protobuf message");
        assert_eq!(
            raw.string_table.first().map(String::as_str),
            Some(""),
            "the first string is empty"
        );
        let samples = Resolver::new(&raw).samples();
        Self { raw, samples }
    }

    /// A string of the table.
    ///
    /// # Panics
    /// When the index is not in it.
    pub fn string(&self, index: i64) -> &str {
        string(&self.raw, index)
    }

    /// Kind and unit of each sample value.
    pub fn sample_types(&self) -> Vec<(&str, &str)> {
        self.raw.sample_type.iter().map(|ty| (self.string(ty.kind), self.string(ty.unit))).collect()
    }

    /// Samples in all.
    pub fn count(&self) -> u64 {
        self.samples.iter().map(|sample| sample.count).sum()
    }

    /// CPU time in all, nanoseconds.
    pub fn nanos(&self) -> u64 {
        self.samples.iter().map(|sample| sample.nanos).sum()
    }

    /// Start and end, Unix nanoseconds.
    pub fn span(&self) -> (i64, i64) {
        (self.raw.time_nanos, self.raw.time_nanos + self.raw.duration_nanos)
    }

    /// The samples with this value of a label.
    pub fn with_label(&self, name: &str, value: &str) -> Vec<&Sample> {
        let has = |sample: &&Sample| sample.labels.get(name).is_some_and(|text| text == value);
        self.samples.iter().filter(has).collect()
    }

    /// Every line of every location, once per occurrence in the table.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.samples
            .iter()
            .flat_map(|sample| &sample.locations)
            .flat_map(|location| &location.lines)
    }

    /// Functions with the most CPU in their own frame: share of the whole, largest first.
    pub fn self_shares(&self) -> Vec<(String, f64)> {
        self_shares(&self.samples.iter().collect::<Vec<_>>())
    }
}

/// Self time by function name (an inlined one counts for itself), share of the whole, largest first.
pub fn self_shares(samples: &[&Sample]) -> Vec<(String, f64)> {
    let total: u64 = samples.iter().map(|sample| sample.nanos).sum();
    let mut shares: HashMap<&str, u64> = HashMap::new();
    for sample in samples {
        *shares.entry(sample.leaf().unwrap_or("[unknown]")).or_default() += sample.nanos;
    }
    let mut shares: Vec<_> =
        shares.into_iter().map(|(name, ns)| (name.to_owned(), ns as f64 / total as f64)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

// === impl Sample ===

impl Sample {
    /// Name of the innermost function; none when it has no name.
    pub fn leaf(&self) -> Option<&str> {
        self.locations.first()?.lines.first().map(|line| line.function.as_str())
    }

    /// Names of its functions, innermost first.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.locations
            .iter()
            .flat_map(|location| &location.lines)
            .map(|line| line.function.as_str())
    }

    /// Whether a function whose name contains `part` is on the stack.
    pub fn calls(&self, part: &str) -> bool {
        self.functions().any(|name| name.contains(part))
    }
}

// === looking up ===

struct Resolver<'a> {
    raw: &'a model::Profile,
    locations: HashMap<u64, Arc<Location>>,
}

// === impl Resolver ===

impl<'a> Resolver<'a> {
    fn new(raw: &'a model::Profile) -> Self {
        let mappings = by_id("mapping", raw.mapping.iter().map(|mapping| (mapping.id, mapping)));
        let functions =
            by_id("function", raw.function.iter().map(|function| (function.id, function)));
        let mapping = |location: &model::Location| {
            let mapping = *mappings.get(&location.mapping_id).expect("a location's mapping exists");
            assert!(
                (mapping.memory_start..mapping.memory_limit).contains(&location.address),
                "address {:#x} is outside of its mapping {mapping:?}",
                location.address
            );
            let (file, build_id) = (string(raw, mapping.filename), string(raw, mapping.build_id));
            Mapping { file: file.to_owned(), build_id: build_id.to_owned() }
        };
        let line = |line: &model::Line| {
            let function = functions.get(&line.function_id).expect("a line's function exists");
            let text = |index| string(raw, index).to_owned();
            let (name, system_name) = (text(function.name), text(function.system_name));
            Line { function: name, system_name, file: text(function.filename), line: line.line }
        };
        let locations = raw.location.iter().map(|location| {
            let start = mappings.get(&location.mapping_id).map_or(0, |one| one.memory_start);
            let resolved = Location {
                address: location.address,
                offset: location.address - start,
                mapping: (location.mapping_id != 0).then(|| mapping(location)),
                lines: location.line.iter().map(line).collect(),
            };
            (location.id, Arc::new(resolved))
        });
        Self { raw, locations: by_id("location", locations) }
    }

    fn samples(&self) -> Vec<Sample> {
        let types = self.raw.sample_type.len();
        self.raw.sample.iter().map(|sample| self.sample(sample, types)).collect()
    }

    fn sample(&self, sample: &model::Sample, types: usize) -> Sample {
        assert_eq!(sample.value.len(), types, "a sample has a value for each sample type");
        let value = |index: usize| u64::try_from(sample.value[index]).expect("no negative values");
        let mut labels = BTreeMap::new();
        for label in &sample.label {
            let (key, value) = (string(self.raw, label.key), string(self.raw, label.str));
            let before = labels.insert(key.to_owned(), value.to_owned());
            assert!(before.is_none(), "the label {key} occurs twice in a sample");
        }
        let location = |id| Arc::clone(self.locations.get(id).expect("a sample's location exists"));
        Sample {
            count: value(0),
            nanos: value(1),
            labels,
            locations: sample.location_id.iter().map(location).collect(),
        }
    }
}

fn by_id<T>(what: &str, items: impl Iterator<Item = (u64, T)>) -> HashMap<u64, T> {
    let mut map = HashMap::new();
    for (id, item) in items {
        assert!(id != 0, "a {what} has the id 0");
        assert!(map.insert(id, item).is_none(), "two {what}s have the id {id}");
    }
    map
}

fn string(raw: &model::Profile, index: i64) -> &str {
    usize::try_from(index)
        .ok()
        .and_then(|index| raw.string_table.get(index))
        .unwrap_or_else(|| panic!("string {index} of {} does not exist", raw.string_table.len()))
}
