//! The bookkeeping under [`Outbox`]: one entry per batch, and the indexes that must agree with it.

use super::{Answer, BatchId, DropReason, Effect, Instant, Outbox, Owner, Place, SpoolOp};

/// Order of age.
pub(super) type Key = u64;

/// Lower ones are sent first.
pub(super) type Turn = u32;

/// So many streams may break on a batch before others go first: a collector that is restarted a few
/// times should still get everything in order.
const PATIENT_STREAMS: u32 = 4;

/// One batch.
#[derive(Debug)]
pub(super) struct Entry<P> {
    pub(super) id: BatchId,
    pub(super) owner: Owner,
    pub(super) samples: u64,
    pub(super) bytes: u64,
    pub(super) disk_bytes: u64,
    /// When it came.
    pub(super) since: Instant,
    /// `None` once it is in the spool.
    pub(super) payload: Option<P>,
    pub(super) flight: Flight,
    /// It was sent at least once, so a collector may have it.
    pub(super) attempted: bool,
    /// Streams that ended while it was in flight.
    pub(super) setbacks: u32,
}

/// Where a batch is on its way to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    Ready,
    Loading,
    Sent(Instant),
}

// === impl Entry ===

impl<P> Entry<P> {
    pub(super) fn place(&self) -> Place {
        if self.payload.is_some() { Place::Memory } else { Place::Spool }
    }

    pub(super) fn turn(&self) -> Turn {
        self.setbacks / PATIENT_STREAMS
    }

    /// Makes it ready again, behind those that had no trouble.
    pub(super) fn step_behind(&mut self) {
        self.flight = Flight::Ready;
        self.setbacks = self.setbacks.saturating_add(PATIENT_STREAMS);
    }

    pub(super) fn delivered(&self) -> Effect {
        Effect::Delivered { owner: self.owner, place: self.place(), samples: self.samples }
    }

    pub(super) fn dropped(&self, reason: DropReason) -> Effect {
        let (owner, place) = (self.owner, self.place());
        Effect::Dropped { id: self.id, owner, place, samples: self.samples, reason }
    }
}

// === impl Outbox ===

impl<P: Clone> Outbox<P> {
    /// What batches may take on disk; `None` without a spool.
    pub(super) fn spool_limit(&self) -> Option<u64> {
        self.limits.spool_bytes.map(|limit| limit.saturating_sub(self.aside_bytes))
    }

    pub(super) fn insert(&mut self, entry: Entry<P>) {
        let key = self.next_key;
        self.next_key += 1;
        match entry.place() {
            Place::Memory => {
                self.unspooled.insert(key);
                self.counts.memory_batches += 1;
                self.counts.memory_samples += entry.samples;
                self.counts.memory_bytes += entry.bytes;
            }
            Place::Spool => {
                self.counts.spool_batches += 1;
                self.counts.spool_samples += entry.samples;
            }
        }
        self.ready.insert((entry.turn(), key));
        self.keys.insert(entry.id, key);
        self.entries.insert(key, entry);
    }

    /// Takes a batch out of every index. A file it has stays, and stays counted.
    pub(super) fn take(&mut self, key: Key) -> Option<Entry<P>> {
        let entry = self.entries.remove(&key)?;
        self.keys.remove(&entry.id);
        self.ready.remove(&(entry.turn(), key));
        self.unspooled.remove(&key);
        if self.flying.remove(&key) {
            self.counts.in_flight_batches -= 1;
            self.counts.in_flight_bytes -= entry.bytes;
        }
        match entry.place() {
            Place::Memory => {
                self.counts.memory_batches -= 1;
                self.counts.memory_samples -= entry.samples;
                self.counts.memory_bytes -= entry.bytes;
            }
            Place::Spool => {
                self.counts.spool_batches -= 1;
                self.counts.spool_samples -= entry.samples;
            }
        }
        Some(entry)
    }

    /// Like [`take`](Self::take), and has the batch's file deleted.
    pub(super) fn remove(&mut self, key: Key) -> Option<Entry<P>> {
        let entry = self.take(key)?;
        if entry.place() == Place::Spool {
            self.deletes.push_back((entry.id, entry.disk_bytes));
        }
        Some(entry)
    }

    pub(super) fn answered(
        &mut self,
        id: BatchId,
        effect: impl FnOnce(&Entry<P>) -> Effect,
    ) -> Answer {
        let Some(key) = self.keys.get(&id).copied() else { return Answer::Gone };
        if self.entries.get(&key).is_some_and(|entry| !entry.attempted) {
            return Answer::NeverSent;
        }
        self.remove(key).map_or(Answer::Gone, |entry| Answer::Expected(effect(&entry)))
    }

    /// The system could not read a batch from the spool. Its file is there: it is tried again after a
    /// pause, and after the others.
    pub(in crate::stream) fn load_postponed(&mut self, id: BatchId, now: Instant) {
        let Some(key) = self.keys.get(&id).copied() else { return };
        let entry = self.entries.get_mut(&key).filter(|entry| entry.flight == Flight::Loading);
        let Some(entry) = entry else { return };
        entry.step_behind();
        self.ready.insert((entry.turn(), key));
        self.flying.remove(&key);
        self.counts.in_flight_batches -= 1;
        self.counts.in_flight_bytes -= entry.bytes;
        self.reads_paused_until = Some(now + self.limits.spool_retry);
    }

