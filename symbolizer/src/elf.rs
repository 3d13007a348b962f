//! One ELF object.
//!
//! In: the path of an ELF file from an untrusted source and file offsets in it. Out: the lines of
//! each offset, or the reason why there are none. blazesym does the parsing; this module chooses
//! what it may open, joins what the debug information and the symbol tables say, and survives its
//! panics: first without the address that caused one, then without the object's debug information.
//! Not done here: caching of objects, limits on time and memory (see `pool`).

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use blazesym::symbolize::{self as blaze, CodeInfo, Input, Sym, Symbolized, source as from};
use fleetprof_proto::symbol::{Line, Reason, Symbol};
use tracing::warn;

use crate::{
    identity::{self, FileType, IdentityError, ObjectIdentity},
    names::{Names, UNNAMED},
    options::{DebugLinks, Options},
    sections::Sections,
    symbolizer::Depth,
};

/// Addresses looked up at a time: what one panic costs is the repetition of its chunk.
const CHUNK: usize = 256;

/// Panics after which a parser is not used any more on an object.
const MAX_PANICS: u32 = 8;

/// Most inlined calls reported for one address.
const MAX_INLINED: usize = 256;

/// A file opened for symbolization.
#[derive(Debug)]
pub(crate) struct ElfObject {
    engine: blaze::Symbolizer,
    /// What blazesym opens.
    path: PathBuf,
    /// Keeps `path` valid: it names this descriptor.
    _file: File,
    sections: Sections,
    names: Names,
    debug_dirs: Vec<PathBuf>,
    dwarf: Parser,
    tables: Parser,
    /// Any table that could name code.
    has_symbols: bool,
    /// For the log.
    origin: PathBuf,
}

/// The two sources of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Debug information: functions with inlined calls, files and lines.
    Dwarf,
    /// Symbol tables: functions.
    Tables,
}

/// How a parser does on this object.
#[derive(Debug)]
struct Parser {
    usable: bool,
    panics: u32,
}

/// What one of the two sources says about one address.
enum Answer {
    Lines {
        lines: Vec<Line>,
        /// The symbol's size is known, so that it does cover the address.
        sized: bool,
    },
    Nothing(blaze::Reason),
    /// The parser failed on this address.
    Failed,
}

// === impl ElfObject ===

impl ElfObject {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When the file is missing, is not one that can be symbolized, or is refused.
    pub(crate) fn open(path: &Path, depth: Depth, options: &Options) -> Result<Self, Reason> {
        let refuse = |error: &IdentityError| {
            warn!(path = %path.display(), %error, "object refused");
            match error {
                IdentityError::Io(e) if e.kind() == io::ErrorKind::NotFound => Reason::NoObject,
                _ => Reason::BadObject,
            }
        };
        let mut file = identity::open_regular(path).map_err(|e| refuse(&e))?;
        let identity = identity::identify(&file).map_err(|e| refuse(&e))?;
        let sections = Sections::read(&file).map_err(|e| refuse(&e))?;
        check(&file, &identity, &sections, options)
            .inspect_err(|reason| warn!(path = %path.display(), %reason, "object refused"))?;
        let has = identity.contents;
        let debug = match (depth, &options.debug_links) {
            (Depth::Tables, _) => false,
            (Depth::Full, DebugLinks::Follow(_)) => has.debug_info || has.debug_link,
            (Depth::Full, DebugLinks::Ignore) => has.debug_info,
        };
        if debug && has.debug_link && options.debug_links == DebugLinks::Ignore {
            file = sections.copy_without_links(&file, options).map_err(|error| {
                warn!(path = %path.display(), %error, "cannot make a copy without debug links");
                Reason::BadObject
            })?;
        }
        let debug_dirs = match &options.debug_links {
            DebugLinks::Follow(dirs) => dirs.clone(),
            DebugLinks::Ignore => Vec::new(),
        };
        Ok(Self {
            engine: new_engine(&debug_dirs),
            // The file that was checked, even when another one has taken its place.
            path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            _file: file,
            sections,
            names: Names::new(options.max_names_bytes),
            debug_dirs,
            dwarf: Parser { usable: debug, panics: 0 },
            tables: Parser { usable: true, panics: 0 },
            has_symbols: debug || has.symtab || has.dynsym || has.mini_debug_info,
            origin: path.to_owned(),
        })
    }

