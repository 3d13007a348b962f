//! Captured profiles: pprof files in, one [`Captured`] per service that was seen out.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    thread,
    time::Duration,
};

use thiserror::Error;

use crate::{
    pprof::{Location, Profile},
    process, record,
    servers::{Postgres, postgres},
};

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

/// Records this host while its C++ compiler works on every core: a program that every developer's
/// machine has, with some thousand distinct stacks in seconds. For tests and demonstrations; give a
/// capture of the real thing where numbers matter.
///
/// # Panics
/// When the recording fails (it needs root), or there is no C++ compiler.
pub fn record_compiler(duration: Duration, output: &Path) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let source = dir.path().join("load.cpp");
    let text = "#include <functional>\n#include <iostream>\n#include <map>\n#include <regex>\n\
        int main(int count, char **words) {\n    std::map<std::string, int> seen;\n    \
        for (int at = 0; at < count; at++)\n        if (std::regex_search(words[at], std::regex(\"a+b\"))) \
        seen[words[at]]++;\n    std::cout << seen.size();\n}\n";
    fs::write(&source, text).expect("a source file");
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Each compiles again and again until its guard is dropped.
    let _load: Vec<_> = (0..cores)
        .map(|core| {
            let mut command = process::command("sh");
            command.args(["-c", "while c++ -O2 -g -c \"$1\" -o \"$2\"; do :; done", "sh"]);
            command.arg(&source).arg(dir.path().join(format!("{core}.o"))).stdout(Stdio::null());
            process::Running::daemon("c++", &mut command, &dir.path().join("c++.log"))
        })
        .collect();
    record_host(duration, output);
}

/// Records this host while PostgreSQL works on every core for `pgbench`: a service that does the same again
/// and again, as most do, where each run of a compiler is another one.
///
/// # Panics
/// When the recording fails (it needs root), or PostgreSQL is not installed.
pub fn record_database(duration: Duration, output: &Path) {
    let server = Postgres::start();
    let pgbench = |options: &[&str]| {
        let mut command = process::command(postgres::program("pgbench"));
        command.args(options).arg(server.url()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let filled = pgbench(&["--initialize", "--scale=5"]).status();
    assert!(filled.expect("pgbench runs").success(), "pgbench cannot fill a database");
    let logs = tempfile::tempdir().expect("a temporary folder");
    let clients = &["--client=4", "--jobs=1", "--time=3600"];
    let _load = process::Running::daemon(
        "pgbench",
        &mut pgbench(clients),
        &logs.path().join("pgbench.log"),
    );
    record_host(duration, output);
}

fn record_host(duration: Duration, output: &Path) {
    let mut command = record::command(duration, output, &["--frequency", "997"]);
    let output = process::run(&mut command, duration + Duration::from_secs(120));
    assert!(output.status.success(), "record failed ({}):\n{}", output.status, output.stderr);
}

// === impl Captured ===

impl Captured {
    /// Its samples.
    fn weight(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.weight).sum()
    }
}
