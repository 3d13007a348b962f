//! Strings shared between answers.
//!
//! In: names and paths as an object's tables hold them, any size, many times each. Out: one shared
//! copy of each, cut to a bounded size, function names also demangled. Demangling costs more than
//! the lookup of an address, so it is done once per distinct name. Bounded: when the strings of one
//! object outgrow the limit, the table starts anew (strings already given out live on).

use std::{collections::HashMap, path::Path, sync::Arc};

use crate::demangle::demangle;

/// Longest string given out, bytes.
pub(crate) const MAX_STRING_BYTES: usize = 16 * 1024;

/// What an entry of a table of strings takes beside the strings, bytes, about.
pub(crate) const ENTRY_BYTES: usize = 100;

/// Stands for a function that the debug information does not name.
pub(crate) const UNNAMED: &str = "[unknown]";

/// A function's two names.
#[derive(Clone, Debug)]
pub(crate) struct FunctionName {
    /// Demangled.
    pub(crate) name: Arc<str>,
    /// Raw.
    pub(crate) system_name: Arc<str>,
}

/// The strings of one object.
#[derive(Debug)]
pub(crate) struct Names {
    functions: HashMap<Box<str>, FunctionName>,
    files: HashMap<Box<str>, Arc<str>>,
    bytes: usize,
    max_bytes: usize,
}

// === impl FunctionName ===

impl FunctionName {
    /// The names of the function that an object calls `raw`.
    pub(crate) fn new(raw: &str) -> Self {
        let raw = if raw.is_empty() { UNNAMED } else { raw };
        let kept = cut(raw);
        let system_name: Arc<str> = Arc::from(kept);
        // Only the whole name can be demangled; a name that was cut stays raw.
        let demangled = if kept.len() == raw.len() { demangle(raw) } else { None };
        let name = demangled.map_or_else(|| Arc::clone(&system_name), Arc::from);
        Self { name, system_name }
    }

    /// Memory it holds, bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        ENTRY_BYTES + self.name.len() + self.system_name.len()
    }
}

// === impl Names ===

impl Names {
    /// An empty table that holds at most about `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { functions: HashMap::new(), files: HashMap::new(), bytes: 0, max_bytes }
    }

    /// The names of the function that an object calls `raw`.
    pub(crate) fn function(&mut self, raw: &str) -> FunctionName {
        let key = cut(raw);
        if let Some(known) = self.functions.get(key) {
            return known.clone();
        }
        let function = FunctionName::new(raw);
        self.account(2 * key.len() + function.name.len());
        self.functions.insert(key.into(), function.clone());
        function
    }

    /// The path of a source file.
    pub(crate) fn file(&mut self, path: &Path) -> Option<Arc<str>> {
        let text = path.to_string_lossy();
        let key = cut(&text);
        if key.is_empty() {
            return None;
        }
        if let Some(known) = self.files.get(key) {
            return Some(Arc::clone(known));
        }
        let file: Arc<str> = Arc::from(key);
        self.account(2 * key.len());
        self.files.insert(key.into(), Arc::clone(&file));
        Some(file)
    }

    /// Memory it holds, bytes.
    pub(crate) fn heap_bytes(&self) -> u64 {
        self.bytes as u64
    }

    fn account(&mut self, string_bytes: usize) {
        if self.bytes + string_bytes + ENTRY_BYTES > self.max_bytes {
            self.functions.clear();
            self.files.clear();
            self.bytes = 0;
        }
        self.bytes += string_bytes + ENTRY_BYTES;
    }
}

/// The longest prefix within the limit.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_STRING_BYTES)]
}

#[cfg(test)]
mod tests;
