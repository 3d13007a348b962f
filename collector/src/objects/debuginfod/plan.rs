//! What servers are asked for, and when. Pure: the time comes in.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use fleetprof_proto::ids::ObjectId;

use super::client::What;

/// Doublings of a pause.
const MAX_DOUBLINGS: u32 = 6;

/// A file that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) id: ObjectId,
    pub(super) what: What,
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    /// Agents and uploads have this long to deliver a file first.
    pub(super) patience: Duration,
    /// Until servers that do not have it are asked again.
    pub(super) absent: Duration,
    /// After the first failure; twice as long after each further one.
    pub(super) failure: Duration,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there now, or what is there is as good.
    Got,
    /// No server has it.
    Absent,
    /// What a server has is another file, or cannot be kept for what it is.
    Useless(String),
    /// Servers did not answer, or there is no place for it now.
    Failed(String),
}

/// All targets.
#[derive(Debug)]
pub(super) struct Plan {
    pauses: Pauses,
    targets: HashMap<Target, State>,
}

#[derive(Debug)]
struct State {
    progress: Progress,
    /// Failures in a row.
    failures: u32,
    /// For people.
    said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Due(Instant),
    Running,
    /// Asking again would give the same.
    Had,
}

// === impl Plan ===

impl Plan {
    pub(super) fn new(pauses: Pauses) -> Self {
        Self { pauses, targets: HashMap::new() }
    }

    /// These are missing now, and no others.
    pub(super) fn update(&mut self, missing: HashSet<Target>, now: Instant) {
        self.targets.retain(|target, state| {
            missing.contains(target) || state.progress == Progress::Running
        });
        let due = after(now, self.pauses.patience);
        for target in missing {
            self.targets.entry(target).or_insert_with(|| State::new(due));
        }
    }

    /// The one that has waited longest, if any is due. It is running from now on.
    pub(super) fn next(&mut self, now: Instant) -> Option<Target> {
        let due = self.targets.iter_mut().filter_map(|(target, state)| match state.progress {
            Progress::Due(due) if due <= now => Some((due, target, state)),
            _ => None,
        });
        let (_, target, state) = due.min_by_key(|(due, ..)| *due)?;
        state.progress = Progress::Running;
        "asking".clone_into(&mut state.said);
        Some(target.clone())
    }

    /// Notes what became of one that was running.
    pub(super) fn done(&mut self, target: &Target, outcome: &Outcome, now: Instant) {
        let pauses = self.pauses;
        if let Some(state) = self.targets.get_mut(target) {
            state.done(outcome, pauses, now);
        }
        // Nobody else brought the binary: nobody else will bring its debug information.
        if *outcome == Outcome::Got && target.what == What::Executable {
            let debug = Target { what: What::DebugInfo, ..target.clone() };
            self.targets.entry(debug).or_insert_with(|| State::new(now));
        }
    }

    /// How it stands with the files of an object, in words.
    pub(super) fn says(&self, id: &ObjectId) -> Option<&str> {
        let said = |what| self.targets.get(&Target { id: id.clone(), what });
        said(What::DebugInfo).or_else(|| said(What::Executable)).map(|state| &*state.said)
    }
}

// === impl State ===

impl State {
    fn new(due: Instant) -> Self {
        let said = "to be asked unless it is delivered".to_owned();
        Self { progress: Progress::Due(due), failures: 0, said }
    }

    fn done(&mut self, outcome: &Outcome, pauses: Pauses, now: Instant) {
        let before = std::mem::take(&mut self.failures);
        let later = |pause| Progress::Due(after(now, pause));
        (self.progress, self.said) = match outcome {
            Outcome::Got => (Progress::Had, "no more than what is there".to_owned()),
            Outcome::Absent => (later(pauses.absent), "no server has it".to_owned()),
            Outcome::Useless(why) => (later(pauses.absent), why.clone()),
            Outcome::Failed(why) => {
                self.failures = before.saturating_add(1);
                (later(backoff(pauses.failure, before)), why.clone())
            }
        };
    }
}

/// The pause after so many failures before this one.
pub(super) fn backoff(first: Duration, before: u32) -> Duration {
    first.saturating_mul(1 << before.min(MAX_DOUBLINGS))
}

/// An instant that cannot be told is far away, too.
pub(super) fn after(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now)
}

#[cfg(test)]
mod tests;
