use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn kernel(taken: u64, complete: u64, ring_full: u64) -> KernelCounts {
    let mut counts = KernelCounts { taken, ..KernelCounts::default() };
    counts.results[usize::from(ResultCode::Complete.number())] = complete;
    counts.results[usize::from(ResultCode::RingFull.number())] = ring_full;
    counts
}

fn check(ledger: &Ledger) -> Snapshot {
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.imbalance(), 0, "{snapshot:?}");
    snapshot
}

#[test]
fn samples_are_found_where_they_are() {
    let ledger = Ledger::new();
    ledger.update_kernel(&kernel(100, 90, 7));
    let snapshot = check(&ledger);
    assert_eq!(snapshot.pending, Pending { in_kernel: 93, ..Pending::default() });
    assert_eq!(snapshot.dropped_for("ring_full"), 7);

    ledger.received(60);
    ledger.dropped(DropReason::Undecodable, 5);
    let snapshot = check(&ledger);
    assert_eq!(snapshot.pending, Pending { in_kernel: 33, in_window: 55, ..Pending::default() });

    let _ = ledger.seal(30, || None);
    let _ = ledger.seal(25, || None);
    ledger.spooled(25);
    let pending = Pending { in_kernel: 33, in_memory: 30, in_spool: 25, in_window: 0 };
    assert_eq!(check(&ledger).pending, pending);

    ledger.delivered(Owner::This, Place::Memory, 30);
    ledger.lost(Owner::This, Place::Spool, DropReason::SpoolFull, 25);
    let snapshot = check(&ledger);
    assert_eq!(snapshot.delivered, 30);
    assert_eq!(snapshot.dropped_for("spool_full"), 25);
    assert_eq!(snapshot.dropped_total(), 37);
    assert_eq!(snapshot.pending.total(), 33);
    assert_eq!(snapshot.sealed, 55);
}

#[test]
fn samples_read_before_the_counters_are_counted_as_taken() {
    let ledger = Ledger::new();
    ledger.update_kernel(&kernel(10, 10, 0));
    ledger.received(12);
    let snapshot = check(&ledger);
    assert_eq!((snapshot.taken, snapshot.ahead, snapshot.pending.in_kernel), (12, 2, 0));
    let snapshot = ledger.snapshot_with(|| Some(kernel(15, 15, 0)));
    assert_eq!((snapshot.taken, snapshot.ahead, snapshot.pending.in_kernel), (15, 0, 3));
    assert_eq!(snapshot.imbalance(), 0);
}

#[test]
fn an_older_reading_of_the_kernel_changes_nothing() {
    let ledger = Ledger::new();
    ledger.update_kernel(&kernel(100, 90, 5));
    ledger.update_kernel(&kernel(50, 45, 5));
    assert_eq!(check(&ledger).taken, 100);
    assert_eq!(ledger.snapshot_with(|| None).taken, 100);
}

#[test]
fn the_accounting_of_a_batch_includes_that_batch() {
    let ledger = Ledger::new();
    ledger.received(30);
    let first = ledger.seal(10, || Some(kernel(31, 30, 1)));
    assert_eq!((first.sealed, first.taken, first.pending), (10, 31, 30));
    ledger.delivered(Owner::This, Place::Memory, 10);
    let second = ledger.seal(20, || None);
    assert_eq!((second.sealed, second.delivered, second.pending), (30, 10, 20));
    let counter = |name: &str, value| v1::CounterByName { name: name.into(), value };
    assert_eq!(second.dropped, [counter("ring_full", 1)], "only what is not zero travels");
    assert_eq!(second.results, [counter("complete", 30), counter("ring_full", 1)]);
}

#[test]
fn what_an_earlier_instance_left_is_apart() {
    let ledger = Ledger::new();
    ledger.recovered(50);
    ledger.recovered(20);
    ledger.delivered(Owner::Earlier, Place::Spool, 20);
    ledger.lost(Owner::Earlier, Place::Spool, DropReason::Rejected, 10);
    let snapshot = check(&ledger);
    assert_eq!((snapshot.taken, snapshot.delivered, snapshot.dropped_total()), (0, 0, 0));
    assert_eq!(snapshot.recovered.pending, 40);
    assert_eq!(snapshot.recovered.delivered, 20);
    assert_eq!(snapshot.recovered.dropped_total(), 10);
    let wire = snapshot.to_wire();
    let rejected = v1::CounterByName { name: "rejected".into(), value: 10 };
    assert_eq!((wire.dropped, wire.recovered_dropped), (Vec::new(), vec![rejected]));
}