    /// When batches may be read from the spool again, while they may not.
    pub(in crate::stream) fn reads_resume(&self) -> Option<Instant> {
        self.reads_paused_until
    }

    /// Drops the oldest batches of the memory until it holds at most `limit` bytes; the newest itself
    /// when that cannot be had. What is in flight or being written stays: its fate is about to be
    /// known.
    pub(super) fn make_room_in_memory(&mut self, limit: u64, newest: Option<Key>) -> Vec<Effect> {
        let reason = if self.failing { DropReason::SpoolError } else { DropReason::BufferFull };
        let surplus = self.counts.memory_bytes.saturating_sub(limit);
        let others = self.unspooled.iter().filter(|key| Some(**key) != newest);
        match (self.victims(others, surplus, |entry| entry.bytes), newest) {
            ((_, false), Some(newest)) => self.drop_all(&[newest], reason),
            ((victims, _), _) => self.drop_all(&victims, reason),
        }
    }

    /// Drops the oldest batches of the spool so that `bytes` more fit; none when that cannot be had,
    /// because what is in flight takes too much.
    pub(super) fn make_room_on_disk(&mut self, bytes: u64) -> Vec<Effect> {
        let limit = self.spool_limit().unwrap_or(0);
        let going: u64 = self.deletes.iter().map(|(_, bytes)| *bytes).sum();
        let staying = self.counts.spool_bytes.saturating_sub(going);
        let surplus = staying.saturating_add(bytes).saturating_sub(limit);
        if surplus == 0 {
            return Vec::new();
        }
        let in_spool = |(_, entry): &(&Key, &Entry<P>)| entry.place() == Place::Spool;
        let keys = self.entries.iter().filter(in_spool).map(|(key, _)| key);
        match self.victims(keys, surplus, |entry| entry.disk_bytes) {
            (victims, true) => self.drop_all(&victims, DropReason::SpoolFull),
            (_, false) => Vec::new(),
        }
    }

    /// The first of `keys` that together have `surplus` bytes, and whether there are enough. Batches
    /// that a collector may have come last.
    fn victims<'a>(
        &'a self,
        keys: impl Iterator<Item = &'a Key>,
        mut surplus: u64,
        bytes: impl Fn(&Entry<P>) -> u64,
    ) -> (Vec<Key>, bool) {
        let idle = |key: &'a Key| {
            let entry = self.entries.get(key).filter(|entry| entry.flight == Flight::Ready)?;
            Some((*key, entry))
        };
        let mut victims = Vec::new();
        let mut spared = Vec::new();
        for (key, entry) in keys.filter_map(idle) {
            if surplus == 0 {
                break;
            }
            if entry.attempted {
                spared.push((key, entry));
            } else {
                surplus = surplus.saturating_sub(bytes(entry));
                victims.push(key);
            }
        }
        for (key, entry) in spared {
            if surplus == 0 {
                break;
            }
            surplus = surplus.saturating_sub(bytes(entry));
            victims.push(key);
        }
        (victims, surplus == 0)
    }

    fn drop_all(&mut self, keys: &[Key], reason: DropReason) -> Vec<Effect> {
        let dropped = |key: &Key| Some(self.remove(*key)?.dropped(reason));
        keys.iter().filter_map(dropped).collect()
    }

    /// The oldest batch that is due to be written, or when to look again.
    pub(super) fn next_write(&self, now: Instant) -> Result<Key, Option<Instant>> {
        let Some(limit) = self.spool_limit() else { return Err(None) };
        let fits = |key: &&Key| self.entries.get(key).is_some_and(|e| e.disk_bytes <= limit);
        let Some(key) = self.unspooled.iter().find(fits).copied() else { return Err(None) };
        if let Some(until) = self.paused_until
            && until > now
        {
            return Err(Some(until));
        }
        // Above half, writing starts early, so that a burst finds room and is not dropped.
        let pressed = self.counts.memory_bytes > self.limits.memory_bytes / 2;
        let due = self.entries.get(&key).map(|entry| entry.since + self.limits.spool_after);
        match due {
            Some(due) if due > now && !self.urgent && !pressed => Err(Some(due)),
            _ => Ok(key),
        }
    }

    /// `None` when there is no room: everything in the spool is in flight.
    pub(super) fn start_write(&mut self, key: Key) -> Option<SpoolOp<P>> {
        let entry = self.entries.get(&key)?;
        let payload = entry.payload.clone()?;
        let after = self.counts.spool_bytes.checked_add(entry.disk_bytes)?;
        if after > self.spool_limit()? {
            return None;
        }
        self.counts.spool_bytes = after;
        self.unspooled.remove(&key);
        self.writing = Some((entry.id, entry.disk_bytes));
        Some(SpoolOp::Write(entry.id, payload))
    }
}
