//! What this collector has converted, for all others.

use std::{
    collections::{HashSet, VecDeque},
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fleetprof_proto::{ids::ObjectId, symbol::Reason};
use fleetprof_store::{NewSymbols, StoreError, SymbolSource};
use fleetprof_symbolizer::{CONVERTER_VERSION, TableFile};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Shared, merit};
use crate::{
    metrics::ResultLabel,
    objects::catalog::{Failure, NamesOf},
};

/// Pause after a failure, twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Objects whose tables the others may need. Nothing is lost in a crash: at the start all are looked at.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<ObjectId>,
    /// Those in the queue and those that are worked on.
    known: HashSet<ObjectId>,
    /// Those that changed while they were worked on.
    again: HashSet<ObjectId>,
}

/// What there is of an object, and how good it is.
struct Own {
    names: NamesOf,
    merit: u32,
    level: u32,
    /// When it was made: somebody needed it then.
    made: SystemTime,
}

// === impl Queue ===

impl Queue {
    /// Answers whether there is something new to do.
    pub(super) fn add(&mut self, id: ObjectId) -> bool {
        if !self.known.insert(id.clone()) {
            if !self.waiting.contains(&id) {
                self.again.insert(id);
            }
            return false;
        }
        self.waiting.push_back(id);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn contains(&self, id: &ObjectId) -> bool {
        self.known.contains(id)
    }

    fn next(&mut self) -> Option<ObjectId> {
        self.waiting.pop_front()
    }

    /// Puts one that was worked on back, if it is not done or has changed.
    fn end(&mut self, id: ObjectId, done: bool) {
        if self.again.remove(&id) || !done {
            self.waiting.push_back(id);
        } else {
            self.known.remove(&id);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Publishes what is queued until `stop` fires.
    pub(super) async fn publish(self: Arc<Self>, stop: CancellationToken) {
        let mut pause = PAUSE;
        loop {
            let next = self.queue().next();
            let Some(id) = next else {
                tokio::select! {
                    () = self.queued.notified() => continue,
                    () = stop.cancelled() => return,
                }
            };
            let published = tokio::select! {
                published = self.publish_one(&id) => published,
                // What it was at is swept, and published after the next start.
                () = stop.cancelled() => return,
            };
            let (result, done) = match published {
                Ok(Some(result)) => {
                    self.claims().done(&id);
                    (result, true)
                }
                Ok(None) => ("nothing", true),
                Err(error) => {
                    if let Some(silent) = self.log.allow() {
                        warn!(object = %id, %error, silent, "symbol table is published later");
                    }
                    ("failed", false)
                }
            };
            self.metrics.symbol_publications.get_or_create(&ResultLabel { result }).inc();
            self.queue().end(id, done);
            if done {
                pause = PAUSE;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = MAX_PAUSE.min(pause * 2),
                    () = stop.cancelled() => return,
                }
            }
        }
    }

    /// A word for counters; `None`: there is nothing to publish yet.
    async fn publish_one(&self, id: &ObjectId) -> Result<Option<&'static str>, StoreError> {
        let (catalog, object) = (self.catalog.clone(), id.clone());
        let looking = tokio::task::spawn_blocking(move || Own::find(&catalog, &object));
        let own = looking.await.map_err(|_| StoreError::Panicked)?;
        // It is still being made, or is damaged: then it is made again.
        let Some(Own { names, merit, level, made }) = own else { return Ok(None) };
        if !self.index_mut().own(id, merit) {
            return Ok(Some("known"));
        }
        let why;
        let source = match &names {
            NamesOf::Table { path, .. } => SymbolSource::Table(path),
            NamesOf::Listing(path) => SymbolSource::Listing(path),
            NamesOf::Failed(failure) => {
                why = text_of(failure);
                SymbolSource::None(&why)
            }
            NamesOf::Waiting => return Ok(None),
        };
        let (converter, used) = (CONVERTER_VERSION, self.day_of(made));
        let new = NewSymbols { object: id, source, merit, level, converter, used };
        match self.store.publish_symbols(&new).await? {
            Some(table) => {
                debug!(object = %id, table = %table.id, "symbol table published");
                self.learn(vec![table]);
                Ok(Some("published"))
            }
            None => Ok(Some("known")),
        }
    }
}

// === impl Own ===

impl Own {
    /// Blocks: looks into the files.
    fn find(catalog: &crate::objects::Catalog, id: &ObjectId) -> Option<Self> {
        let names = catalog.names_of(id)?;
        let merit = match &names {
            NamesOf::Table { path, .. } => merit::of_table(TableFile::sources_of(path).ok()?),
            NamesOf::Listing(_) => merit::LISTING,
            // Elsewhere it may be converted.
            NamesOf::Failed(Failure { retry_at: Some(_), .. }) | NamesOf::Waiting => return None,
            NamesOf::Failed(_) => merit::NONE,
        };
        let level = merit::number_of(catalog.level(id));
        let made = made(&names)?;
        Some(Self { names, merit, level, made })
    }
}

/// When the file was written that names are read from; of a failure, now.
pub(super) fn made(names: &NamesOf) -> Option<SystemTime> {
    match names {
        NamesOf::Table { path, .. } | NamesOf::Listing(path) => {
            fs::metadata(path).and_then(|meta| meta.modified()).ok()
        }
        NamesOf::Failed(_) => Some(SystemTime::now()),
        NamesOf::Waiting => None,
    }
}

/// A failure as the catalog has it.
fn text_of(failure: &Failure) -> String {
    format!("{}\n{}", failure.reason.as_str(), failure.why)
}

/// What it means for an address.
pub(super) fn reason_of(text: &str) -> Reason {
    let reason = text.lines().next().and_then(Reason::from_name);
    reason.unwrap_or(Reason::BadObject)
}

/// In words.
pub(in crate::objects) fn why_of(text: &str) -> &str {
    text.split_once('\n').map_or(text, |(_, why)| why)
}

#[cfg(test)]
mod tests {
    use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};

    use super::*;

    fn object(byte: u8) -> ObjectId {
        let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
        ObjectId { kind: ObjectKind::File, build_id }
    }

    /// Check that each is worked on once at a time, and again when it changed meanwhile or failed.
    #[test]
    fn what_changes_is_done_again() {
        let mut queue = Queue::default();
        assert!(queue.add(object(1)) && queue.add(object(2)) && !queue.add(object(1)));
        assert_eq!(queue.next(), Some(object(1)));
        assert!(!queue.add(object(1)));
        queue.end(object(1), true);
        assert_eq!((queue.next(), queue.next()), (Some(object(2)), Some(object(1))));
        assert_eq!(queue.next(), None);
        queue.end(object(1), true);
        queue.end(object(2), false);
        assert!(queue.contains(&object(2)) && !queue.contains(&object(1)));
        assert_eq!((queue.len(), queue.next()), (1, Some(object(2))));
        queue.end(object(2), true);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn failures_come_back() {
        let failure = Failure::of_object("too large\nby far", Reason::Unsupported);
        let text = text_of(&failure);
        assert_eq!((reason_of(&text), why_of(&text)), (Reason::Unsupported, "too large\nby far"));
        assert_eq!(reason_of("of a later version\n"), Reason::BadObject);
    }
}
