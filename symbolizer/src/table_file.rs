//! A symbol table in a file, mapped: file offsets of its object in, [`Symbol`]s out.
//!
//! A lookup touches the pages it needs. Names are unpacked and demangled once each, and shared.
#![expect(unsafe_code, reason = "the file is mapped")]

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use fleetprof_proto::symbol::{Line, Reason, Symbol};
use fleetprof_symtab::{self as symtab, Frame, Miss, SourceSet, Table, TableError};
use memmap2::Mmap;
use thiserror::Error;
use tracing::warn;

use crate::names::{ENTRY_BYTES, FunctionName, UNNAMED, cut};

/// Most memory for the names that were given out of one table, bytes.
const MAX_NAMES_BYTES: usize = 16 << 20;

/// A table in use. Shared between threads.
#[derive(Debug)]
pub struct TableFile {
    table: Table<Mmap>,
    names: Mutex<TableNames>,
    /// Memory of the names after the last look-up: asked for while others look up.
    names_bytes: AtomicUsize,
    bytes: u64,
}

/// A file that is no table.
#[derive(Debug, Error)]
pub enum TableFileError {
    /// It cannot be opened or mapped.
    #[error("cannot read the symbol table: {0}")]
    Io(#[from] io::Error),
    /// It is damaged, or of another version.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Names of one table that were asked for before, by their places in it.
#[derive(Debug)]
struct TableNames {
    functions: HashMap<symtab::Text, FunctionName>,
    files: HashMap<symtab::File, Arc<str>>,
    unnamed: FunctionName,
    bytes: usize,
    scratch: Vec<u8>,
}

// === impl TableFile ===

impl TableFile {
    /// Maps the table at `path` and compares its checksums, for which it is read once.
    ///
    /// The file must not change while it is in use, nor be cut short, which would end this process: give
    /// it another name while it is written, then rename it, and replace it in the same way.
    ///
    /// # Errors
    /// When the file cannot be read, or is no table of this version, or is damaged.
    pub fn open(path: &Path) -> Result<Self, TableFileError> {
        let file = File::open(path)?;
        // SAFETY: the caller keeps the file as it is, see above. Should its bytes change all the same,
        // every number in them is checked where it is used.
        let map = unsafe { Mmap::map(&file) }?;
        let bytes = map.len() as u64;
        let table = Table::open(map)?;
        table.verify()?;
        let names = Mutex::new(TableNames::new());
        Ok(Self { table, names, names_bytes: AtomicUsize::new(0), bytes })
    }

    /// What the table at `path` was made from; reads little of it.
    ///
    /// # Errors
    /// As [`Self::open`], but for damage beyond the header.
    pub fn sources_of(path: &Path) -> Result<SourceSet, TableFileError> {
        let file = File::open(path)?;
        // SAFETY: as in `open`.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Table::open(map)?.sources())
    }

    /// What is at file offsets of the object; one answer each.
    pub fn symbolize(&self, offsets: &[u64]) -> Vec<Symbol> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut frames = Vec::new();
        let mut answer = |offset: &u64| {
            let found = self.table.frames_at_offset(*offset, &mut frames);
            match found.and_then(|()| names.lines(&self.table, &frames)) {
                Ok(lines) => Symbol::Named(lines),
                Err(Miss::NoSymbols) => Symbol::Unknown(Reason::NoSymbols),
                Err(Miss::NotCovered | Miss::NotMapped) => Symbol::Unknown(Reason::NotCovered),
                Err(miss @ Miss::Damaged(_)) => {
                    warn!(%miss, "an address stays without a name");
                    Symbol::Unknown(Reason::BadObject)
                }
            }
        };
        let symbols = offsets.iter().map(&mut answer).collect();
        self.names_bytes.store(names.bytes, Ordering::Relaxed);
        symbols
    }

    /// The build ID of the object; empty when it has none.
    pub fn build_id(&self) -> &[u8] {
        self.table.build_id()
    }

    /// What the table was made from.
    pub fn sources(&self) -> SourceSet {
        self.table.sources()
    }

    /// Size of the file, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory it holds, bytes: what was mapped may be resident, names are on the heap.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes + self.names_bytes.load(Ordering::Relaxed) as u64
    }
}

// === impl TableNames ===

impl TableNames {
    fn new() -> Self {
        Self {
            functions: HashMap::new(),
            files: HashMap::new(),
            unnamed: FunctionName::new(UNNAMED),
            bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// Innermost first.
    fn lines(&mut self, table: &Table<Mmap>, frames: &[Frame]) -> Result<Vec<Line>, Miss> {
        let mut line = |frame: &Frame| {
            let function = match frame.function {
                Some(text) => self.function(table, text)?,
                None => self.unnamed.clone(),
            };
            let file = frame.file.map(|file| self.file(table, file)).transpose()?;
            let FunctionName { name, system_name } = function;
            let file = file.filter(|file| !file.is_empty());
            Ok(Line { name, system_name, file, line: frame.line, column: 0 })
        };
        frames.iter().map(&mut line).collect()
    }

    fn function(&mut self, table: &Table<Mmap>, text: symtab::Text) -> Result<FunctionName, Miss> {
        if let Some(known) = self.functions.get(&text) {
            return Ok(known.clone());
        }
        self.scratch.clear();
        table.text(text, &mut self.scratch)?;
        let function = FunctionName::new(&String::from_utf8_lossy(&self.scratch));
        self.account(function.heap_bytes());
        self.functions.insert(text, function.clone());
        Ok(function)
    }

    fn file(&mut self, table: &Table<Mmap>, file: symtab::File) -> Result<Arc<str>, Miss> {
        if let Some(known) = self.files.get(&file) {
            return Ok(Arc::clone(known));
        }
        self.scratch.clear();
        table.path(file, &mut self.scratch)?;
        let path: Arc<str> = Arc::from(cut(&String::from_utf8_lossy(&self.scratch)));
        self.account(ENTRY_BYTES + path.len());
        self.files.insert(file, Arc::clone(&path));
        Ok(path)
    }

    /// When they outgrow the limit they start anew; those already given out live on.
    fn account(&mut self, bytes: usize) {
        if self.bytes + bytes > MAX_NAMES_BYTES {
            self.functions.clear();
            self.files.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
    }
}
