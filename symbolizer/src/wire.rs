//! What travels between a pool and its worker processes.
//!
//! In: questions and answers as values. Out: length-prefixed frames of bounded size, and back. Both
//! sides are the same binary, so the format has no version; a worker that a hostile object has taken
//! over can still only send wrong names: whatever it sends is checked.

mod conversion;

use std::{
    io::{self, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    sync::Arc,
};

use fleetprof_proto::symbol::{Line, Reason, Symbol};
use prost::{Message, Oneof};

pub(crate) use conversion::{Converted, WireConversion};

use crate::{
    options::{DebugLinks, Options},
    symbolizer::{Depth, ObjectSource},
};

/// Largest frame, bytes.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;

/// The first frame of a conversation: what the worker is for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    /// Limit on the memory of the worker, bytes.
    #[prost(uint64, tag = "1")]
    pub(crate) memory_bytes: u64,
    #[prost(oneof = "Work", tags = "2, 3")]
    pub(crate) work: Option<Work>,
}

/// What a worker does.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Work {
    /// Answers [`Question`]s with [`Reply`]s.
    #[prost(message, tag = "2")]
    Symbolize(WireOptions),
    /// Answers a [`WireConversion`] with a [`Converted`].
    #[prost(message, tag = "3")]
    Convert(Nothing),
}

/// A message without fields.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Nothing {}

/// [`Options`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireOptions {
    #[prost(uint64, tag = "1")]
    max_objects: u64,
    #[prost(uint64, tag = "2")]
    max_cache_bytes: u64,
    #[prost(uint64, tag = "3")]
    max_object_bytes: u64,
    #[prost(uint64, tag = "4")]
    max_names_bytes: u64,
    #[prost(bool, tag = "5")]
    follow_links: bool,
    #[prost(bytes = "vec", repeated, tag = "6")]
    debug_dirs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "7")]
    scratch_dir: Vec<u8>,
}

/// Addresses of one object.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Question {
    #[prost(bool, tag = "1")]
    kallsyms: bool,
    #[prost(bytes = "vec", tag = "2")]
    path: Vec<u8>,
    #[prost(bool, tag = "3")]
    tables_only: bool,
    #[prost(uint64, repeated, tag = "4")]
    pub(crate) addresses: Vec<u64>,
}

/// One answer per address of the question.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reply {
    #[prost(string, repeated, tag = "1")]
    strings: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    answers: Vec<WireSymbol>,
}

#[derive(Clone, PartialEq, Message)]
struct WireSymbol {
    /// Position in `REASONS` where there are no lines.
    #[prost(uint32, tag = "1")]
    reason: u32,
    #[prost(message, repeated, tag = "2")]
    lines: Vec<WireLine>,
}

/// Strings by their position, `file` by its position plus one.
#[derive(Clone, PartialEq, Message)]
struct WireLine {
    #[prost(uint32, tag = "1")]
    name: u32,
    #[prost(uint32, tag = "2")]
    system_name: u32,
    #[prost(uint32, tag = "3")]
    file: u32,
    #[prost(uint32, tag = "4")]
    line: u32,
    #[prost(uint32, tag = "5")]
    column: u32,
}

/// The reasons that a symbolizer gives.
const REASONS: [Reason; 5] = [
    Reason::NoObject,
    Reason::NoSymbols,
    Reason::NotCovered,
    Reason::BadObject,
    Reason::Unsupported,
];

// === impl WireOptions ===

impl WireOptions {
    pub(crate) fn new(options: &Options) -> Self {
        let dirs = match &options.debug_links {
            DebugLinks::Ignore => None,
            DebugLinks::Follow(dirs) => Some(dirs),
        };
        let bytes = |path: &PathBuf| path.as_os_str().as_bytes().to_vec();
        Self {
            max_objects: options.max_objects as u64,
            max_cache_bytes: options.max_cache_bytes,
            max_object_bytes: options.max_object_bytes,
            max_names_bytes: options.max_names_bytes as u64,
            follow_links: dirs.is_some(),
            debug_dirs: dirs.into_iter().flatten().map(bytes).collect(),
            scratch_dir: bytes(&options.scratch_dir),
        }
    }

    pub(crate) fn into_options(self) -> Options {
        let dirs = self.debug_dirs.into_iter().map(path).collect();
        Options {
            max_objects: usize::try_from(self.max_objects).unwrap_or(usize::MAX),
            max_cache_bytes: self.max_cache_bytes,
            max_object_bytes: self.max_object_bytes,
            max_names_bytes: usize::try_from(self.max_names_bytes).unwrap_or(usize::MAX),
            debug_links: if self.follow_links {
                DebugLinks::Follow(dirs)
            } else {
                DebugLinks::Ignore
            },
            scratch_dir: path(self.scratch_dir),
        }
    }
}