    /// Looks up file offsets; one answer each, in their order.
    pub(crate) fn symbolize(&mut self, offsets: &[u64]) -> Vec<Symbol> {
        if !self.has_symbols {
            return vec![Symbol::Unknown(Reason::NoSymbols); offsets.len()];
        }
        let mut symbols = Vec::with_capacity(offsets.len());
        for chunk in offsets.chunks(CHUNK) {
            let mut rich =
                self.dwarf.usable.then(|| self.look_up(chunk, Source::Dwarf)).into_iter().flatten();
            let plain = self.look_up(chunk, Source::Tables);
            symbols.extend(plain.into_iter().map(|plain| Self::join(rich.next(), plain)));
        }
        symbols
    }

    /// Estimated memory, bytes. Measured after 20,000 addresses all over an object: 70 MB for a debug
    /// build of 96 MB, 22 MB for a Go program of 9 MB whose sections are compressed. Symbol tables
    /// take an index of 8 bytes per 24-byte symbol.
    pub(crate) fn heap_bytes(&self, file_bytes: u64) -> u64 {
        let parsed = if self.dwarf.usable {
            (file_bytes + self.sections.decompressed_bytes()) / 2 * 3
        } else {
            file_bytes / 8
        };
        parsed + self.names.heap_bytes()
    }

    /// The answer of one source for each offset.
    fn look_up(&mut self, offsets: &[u64], source: Source) -> Vec<Answer> {
        if let Some(answers) = self.attempt(offsets, source) {
            return answers;
        }
        let one = |offset: &u64| {
            let answers = self.attempt(&[*offset], source);
            answers.and_then(|mut answers| answers.pop()).unwrap_or(Answer::Failed)
        };
        offsets.iter().map(one).collect()
    }

    /// `None` when the parser panicked.
    fn attempt(&mut self, offsets: &[u64], source: Source) -> Option<Vec<Answer>> {
        let failed = || offsets.iter().map(|_| Answer::Failed).collect();
        if !self.parser(source).usable {
            return Some(failed());
        }
        let Self { engine, names, sections, path, .. } = self;
        let run = || {
            let mut elf = from::Elf::new(path.as_path());
            elf.debug_syms = source == Source::Dwarf;
            let found = engine.symbolize(&from::Source::Elf(elf), Input::FileOffset(offsets));
            found.map(|found| found.iter().map(|one| convert(one, names, sections)).collect())
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(answers)) => Some(answers),
            Ok(Err(error)) => {
                self.parser(source).usable = false;
                let error = format!("{error:#}");
                warn!(path = %self.origin.display(), ?source, error, "cannot read an object's symbols");
                Some(failed())
            }
            Err(panic) => {
                // Its caches may be half-built.
                self.engine = new_engine(&self.debug_dirs);
                let parser = self.parser(source);
                parser.panics += 1;
                parser.usable = parser.panics < MAX_PANICS;
                let (usable, what) = (parser.usable, panic_text(panic.as_ref()));
                warn!(path = %self.origin.display(), ?source, what, usable, "parser panicked on an object");
                None
            }
        }
    }

    fn parser(&mut self, source: Source) -> &mut Parser {
        match source {
            Source::Dwarf => &mut self.dwarf,
            Source::Tables => &mut self.tables,
        }
    }

    /// Joins what the debug information says with what the symbol tables say.
    ///
    /// Compilers split and clone functions (`f.cold`, `f.constprop.0`); the debug information has
    /// one name for all of them and the symbol table tells them apart. It also lacks the mangled
    /// names of what is in an anonymous namespace. Of other differing names (identical functions
    /// that were merged) the debug information's stays.
    fn join(rich: Option<Answer>, plain: Answer) -> Symbol {
        match (rich, plain) {
            (
                Some(Answer::Lines { mut lines, .. }),
                Answer::Lines { lines: table, sized: true },
            ) => {
                if let (Some(outer), Some(symbol)) = (lines.last_mut(), table.into_iter().next())
                    && is_better(&symbol.system_name, &outer.system_name)
                {
                    outer.name = symbol.name;
                    outer.system_name = symbol.system_name;
                }
                Symbol::Named(lines)
            }
            (Some(Answer::Lines { lines, .. }), _) | (_, Answer::Lines { lines, .. }) => {
                Symbol::Named(lines)
            }
            (Some(Answer::Failed), _) | (_, Answer::Failed) => Symbol::Unknown(Reason::BadObject),
            (_, Answer::Nothing(reason)) => Symbol::Unknown(Self::reason(reason)),
        }
    }

    fn reason(reason: blaze::Reason) -> Reason {
        match reason {
            blaze::Reason::Unsupported => Reason::Unsupported,
            blaze::Reason::IgnoredError => Reason::BadObject,
            // "Missing symbols" only means "no .symtab": there are others, see `symbolize`.
            _ => Reason::NotCovered,
        }
    }
}

