//! How many stacks of a program are whole, and what those look like that are not.

use std::{collections::HashMap, fmt, path::Path};

use fleetprof_tests::pprof::{Location, Sample};

use super::oracle::Oracle;

const KERNEL: &str = "[kernel.kallsyms]";
/// Parts of the names of kernel functions below which a process has no user stack: it has no program
/// yet, or no memory any more.
const WITHOUT_USER: [&str; 5] =
    ["do_exit", "do_group_exit", "bprm_execve", "begin_new_exec", "ret_from_fork"];
/// Outermost frames of a stack that are printed.
const SHOWN_FRAMES: usize = 6;
/// Stacks that are printed.
const SHOWN_STACKS: usize = 6;

/// What was found of one program.
#[derive(Default)]
pub(crate) struct Verdict {
    executable: Option<String>,
    whole: u64,
    all: u64,
    without_user: u64,
    broken: HashMap<String, u64>,
}

// === impl Verdict ===

impl Verdict {
    /// Asks also for this executable.
    pub(crate) fn of_executable(path: &Path) -> Self {
        Self { executable: Some(path.display().to_string()), ..Self::default() }
    }

    /// Stacks that reach a root.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    /// Stacks with a user part, or that should have one.
    pub(crate) fn all(&self) -> u64 {
        self.all
    }

    pub(crate) fn add(&mut self, sample: &Sample, oracle: &mut Oracle) {
        let root = sample.locations.last();
        let has_user = root.is_some_and(|root| !is_kernel(root));
        if !has_user && WITHOUT_USER.iter().any(|part| sample.calls(part)) {
            self.without_user += sample.count;
            return;
        }
        self.all += sample.count;
        let is_whole = has_user && root.is_some_and(|root| oracle.is_root(root));
        if is_whole && self.is_of_executable(sample) {
            self.whole += sample.count;
        } else {
            *self.broken.entry(outermost(sample)).or_default() += sample.count;
        }
    }

    /// The process is named after the file, and its stack has a frame of it. Before the dynamic linker
    /// has jumped to the program there is none: its own entry is the root then.
    fn is_of_executable(&self, sample: &Sample) -> bool {
        self.executable.as_deref().is_none_or(|path| {
            let name = path.rsplit('/').next();
            let mut files = sample.locations.iter().filter_map(|one| one.mapping.as_ref());
            let root = sample.locations.last().and_then(|root| root.mapping.as_ref());
            let in_linker = root.is_some_and(|root| root.file.contains("/ld-linux"));
            sample.labels.get("service").map(String::as_str) == name
                && (in_linker || files.any(|mapping| mapping.file == path))
        })
    }

    /// In one line.
    pub(crate) fn summary(&self) -> String {
        let Self { whole, all, without_user, .. } = self;
        let percent = 100.0 * *whole as f64 / (*all).max(1) as f64;
        format!("{whole} of {all} whole ({percent:.2} %), {without_user} without a user part")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; the others, outermost first:", self.summary())?;
        let mut broken: Vec<_> = self.broken.iter().collect();
        broken.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        broken
            .iter()
            .take(SHOWN_STACKS)
            .try_for_each(|(stack, count)| writeln!(f, "  {count} × {stack}"))
    }
}

fn is_kernel(location: &Location) -> bool {
    location.mapping.as_ref().is_some_and(|mapping| mapping.file == KERNEL)
}

fn outermost(sample: &Sample) -> String {
    let frames = sample.locations.iter().rev().take(SHOWN_FRAMES).map(|location| {
        let name = location.lines.last().map_or("?", |line| line.function.as_str());
        let file = location.mapping.as_ref().map_or("nowhere", |mapping| mapping.file.as_str());
        let file = file.rsplit('/').next().unwrap_or(file);
        format!("{name} ({file}+{:#x})", location.offset)
    });
    let frames = frames.collect::<Vec<_>>().join(" > ");
    format!("{frames} [{} frames]", sample.locations.len())
}