// === impl Question ===

impl Question {
    pub(crate) fn new(source: &ObjectSource, depth: Depth, addresses: &[u64]) -> Self {
        Self {
            kallsyms: matches!(source, ObjectSource::Kallsyms { .. }),
            path: source.path().as_os_str().as_bytes().to_vec(),
            tables_only: depth == Depth::Tables,
            addresses: addresses.to_vec(),
        }
    }

    pub(crate) fn source(&self) -> ObjectSource {
        let path = path(self.path.clone());
        if self.kallsyms { ObjectSource::Kallsyms { path } } else { ObjectSource::Elf { path } }
    }

    pub(crate) fn depth(&self) -> Depth {
        if self.tables_only { Depth::Tables } else { Depth::Full }
    }
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

// === impl Reply ===

impl Reply {
    pub(crate) fn new(symbols: &[Symbol]) -> Self {
        let mut strings = Strings::default();
        let answers = symbols.iter().map(|symbol| WireSymbol::new(symbol, &mut strings)).collect();
        Self { strings: strings.texts, answers }
    }

    /// How many answers it has.
    pub(crate) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// The symbols, `None` when the reply does not fit a question of `count` addresses.
    pub(crate) fn into_symbols(self, count: usize) -> Option<Vec<Symbol>> {
        if self.answers.len() != count {
            return None;
        }
        let strings: Vec<Arc<str>> = self.strings.into_iter().map(Arc::from).collect();
        self.answers.iter().map(|answer| answer.symbol(&strings)).collect()
    }
}

impl WireSymbol {
    fn new(symbol: &Symbol, strings: &mut Strings) -> Self {
        match symbol {
            Symbol::Named(lines) => {
                let lines = lines.iter().map(|line| WireLine {
                    name: strings.add(&line.name),
                    system_name: strings.add(&line.system_name),
                    file: line.file.as_ref().map_or(0, |file| strings.add(file) + 1),
                    line: line.line,
                    column: line.column,
                });
                Self { reason: 0, lines: lines.collect() }
            }
            Symbol::Unknown(reason) => {
                let position = REASONS.iter().position(|known| known == reason).unwrap_or(3);
                Self { reason: u32::try_from(position).unwrap_or(3), lines: Vec::new() }
            }
        }
    }

    fn symbol(&self, strings: &[Arc<str>]) -> Option<Symbol> {
        if self.lines.is_empty() {
            return REASONS.get(self.reason as usize).map(|reason| Symbol::Unknown(*reason));
        }
        let string = |position: u32| strings.get(position as usize).map(Arc::clone);
        let lines = self.lines.iter().map(|line| {
            Some(Line {
                name: string(line.name)?,
                system_name: string(line.system_name)?,
                file: match line.file.checked_sub(1) {
                    Some(position) => Some(string(position)?),
                    None => None,
                },
                line: line.line,
                column: line.column,
            })
        });
        lines.collect::<Option<Vec<Line>>>().map(Symbol::Named)
    }
}

/// Each string once: shared strings are recognized by their address, which is enough because the
/// symbolizer gives out one copy of each.
#[derive(Default)]
struct Strings {
    texts: Vec<String>,
    positions: std::collections::HashMap<*const u8, u32>,
}

impl Strings {
    fn add(&mut self, text: &Arc<str>) -> u32 {
        let texts = &mut self.texts;
        *self.positions.entry(text.as_ptr()).or_insert_with(|| {
            texts.push(text.to_string());
            u32::try_from(texts.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

// === frames ===

/// Writes one frame.
///
/// # Errors
/// When it is too large (`InvalidData`, nothing written) or cannot be written.
pub(crate) fn send(to: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let size = message.encoded_len();
    if size > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too large"));
    }
    let mut frame = Vec::with_capacity(size + 4);
    frame.extend_from_slice(&u32::try_from(size).map_err(io::Error::other)?.to_le_bytes());
    message.encode(&mut frame).map_err(io::Error::other)?;
    to.write_all(&frame)?;
    to.flush()
}

/// Reads one frame; `None` at the end of the stream.
///
/// # Errors
/// When the stream breaks off or holds something else.
pub(crate) fn receive<M: Message + Default>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut size = [0; 4];
    match from.read_exact(&mut size) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let size = u32::from_le_bytes(size) as usize;
    if size > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too large"));
    }
    let mut frame = vec![0; size];
    from.read_exact(&mut frame)?;
    M::decode(&*frame).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests;