#[test]
fn a_stage_that_counts_twice_or_forgets_is_seen() {
    let twice = Ledger::new();
    twice.update_kernel(&kernel(10, 10, 0));
    twice.received(10);
    let _ = twice.seal(15, || None);
    assert_eq!(twice.snapshot().imbalance(), -5);

    let received_twice = Ledger::new();
    received_twice.received(20);
    assert_eq!(received_twice.snapshot_with(|| Some(kernel(10, 10, 0))).ahead, 10);

    let acknowledged_twice = Ledger::new();
    acknowledged_twice.received(10);
    let _ = acknowledged_twice.seal(10, || None);
    acknowledged_twice.delivered(Owner::This, Place::Memory, 10);
    acknowledged_twice.delivered(Owner::This, Place::Memory, 10);
    assert_eq!(acknowledged_twice.snapshot().imbalance(), -10);
}

#[test]
fn names_are_unique_and_in_snake_case() {
    let names: Vec<_> = Ledger::new().snapshot().dropped.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    for name in names {
        assert!(name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()), "{name}");
    }
    for (index, reason) in DropReason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index);
        assert!(reason.sentence().ends_with('.'));
    }
}

#[test]
fn a_collector_has_room_for_every_reason_at_its_largest() {
    let ledger = Ledger::new();
    let results = [u64::MAX; RESULTS];
    ledger.update_kernel(&KernelCounts { taken: u64::MAX, results });
    for reason in DropReason::ALL {
        ledger.dropped(*reason, u64::MAX);
        ledger.lost(Owner::Earlier, Place::Spool, *reason, u64::MAX);
    }
    let bytes = prost::Message::encoded_len(&ledger.snapshot().to_wire());
    assert!(bytes < fleetprof_proto::batch::MAX_ACCOUNTING_BYTES / 2, "{bytes}");
}

#[test]
fn numbers_at_the_limit_neither_panic_nor_wrap() {
    let ledger = Ledger::new();
    ledger.update_kernel(&kernel(u64::MAX, u64::MAX, u64::MAX));
    ledger.received(u64::MAX);
    ledger.received(1);
    ledger.dropped(DropReason::Undecodable, u64::MAX);
    let _ = ledger.seal(u64::MAX, || None);
    assert_eq!(ledger.snapshot().taken, u64::MAX);
}

/// What can happen to a sample, and how many.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u64),
    KernelDrop(u64),
    Update,
    Receive(u64),
    Drop(u64),
    Seal(u64),
    Spool(u64),
    Deliver(bool, u64),
    Lose(bool, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let count = 0..50_u64;
    prop_oneof![
        count.clone().prop_map(Step::Take),
        count.clone().prop_map(Step::KernelDrop),
        Just(Step::Update),
        count.clone().prop_map(Step::Receive),
        count.clone().prop_map(Step::Drop),
        count.clone().prop_map(Step::Seal),
        count.clone().prop_map(Step::Spool),
        (any::<bool>(), count.clone()).prop_map(|(spool, n)| Step::Deliver(spool, n)),
        (any::<bool>(), count).prop_map(|(spool, n)| Step::Lose(spool, n)),
    ]
}

proptest! {
    /// Check that stages which move only what they hold keep the identity at every moment, and that
    /// no counter ever runs backwards.
    #[test]
    fn the_identity_holds_after_every_step(steps in prop::collection::vec(step(), 0..100)) {
        let ledger = Ledger::new();
        let (mut counts, mut ring) = (KernelCounts::default(), 0_u64);
        let mut last = ledger.snapshot();
        for step in steps {
            let held = ledger.snapshot().pending;
            let sealed = |spool| if spool { (Place::Spool, held.in_spool) }
                else { (Place::Memory, held.in_memory) };
            match step {
                Step::Take(n) => { counts.taken += n; ring += n; }
                Step::KernelDrop(n) => {
                    counts.taken += n;
                    counts.results[usize::from(ResultCode::RingFull.number())] += n;
                }
                Step::Update => ledger.update_kernel(&counts),
                Step::Receive(n) => { let n = n.min(ring); ring -= n; ledger.received(n); }
                Step::Drop(n) => ledger.dropped(DropReason::Undecodable, n.min(held.in_window)),
                Step::Seal(n) => { let _ = ledger.seal(n.min(held.in_window), || None); }
                Step::Spool(n) => ledger.spooled(n.min(held.in_memory)),
                Step::Deliver(spool, n) => {
                    let (place, held) = sealed(spool);
                    ledger.delivered(Owner::This, place, n.min(held));
                }
                Step::Lose(spool, n) => {
                    let (place, held) = sealed(spool);
                    ledger.lost(Owner::This, place, DropReason::Rejected, n.min(held));
                }
            }
            let now = ledger.snapshot();
            prop_assert_eq!(now.imbalance(), 0, "{:?} after {:?}", now, step);
            prop_assert!(now.taken >= last.taken && now.delivered >= last.delivered);
            prop_assert!(now.dropped_total() >= last.dropped_total());
            last = now;
        }
        let end = ledger.snapshot_with(|| Some(counts));
        prop_assert_eq!(end.taken, counts.taken);
        prop_assert_eq!(end.pending.in_kernel, ring);
        prop_assert_eq!((end.ahead, end.imbalance()), (0, 0));
    }
}
