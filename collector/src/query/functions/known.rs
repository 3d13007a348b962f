//! What functions files were found to say lately. They never change.

use std::sync::Arc;

use fleetprof_store::{FileId, FunctionHistory, FunctionKey, FunctionPlace};
use quick_cache::{Weighter, sync::Cache};

use super::totals::Whole;

/// Most memory for all, bytes; where a query may have little itself, a part of that.
const MAX_BYTES: u64 = 192 << 20;
const PART: u64 = 8;
/// About what most answers take, bytes.
const TYPICAL_BYTES: u64 = 16 << 10;

/// What functions files were found to say lately.
#[derive(Debug)]
pub(in crate::query) struct KnownFunctions(Cache<Key, Answer, ByMemory>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// What all functions take in these files together.
    Day(Vec<FileId>),
    /// The functions at these places of a file.
    Names(FileId, Vec<FunctionPlace>),
    /// What there is of functions of a name in a file.
    History(FileId, String),
}

#[derive(Clone, Debug)]
enum Answer {
    Day(Arc<Whole>),
    Names(Arc<Vec<FunctionKey>>),
    History(Arc<Vec<FunctionHistory>>),
}

#[derive(Clone, Debug)]
struct ByMemory;

// === impl KnownFunctions ===

impl KnownFunctions {
    /// None yet. `query_bytes` is the memory that queries may have.
    pub(in crate::query) fn new(query_bytes: u64) -> Self {
        let bytes = (query_bytes / PART).min(MAX_BYTES);
        let answers = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(answers, bytes, ByMemory))
    }

    pub(super) fn day(&self, files: &[FileId]) -> Option<Arc<Whole>> {
        match self.0.get(&Key::Day(files.to_vec()))? {
            Answer::Day(whole) => Some(whole),
            _ => None,
        }
    }

    pub(super) fn put_day(&self, files: Vec<FileId>, whole: Whole) {
        self.0.insert(Key::Day(files), Answer::Day(Arc::new(whole)));
    }

    pub(super) fn names(
        &self,
        file: FileId,
        places: &[FunctionPlace],
    ) -> Option<Arc<Vec<FunctionKey>>> {
        match self.0.get(&Key::Names(file, places.to_vec()))? {
            Answer::Names(names) => Some(names),
            _ => None,
        }
    }

    pub(super) fn put_names(
        &self,
        file: FileId,
        places: Vec<FunctionPlace>,
        names: Vec<FunctionKey>,
    ) -> Arc<Vec<FunctionKey>> {
        let names = Arc::new(names);
        self.0.insert(Key::Names(file, places), Answer::Names(names.clone()));
        names
    }

    pub(in crate::query) fn history(
        &self,
        file: FileId,
        function: &str,
    ) -> Option<Arc<Vec<FunctionHistory>>> {
        match self.0.get(&Key::History(file, function.to_owned()))? {
            Answer::History(histories) => Some(histories),
            _ => None,
        }
    }

    pub(in crate::query) fn put_history(
        &self,
        file: FileId,
        function: String,
        histories: Arc<Vec<FunctionHistory>>,
    ) {
        self.0.insert(Key::History(file, function), Answer::History(histories));
    }
}

// === impl ByMemory ===

impl Weighter<Key, Answer> for ByMemory {
    fn weight(&self, key: &Key, answer: &Answer) -> u64 {
        let of_key = match key {
            Key::Day(files) => size_of_val(&files[..]),
            Key::Names(_, places) => size_of_val(&places[..]),
            Key::History(_, function) => function.len(),
        };
        let of_answer = match answer {
            Answer::Day(whole) => whole.bytes(),
            Answer::Names(names) => names
                .iter()
                .map(|key| {
                    let texts = key.function.len() + key.file.len() + key.module.len();
                    size_of::<FunctionKey>() + texts
                })
                .sum(),
            Answer::History(histories) => histories
                .iter()
                .map(|it| size_of::<FunctionHistory>() + size_of_val(&it.hours[..]))
                .sum(),
        };
        (size_of::<(Key, Answer)>() + of_key + of_answer) as u64
    }
}
