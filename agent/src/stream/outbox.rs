//! What is queued, in flight and spooled, and what to do next. Pure: no I/O, no clock, no threads.
//!
//! In: batches, and what became of the sends, writes and deletes decided here. Out: decisions
//! ([`Send`], [`SpoolOp`]) for the drivers, and [`Effect`]s for the ledger.
//!
//! A batch lives either in memory or, once it is safely written, in the spool. It leaves only by an
//! acknowledgement, a rejection, or an [`Effect::Dropped`] that names the reason. Both places are
//! bounded. When one is full the *oldest* batch makes way: what the host does now is worth more than
//! what it did when the collector went away, and what remains is one unbroken stretch of time.
//! Batches that were sent but not answered are spared while others can go, because nobody can tell
//! yet whether they are stored.
//!
//! A batch on which one stream after the other breaks is sent after those that never saw that, so
//! that it cannot hold up the rest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use fleetprof_proto::ids::BatchId;

use crate::accounting::{DropReason, Owner, Place};

mod state;

use state::{Entry, Flight, Key, Turn};

/// Bounds and times of an [`Outbox`].
#[derive(Clone, Copy, Debug)]
pub(super) struct OutboxLimits {
    /// Batches in memory, bytes.
    pub(super) memory_bytes: u64,
    /// Batches beyond that which a working spool is about to take, bytes. One batch may always be
    /// on its way, whatever its size.
    pub(super) transit_bytes: u64,
    /// Batches on disk, bytes; `None` without a spool.
    pub(super) spool_bytes: Option<u64>,
    /// Age at which an unacknowledged batch goes to the spool.
    pub(super) spool_after: Duration,
    /// Pause after a failed write.
    pub(super) spool_retry: Duration,
    /// Batches sent and not answered.
    pub(super) in_flight_batches: usize,
    /// Their bytes. One batch may always be in flight, whatever its size.
    pub(super) in_flight_bytes: u64,
}

/// A sealed batch as the outbox sees it; `P` is what is sent.
#[derive(Clone, Debug)]
pub(super) struct Item<P> {
    pub(super) id: BatchId,
    pub(super) samples: u64,
    /// In memory, bytes.
    pub(super) bytes: u64,
    /// On disk, bytes.
    pub(super) disk_bytes: u64,
    pub(super) payload: P,
}

/// What to send next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Send<P> {
    /// It is in flight from now on.
    Now(BatchId, P),
    /// To be read from the spool, then confirmed with [`Outbox::loaded`] or [`Outbox::load_failed`].
    Load(BatchId),
}

/// What the spool has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SpoolOp<P> {
    /// Confirm with [`Outbox::written`] or [`Outbox::write_failed`].
    Write(BatchId, P),
    /// Confirm with [`Outbox::deleted`].
    Delete(BatchId),
    /// Nothing until the outbox changes, or this instant comes.
    Wait(Option<Instant>),
}

/// What happened to samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// From memory to the spool.
    Spooled { samples: u64 },
    /// Acknowledged.
    Delivered { owner: Owner, place: Place, samples: u64 },
    /// Lost.
    Dropped { id: BatchId, owner: Owner, place: Place, samples: u64, reason: DropReason },
}

/// What an answer of the collector was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A batch that was waiting for it.
    Expected(Effect),
    /// A batch that is gone: answered already, or dropped.
    Gone,
    /// A batch that was never sent.
    NeverSent,
}

/// Counts for metrics and the summary at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OutboxCounts {
    pub(super) memory_batches: usize,
    pub(super) memory_samples: u64,
    pub(super) memory_bytes: u64,
    pub(super) spool_batches: usize,
    pub(super) spool_samples: u64,
    pub(super) spool_bytes: u64,
    pub(super) in_flight_batches: usize,
    pub(super) in_flight_bytes: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Outbox<P> {
    limits: OutboxLimits,
    next_key: Key,
    /// In order of age; keys ascend.
    entries: BTreeMap<Key, Entry<P>>,
    keys: HashMap<BatchId, Key>,
    /// Neither in flight nor being read, in the order they are to be sent in.
    ready: BTreeSet<(Turn, Key)>,
    /// In flight or being read.
    flying: BTreeSet<Key>,
    /// In memory and not being written.
    unspooled: BTreeSet<Key>,
    /// Being written: at most one at a time.
    writing: Option<(BatchId, u64)>,
    /// Files to delete, with their sizes.
    deletes: VecDeque<(BatchId, u64)>,
    deleting: Option<(BatchId, u64)>,
    /// No write before this instant: the last one failed.
    paused_until: Option<Instant>,
    /// The same for reads.
    reads_paused_until: Option<Instant>,
    /// Room in the spool that other files take.
    aside_bytes: u64,
    /// The last write failed.
    failing: bool,
    /// Everything in memory is to be written at once.
    urgent: bool,
    counts: OutboxCounts,
}

