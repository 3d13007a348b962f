//! An outbox beside a ledger, a disk and a collector that can be believed, under any order of events.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::{accounting::Ledger, stream::shared::post};

/// Everything that can happen to an outbox, in any order.
#[derive(Clone, Copy, Debug)]
enum Event {
    Submit(u64),
    Send,
    Loaded(bool),
    Postponed,
    Ack(usize),
    Reject(usize),
    Disconnect,
    Spool,
    SpoolEnds(bool),
    Tick(u64),
    Hurry,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..120_u64).prop_map(Event::Submit),
        4 => Just(Event::Send),
        3 => any::<bool>().prop_map(Event::Loaded),
        1 => Just(Event::Postponed),
        3 => (0..40_usize).prop_map(Event::Ack),
        1 => (0..40_usize).prop_map(Event::Reject),
        1 => Just(Event::Disconnect),
        4 => Just(Event::Spool),
        4 => prop::bool::weighted(0.8).prop_map(Event::SpoolEnds),
        2 => (0..12_u64).prop_map(Event::Tick),
        1 => Just(Event::Hurry),
    ]
}

/// An outbox with a ledger, a disk and a collector that can be believed.
struct World {
    outbox: Outbox<()>,
    ledger: Ledger,
    now: Instant,
    limits: OutboxLimits,
    /// Samples of every batch ever seen.
    samples: BTreeMap<u64, u64>,
    ended: HashSet<u64>,
    /// Sequence → bytes.
    files: BTreeMap<u64, u64>,
    loading: Option<BatchId>,
    op: Option<SpoolOp<()>>,
    recovered: u64,
}

impl World {
    fn new(limits: OutboxLimits, recovered: u64) -> Self {
        let mut world = Self {
            outbox: Outbox::new(limits),
            ledger: Ledger::new(),
            now: Instant::now(),
            limits,
            samples: BTreeMap::new(),
            ended: HashSet::new(),
            files: BTreeMap::new(),
            loading: None,
            op: None,
            recovered,
        };
        for sequence in 1..=recovered {
            let item = item(sequence, 20 + sequence);
            world.samples.insert(sequence, item.samples);
            world.files.insert(sequence, item.disk_bytes);
            world.ledger.recovered(item.samples);
            let effects = world.outbox.recover(&item, world.now);
            world.apply(&effects);
        }
        world
    }

    fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            post(&self.ledger, effect);
            if let Effect::Dropped { id, samples, .. } = effect {
                assert_eq!(self.samples.get(&id.sequence), Some(samples));
                assert!(self.ended.insert(id.sequence), "{id} ends twice");
            }
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Submit(bytes) => {
                let sequence = self.samples.len() as u64 + 1;
                let item = item(sequence, bytes);
                self.samples.insert(sequence, item.samples);
                self.ledger.received(item.samples);
                let _ = self.ledger.seal(item.samples, || None);
                let effects = self.outbox.submit(item, self.now);
                self.apply(&effects);
            }
            Event::Send if self.loading.is_none() => {
                if let Some(Send::Load(id)) = self.outbox.next_send(self.now) {
                    self.loading = Some(id);
                }
            }
            Event::Loaded(good) => {
                let Some(id) = self.loading.take() else { return };
                if good {
                    self.outbox.loaded(id, self.now);
                } else {
                    let effect = self.outbox.load_failed(id, DropReason::SpoolDamaged);
                    if effect.is_some() {
                        self.files.remove(&id.sequence);
                    }
                    self.apply(effect.as_slice());
                }
            }
            Event::Postponed => {
                if let Some(id) = self.loading.take() {
                    self.outbox.load_postponed(id, self.now);
                }
            }
            Event::Ack(nth) => self.answer(nth, true),
            Event::Reject(nth) => self.answer(nth, false),
            Event::Disconnect => {
                self.loading = None;
                self.outbox.disconnected();
            }
            Event::Spool if self.op.is_none() => {
                let (op, effects) = self.outbox.next_spool_op(self.now);
                self.apply(&effects);
                self.op = (!matches!(op, SpoolOp::Wait(_))).then_some(op);
            }
            Event::SpoolEnds(good) => self.end_spool_op(good),
            Event::Tick(count) => self.now += seconds(count),
            Event::Hurry => self.outbox.hurry(),
            Event::Send | Event::Spool => {}
        }
    }

    fn answer(&mut self, nth: usize, good: bool) {
        let sequence = nth as u64 + 1;
        let answer = if good {
            self.outbox.acknowledged(id(sequence))
        } else {
            self.outbox.rejected(id(sequence))
        };
        if let Answer::Expected(effect) = answer {
            if matches!(effect, Effect::Delivered { .. }) {
                assert!(self.ended.insert(sequence), "{sequence} ends twice");
            }
            self.apply(&[effect]);
        }
    }

    fn end_spool_op(&mut self, good: bool) {
        match self.op.take() {
            Some(SpoolOp::Write(id, ())) if good => {
                let bytes = self.samples[&id.sequence] + 4;
                self.files.insert(id.sequence, bytes);
                let effect = self.outbox.written(id);
                self.apply(effect.as_slice());
            }
            Some(SpoolOp::Write(id, ())) => {
                let effects = self.outbox.write_failed(id, self.now);
                self.apply(&effects);
            }
            Some(SpoolOp::Delete(id)) => {
                self.files.remove(&id.sequence);
                self.outbox.deleted(id);
            }
            Some(SpoolOp::Wait(_)) | None => {}
        }
    }

    fn check(&self) {
        let counts = self.outbox.counts();
        let snapshot = self.ledger.snapshot();
        assert_eq!(snapshot.imbalance(), 0, "{snapshot:?}");
        let alive = |of_this: bool| -> u64 {
            let alive = self.samples.iter().filter(|(sequence, _)| {
                (**sequence > self.recovered) == of_this && !self.ended.contains(*sequence)
            });
            alive.map(|(_, samples)| *samples).sum()
        };
        assert_eq!(snapshot.pending.total(), alive(true));
        assert_eq!(snapshot.recovered.pending, alive(false));
        assert_eq!(counts.memory_samples, snapshot.pending.in_memory);
        assert_eq!(counts.spool_samples, snapshot.pending.in_spool + snapshot.recovered.pending);
        let largest = self.samples.values().max().copied().unwrap_or(0);
        let transit = self.limits.spool_bytes.map_or(0, |_| self.limits.transit_bytes.max(largest));
        assert!(counts.memory_bytes <= self.limits.memory_bytes + transit);
        assert!(counts.spool_bytes <= self.limits.spool_bytes.unwrap_or(0));
        assert!(self.files.values().sum::<u64>() <= counts.spool_bytes);
        assert!(counts.in_flight_batches <= self.limits.in_flight_batches);
        assert!(
            counts.in_flight_bytes <= self.limits.in_flight_bytes || counts.in_flight_batches == 1
        );
        assert_eq!(counts.memory_batches + counts.spool_batches, self.outbox.entries.len());
        for entry in self.outbox.entries.values().filter(|entry| entry.payload.is_none()) {
            assert!(self.files.contains_key(&entry.id.sequence), "{} has no file", entry.id);
        }
    }

    /// With a collector that answers and a disk that works, everything ends, and the disk is clean.
    fn drain(&mut self) {
        self.step(Event::SpoolEnds(true));
        self.step(Event::Disconnect);
        for _ in 0..10_000 {
            if self.outbox.is_empty() && self.files.is_empty() {
                return;
            }
            self.step(Event::Send);
            self.step(Event::Loaded(true));
            for nth in 0..self.samples.len() {
                self.answer(nth, true);
            }
            self.step(Event::Spool);
            self.step(Event::SpoolEnds(true));
            self.step(Event::Tick(1));
            self.check();
        }
        panic!("stuck: {:?}, files {:?}", self.outbox, self.files);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Check that no order of events loses or repeats a sample, breaks a bound, or leaves a batch
    /// without its bytes; and that everything can still be delivered afterwards.
    #[test]
    fn every_sample_is_somewhere_and_only_once(
        events in prop::collection::vec(event(), 0..120),
        recovered in 0..4_u64,
        spool in prop::bool::weighted(0.8),
    ) {
        let spool_bytes = (spool || recovered > 0).then_some(300);
        let mut world = World::new(OutboxLimits { spool_bytes, ..LIMITS }, recovered);
        for event in events {
            world.step(event);
            world.check();
        }
        world.drain();
        let snapshot = world.ledger.snapshot();
        prop_assert_eq!(snapshot.pending.total() + snapshot.recovered.pending, 0);
        prop_assert_eq!(world.outbox.counts(), OutboxCounts::default());
    }
}