/// Whether the symbol table's name says more than the debug information's.
fn is_better(symbol: &str, function: &str) -> bool {
    let mangled = |name: &str| name.starts_with("_Z") || name.starts_with("_R");
    function == UNNAMED
        || symbol.strip_prefix(function).is_some_and(|suffix| suffix.starts_with('.'))
        || (mangled(symbol) && !mangled(function))
}

/// Refuses what no parser should be given.
fn check(
    file: &File,
    identity: &ObjectIdentity,
    sections: &Sections,
    options: &Options,
) -> Result<(), Reason> {
    if !identity.little_endian || identity.file_type == FileType::Core {
        return Err(Reason::Unsupported);
    }
    let size = file.metadata().map_err(|_| Reason::BadObject)?.len();
    let memory = sections.decompressed_bytes();
    if size > options.max_object_bytes || memory > options.max_object_bytes {
        return Err(Reason::BadObject);
    }
    Ok(())
}

fn new_engine(debug_dirs: &[PathBuf]) -> blaze::Symbolizer {
    blaze::Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_demangling(false)
        .set_debug_dirs(Some(debug_dirs))
        .build()
}

fn convert(symbolized: &Symbolized<'_>, names: &mut Names, sections: &Sections) -> Answer {
    let sym = match symbolized {
        Symbolized::Sym(sym) => sym,
        Symbolized::Unknown(blaze::Reason::IgnoredError) => return Answer::Failed,
        Symbolized::Unknown(reason) => return Answer::Nothing(*reason),
    };
    let address = sym.addr.wrapping_add(sym.offset as u64);
    // A symbol without a size ends with its section at the latest: `_init` does not name the PLT.
    if sym.size.is_none() && sym.code_info.is_none() && !sections.same(sym.addr, address) {
        return Answer::Nothing(blaze::Reason::UnknownAddr);
    }
    Answer::Lines { lines: lines(sym, names), sized: sym.size.is_some() }
}

/// Innermost first.
fn lines(sym: &Sym<'_>, names: &mut Names) -> Vec<Line> {
    let skipped = sym.inlined.len().saturating_sub(MAX_INLINED);
    let mut lines = Vec::with_capacity(sym.inlined.len() - skipped + 1);
    for inlined in sym.inlined[skipped..].iter().rev() {
        lines.push(line(&inlined.name, inlined.code_info.as_ref(), names));
    }
    lines.push(line(&sym.name, sym.code_info.as_deref(), names));
    lines
}

fn line(name: &str, code: Option<&CodeInfo<'_>>, names: &mut Names) -> Line {
    let function = names.function(name);
    Line {
        name: function.name,
        system_name: function.system_name,
        file: code.and_then(|code| names.file(&code.to_path())),
        line: code.and_then(|code| code.line).unwrap_or(0),
        column: code.and_then(|code| code.column).map_or(0, u32::from),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
