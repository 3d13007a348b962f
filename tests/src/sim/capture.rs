//! Captured profiles: pprof files in, one [`Captured`] per service that was seen out.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use thiserror::Error;

use crate::pprof::{Location, Profile};

/// Services with fewer distinct stacks are left out where there are richer ones: a fleet of shells
/// shows nothing.
const MIN_STACKS: usize = 200;

/// What one service was seen doing.
#[derive(Debug)]
pub struct Captured {
    /// Its name in the capture.
    pub(super) name: String,
    /// Its stacks.
    pub(super) stacks: Vec<CapturedStack>,
}

/// One stack of a thread of this name.
#[derive(Debug)]
pub(super) struct CapturedStack {
    pub(super) comm: String,
    pub(super) weight: u64,
    /// Innermost first.
    pub(super) locations: Vec<Arc<Location>>,
}

/// There is nothing to replay.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}; give a file that `fleetprof-agent record` wrote")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No sample with frames in any file.
    #[error(
        "the captures hold no stack: record a busy host with `fleetprof-agent record --duration 60s`"
    )]
    Empty,
}

/// Reads files that `fleetprof-agent record` wrote; services of all files, most CPU first.
///
/// # Errors
/// When a file cannot be read, or there is no stack in any.
///
/// # Panics
/// When a file is not a pprof.
pub fn read_captures(paths: &[PathBuf]) -> Result<Vec<Captured>, CaptureError> {
    let mut captures = Vec::new();
    for path in paths {
        let bytes =
            fs::read(path).map_err(|error| CaptureError::Read { path: path.clone(), error })?;
        captures.extend(services(&Profile::read(&bytes)));
    }
    // Kernel threads are on every host, but they are nobody's service.
    captures.retain(|one| !one.name.starts_with('['));
    let rich = captures.iter().filter(|one| one.stacks.len() >= MIN_STACKS).count();
    if rich > 0 {
        captures.retain(|one| one.stacks.len() >= MIN_STACKS);
    }
    if captures.is_empty() {
        return Err(CaptureError::Empty);
    }
    captures.sort_by_key(|one| std::cmp::Reverse(one.weight()));
    Ok(captures)
}

fn services(profile: &Profile) -> Vec<Captured> {
    let mut by_service: BTreeMap<&str, Vec<CapturedStack>> = BTreeMap::new();
    for sample in profile.samples.iter().filter(|sample| !sample.locations.is_empty()) {
        let label = |name| sample.labels.get(name).map_or("", String::as_str);
        by_service.entry(label("service")).or_default().push(CapturedStack {
            comm: label("comm").to_owned(),
            weight: sample.count,
            locations: sample.locations.clone(),
        });
    }
    by_service
        .into_iter()
        .map(|(name, stacks)| Captured { name: name.to_owned(), stacks })
        .collect()
}

// === impl Captured ===

impl Captured {
    /// Its samples.
    fn weight(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.weight).sum()
    }
}