// === impl Outbox ===

impl<P: Clone> Outbox<P> {
    pub(super) fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            next_key: 0,
            entries: BTreeMap::new(),
            keys: HashMap::new(),
            ready: BTreeSet::new(),
            flying: BTreeSet::new(),
            unspooled: BTreeSet::new(),
            writing: None,
            deletes: VecDeque::new(),
            deleting: None,
            paused_until: None,
            reads_paused_until: None,
            aside_bytes: 0,
            failing: false,
            urgent: false,
            counts: OutboxCounts::default(),
        }
    }

    pub(super) fn counts(&self) -> OutboxCounts {
        self.counts
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes over a batch of an earlier instance that is in the spool. Oldest first; before any
    /// [`submit`](Self::submit).
    pub(super) fn recover(&mut self, item: &Item<()>, now: Instant) -> Vec<Effect> {
        self.insert(Entry {
            id: item.id,
            owner: Owner::Earlier,
            samples: item.samples,
            bytes: item.bytes,
            disk_bytes: item.disk_bytes,
            since: now,
            payload: None,
            flight: Flight::Ready,
            attempted: false,
            setbacks: 0,
        });
        self.counts.spool_bytes += item.disk_bytes;
        self.make_room_on_disk(0)
    }

    /// Takes over a batch of this instance, dropping older ones where memory is full.
    pub(super) fn submit(&mut self, item: Item<P>, now: Instant) -> Vec<Effect> {
        let (id, bytes, disk_bytes) = (item.id, item.bytes, item.disk_bytes);
        self.insert(Entry {
            id: item.id,
            owner: Owner::This,
            samples: item.samples,
            bytes: item.bytes,
            disk_bytes: item.disk_bytes,
            since: now,
            payload: Some(item.payload),
            flight: Flight::Ready,
            attempted: false,
            setbacks: 0,
        });
        let newest = self.keys.get(&id).copied();
        let spoolable = self.spool_limit().is_some_and(|limit| disk_bytes <= limit);
        if !spoolable || self.failing {
            return self.make_room_in_memory(self.limits.memory_bytes, newest);
        }
        // `next_spool_op` is about to take it: now, if nothing else is being written.
        let transit = self.limits.transit_bytes.max(bytes);
        self.make_room_in_memory(self.limits.memory_bytes.saturating_add(transit), newest)
    }

    /// Other files in the spool's directory are part of what it may take. Before any
    /// [`recover`](Self::recover), and whenever that changes.
    pub(super) fn set_aside(&mut self, bytes: u64) {
        self.aside_bytes = bytes;
    }

    /// The next batch to send, oldest first, if the window of unanswered ones allows one more.
    pub(super) fn next_send(&mut self, now: Instant) -> Option<Send<P>> {
        self.reads_paused_until.take_if(|until| *until <= now);
        let in_memory = |key| self.entries.get(key).is_some_and(|entry| entry.payload.is_some());
        let mut ready = self.ready.iter();
        let (turn, key) = *match self.reads_paused_until {
            None => ready.next(),
            Some(_) => ready.find(|(_, key)| in_memory(key)),
        }?;
        let entry = self.entries.get_mut(&key)?;
        let bytes = self.counts.in_flight_bytes.saturating_add(entry.bytes);
        let full = self.flying.len() >= self.limits.in_flight_batches
            || bytes > self.limits.in_flight_bytes;
        if full && !self.flying.is_empty() {
            return None;
        }
        let send = match &entry.payload {
            Some(payload) => {
                entry.flight = Flight::Sent(now);
                entry.attempted = true;
                Send::Now(entry.id, payload.clone())
            }
            None => {
                entry.flight = Flight::Loading;
                Send::Load(entry.id)
            }
        };
        self.ready.remove(&(turn, key));
        self.flying.insert(key);
        self.counts.in_flight_batches += 1;
        self.counts.in_flight_bytes = bytes;
        Some(send)
    }

    /// A batch was read from the spool: whether it is still to be sent. It is in flight then.
    pub(super) fn loaded(&mut self, id: BatchId, now: Instant) -> bool {
        let entry = self.keys.get(&id).and_then(|key| self.entries.get_mut(key));
        match entry {
            Some(entry) if entry.flight == Flight::Loading => {
                entry.flight = Flight::Sent(now);
                entry.attempted = true;
                true
            }
            _ => false,
        }
    }

    /// A batch could not be read from the spool, and its file is gone from there.
    pub(super) fn load_failed(&mut self, id: BatchId, reason: DropReason) -> Option<Effect> {
        let key = *self.keys.get(&id)?;
        let entry = self.take(key)?;
        self.counts.spool_bytes -= entry.disk_bytes;
        Some(entry.dropped(reason))
    }

    /// The batch is in durable storage.
    pub(super) fn acknowledged(&mut self, id: BatchId) -> Answer {
        self.answered(id, Entry::delivered)
    }

    /// The batch will never be accepted.
    pub(super) fn rejected(&mut self, id: BatchId) -> Answer {
        self.answered(id, |entry| entry.dropped(DropReason::Rejected))
    }

    /// The stream ended: everything unanswered is to be sent again.
    pub(super) fn disconnected(&mut self) {
        for key in std::mem::take(&mut self.flying) {
            if let Some(entry) = self.entries.get_mut(&key) {
                if entry.flight != Flight::Loading {
                    entry.setbacks = entry.setbacks.saturating_add(1);
                }
                entry.flight = Flight::Ready;
                self.ready.insert((entry.turn(), key));
            }
        }
        self.counts.in_flight_batches = 0;
        self.counts.in_flight_bytes = 0;
    }

    /// When the batch that waits longest for an answer was sent.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let sent = |key| match self.entries.get(key)?.flight {
            Flight::Sent(at) => Some(at),
            Flight::Ready | Flight::Loading => None,
        };
        self.flying.iter().filter_map(sent).min()
    }

    /// What the spool has to do next. Deletes go first: they make room.
    pub(super) fn next_spool_op(&mut self, now: Instant) -> (SpoolOp<P>, Vec<Effect>) {
        let mut effects = Vec::new();
        if self.writing.is_some() || self.deleting.is_some() {
            return (SpoolOp::Wait(None), effects);
        }
        let write = self.next_write(now);
        if let Ok(key) = write
            && let Some(entry) = self.entries.get(&key)
        {
            effects = self.make_room_on_disk(entry.disk_bytes);
        }
        if let Some((id, bytes)) = self.deletes.pop_front() {
            self.deleting = Some((id, bytes));
            return (SpoolOp::Delete(id), effects);
        }
        let op = match write {
            Ok(key) => self.start_write(key).unwrap_or(SpoolOp::Wait(None)),
            Err(wake) => SpoolOp::Wait(wake),
        };
        (op, effects)
    }

    /// The batch is in the spool. It leaves memory, or the spool again if it was answered meanwhile.
    pub(super) fn written(&mut self, id: BatchId) -> Option<Effect> {
        let (_, bytes) = self.writing.take_if(|(writing, _)| *writing == id)?;
        self.failing = false;
        let Some(key) = self.keys.get(&id).copied() else {
            self.deletes.push_back((id, bytes));
            return None;
        };
        let entry = self.entries.get_mut(&key)?;
        entry.payload = None;
        self.counts.memory_batches -= 1;
        self.counts.memory_samples -= entry.samples;
        self.counts.memory_bytes -= entry.bytes;
        self.counts.spool_batches += 1;
        self.counts.spool_samples += entry.samples;
        Some(Effect::Spooled { samples: entry.samples })
    }

    /// The batch could not be written, and nothing of it is on disk. Memory takes what it holds.
    pub(super) fn write_failed(&mut self, id: BatchId, now: Instant) -> Vec<Effect> {
        let Some((_, bytes)) = self.writing.take_if(|(writing, _)| *writing == id) else {
            return Vec::new();
        };
        self.counts.spool_bytes -= bytes;
        self.failing = true;
        self.paused_until = Some(now + self.limits.spool_retry);
        if let Some(key) = self.keys.get(&id) {
            self.unspooled.insert(*key);
        }
        self.make_room_in_memory(self.limits.memory_bytes, None)
    }

    /// The file is gone. The room may be what a failed write was waiting for.
    pub(super) fn deleted(&mut self, id: BatchId) {
        if let Some((_, bytes)) = self.deleting.take_if(|(deleting, _)| *deleting == id) {
            self.counts.spool_bytes -= bytes;
            self.paused_until = None;
        }
    }

    /// From now on every batch is written to the spool at once, whatever its age.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
        self.paused_until = None;
    }

    /// Gives up what is only in memory, at the end of the agent.
    pub(super) fn abandon(&mut self, reason: DropReason) -> Vec<Effect> {
        let in_memory = self.entries.iter().filter(|(_, entry)| entry.place() == Place::Memory);
        let keys: Vec<_> = in_memory.map(|(key, _)| *key).collect();
        keys.into_iter()
            .filter_map(|key| self.remove(key).map(|entry| entry.dropped(reason)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
