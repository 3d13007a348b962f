use fleetprof_proto::ids::InstanceId;

use super::*;

mod model;

const LIMITS: OutboxLimits = OutboxLimits {
    memory_bytes: 100,
    transit_bytes: 30,
    spool_bytes: Some(300),
    spool_after: Duration::from_secs(2),
    spool_retry: Duration::from_secs(10),
    in_flight_batches: 3,
    in_flight_bytes: 60,
};

fn id(sequence: u64) -> BatchId {
    BatchId { instance: InstanceId::try_from(&[7; 16][..]).unwrap(), sequence }
}

fn item(sequence: u64, bytes: u64) -> Item<()> {
    Item { id: id(sequence), samples: bytes + 1, bytes, disk_bytes: bytes + 5, payload: () }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn outbox(limits: OutboxLimits) -> (Outbox<()>, Instant) {
    (Outbox::new(limits), Instant::now())
}

/// Writes what is due, like the driver does.
fn spool_all(outbox: &mut Outbox<()>, now: Instant) -> Vec<Effect> {
    let mut all = Vec::new();
    loop {
        let (op, effects) = outbox.next_spool_op(now);
        all.extend(effects);
        match op {
            SpoolOp::Write(id, ()) => all.extend(outbox.written(id)),
            SpoolOp::Delete(id) => outbox.deleted(id),
            SpoolOp::Wait(_) => return all,
        }
    }
}

fn send_all(outbox: &mut Outbox<()>, now: Instant) -> Vec<Send<()>> {
    let mut sent = Vec::new();
    while let Some(send) = outbox.next_send(now) {
        if let Send::Load(id) = send {
            assert!(outbox.loaded(id, now));
        }
        sent.push(send);
    }
    sent
}

#[test]
fn batches_are_sent_in_order_within_the_window() {
    let (mut outbox, now) = outbox(LIMITS);
    for sequence in 1..=5 {
        assert_eq!(outbox.submit(item(sequence, 20), now), []);
    }
    let sent: Vec<_> = (1..=3).map(|sequence| Send::Now(id(sequence), ())).collect();
    assert_eq!(send_all(&mut outbox, now), sent);
    let delivered = Effect::Delivered { owner: Owner::This, place: Place::Memory, samples: 21 };
    assert_eq!(outbox.acknowledged(id(2)), Answer::Expected(delivered));
    assert_eq!(send_all(&mut outbox, now), [Send::Now(id(4), ())]);
    assert_eq!(outbox.acknowledged(id(2)), Answer::Gone, "a second acknowledgement");
    assert_eq!(outbox.acknowledged(id(5)), Answer::NeverSent);
}

#[test]
fn a_batch_larger_than_the_window_goes_alone() {
    let (mut outbox, now) = outbox(LIMITS);
    outbox.submit(item(1, 90), now);
    outbox.submit(item(2, 5), now);
    assert_eq!(send_all(&mut outbox, now), [Send::Now(id(1), ())]);
    outbox.acknowledged(id(1));
    assert_eq!(send_all(&mut outbox, now), [Send::Now(id(2), ())]);
}

#[test]
fn a_lost_stream_resends_everything_unanswered_first() {
    let (mut outbox, now) = outbox(LIMITS);
    for sequence in 1..=4 {
        outbox.submit(item(sequence, 10), now);
    }
    assert_eq!(send_all(&mut outbox, now).len(), 3);
    assert_eq!(outbox.waiting_since(), Some(now));
    outbox.acknowledged(id(1));
    outbox.disconnected();
    assert_eq!(outbox.waiting_since(), None);
    let sent: Vec<_> = (2..=4).map(|sequence| Send::Now(id(sequence), ())).collect();
    assert_eq!(send_all(&mut outbox, now), sent);
}

#[test]
fn a_batch_goes_to_the_spool_when_it_is_old_enough_even_in_flight() {
    let (mut outbox, now) = outbox(LIMITS);
    outbox.submit(item(1, 10), now);
    send_all(&mut outbox, now);
    let (op, _) = outbox.next_spool_op(now);
    assert_eq!(op, SpoolOp::Wait(Some(now + seconds(2))));
    let effects = spool_all(&mut outbox, now + seconds(2));
    assert_eq!(effects, [Effect::Spooled { samples: 11 }]);
    assert_eq!(outbox.counts().memory_bytes, 0);
    let delivered = Effect::Delivered { owner: Owner::This, place: Place::Spool, samples: 11 };
    assert_eq!(outbox.acknowledged(id(1)), Answer::Expected(delivered));
    assert_eq!(outbox.next_spool_op(now).0, SpoolOp::Delete(id(1)));
    outbox.deleted(id(1));
    assert_eq!(outbox.counts(), OutboxCounts::default());
}

#[test]
fn a_batch_that_cannot_be_read_now_is_tried_again_after_the_others() {
    let (mut outbox, now) = outbox(LIMITS);
    for sequence in 1..=2 {
        outbox.submit(item(sequence, 10), now);
    }
    spool_all(&mut outbox, now + seconds(2));
    assert_eq!(outbox.next_send(now), Some(Send::Load(id(1))));
    outbox.load_postponed(id(1), now);
    assert_eq!(outbox.counts().in_flight_batches, 0);
    // What needs no reading goes on; what does waits.
    outbox.submit(item(3, 10), now);
    assert_eq!(send_all(&mut outbox, now), [Send::Now(id(3), ())]);
    let later = now + seconds(10);
    assert_eq!(outbox.reads_resume(), Some(later));
    assert_eq!(send_all(&mut outbox, later), [Send::Load(id(2)), Send::Load(id(1))]);
    assert_eq!(outbox.reads_resume(), None);
}

#[test]
fn other_files_in_the_spool_are_part_of_its_room() {
    let (mut outbox, now) = outbox(LIMITS);
    outbox.set_aside(290);
    outbox.submit(item(1, 10), now);
    assert_eq!(spool_all(&mut outbox, now + seconds(2)), []);
    assert_eq!(outbox.counts().spool_bytes, 0, "15 bytes do not fit beside 290 of 300");
    outbox.set_aside(200);
    assert_eq!(spool_all(&mut outbox, now + seconds(2)), [Effect::Spooled { samples: 11 }]);
    assert_eq!(outbox.counts().spool_bytes, 15);
}

#[test]
fn spooled_batches_are_read_back_one_at_a_time() {
    let (mut outbox, now) = outbox(LIMITS);
    outbox.submit(item(1, 10), now);
    spool_all(&mut outbox, now + seconds(2));
    assert_eq!(outbox.next_send(now), Some(Send::Load(id(1))));
    assert_eq!(outbox.next_send(now), None);
    outbox.disconnected();
    assert!(!outbox.loaded(id(1), now), "the read belongs to a stream that ended");
    assert_eq!(outbox.next_send(now), Some(Send::Load(id(1))));
    assert!(outbox.loaded(id(1), now));
}

#[test]
fn a_file_that_cannot_be_read_is_dropped_once() {
    let (mut outbox, now) = outbox(LIMITS);
    outbox.submit(item(1, 10), now);
    spool_all(&mut outbox, now + seconds(2));
    assert_eq!(outbox.next_send(now), Some(Send::Load(id(1))));
    let reason = DropReason::SpoolDamaged;
    let (owner, place) = (Owner::This, Place::Spool);
    let dropped = Effect::Dropped { id: id(1), owner, place, samples: 11, reason };
    assert_eq!(outbox.load_failed(id(1), reason), Some(dropped));
    assert_eq!(outbox.load_failed(id(1), reason), None);
    assert_eq!(outbox.counts(), OutboxCounts::default());
}

#[test]
fn full_memory_drops_the_oldest_that_was_never_sent() {
    let (mut outbox, now) = outbox(OutboxLimits { spool_bytes: None, ..LIMITS });
    for sequence in 1..=4 {
        outbox.submit(item(sequence, 25), now);
    }
    assert_eq!(send_all(&mut outbox, now).len(), 2);
    outbox.disconnected();
    let effects = outbox.submit(item(5, 25), now);
    assert!(
        matches!(effects[..], [Effect::Dropped { id: dropped, reason: DropReason::BufferFull, .. }]
            if dropped == id(3)),
        "{effects:?}"
    );
    assert_eq!(outbox.counts().memory_bytes, 100);
}

#[test]
fn a_batch_that_can_never_fit_is_dropped_alone() {
    let (mut outbox, now) = outbox(OutboxLimits { spool_bytes: None, ..LIMITS });
    outbox.submit(item(1, 50), now);
    send_all(&mut outbox, now);
    let effects = outbox.submit(item(2, 101), now);
    assert!(matches!(effects[..], [Effect::Dropped { id: dropped, .. }] if dropped == id(2)));
    assert_eq!(outbox.counts().memory_batches, 1);
}

#[test]
fn memory_under_pressure_is_spooled_before_its_time() {
    let (mut outbox, now) = outbox(LIMITS);
    for sequence in 1..=3 {
        outbox.submit(item(sequence, 25), now);
    }
    assert_eq!(spool_all(&mut outbox, now), [Effect::Spooled { samples: 26 }]);
    assert_eq!(outbox.counts().memory_bytes, 50);
}

#[test]
fn what_does_not_fit_memory_goes_through_to_a_spool_that_works() {
    let (mut outbox, now) = outbox(OutboxLimits { memory_bytes: 0, ..LIMITS });
    assert_eq!(outbox.submit(item(1, 90), now), [], "larger than the transit, but alone");
    assert_eq!(spool_all(&mut outbox, now), [Effect::Spooled { samples: 91 }]);
    assert_eq!(outbox.submit(item(2, 20), now), []);
    assert_eq!(outbox.next_spool_op(now).0, SpoolOp::Write(id(2), ()));
    let effects = outbox.write_failed(id(2), now);
    assert!(matches!(effects[..], [Effect::Dropped { reason: DropReason::SpoolError, .. }]));
    let effects = outbox.submit(item(3, 20), now);
    assert!(matches!(effects[..], [Effect::Dropped { reason: DropReason::SpoolError, .. }]));
    assert_eq!(outbox.counts().memory_bytes, 0);
}

#[test]
fn a_batch_that_breaks_every_stream_does_not_hold_up_the_rest() {
    let (mut outbox, now) = outbox(OutboxLimits { in_flight_batches: 1, ..LIMITS });
    outbox.submit(item(1, 10), now);
    outbox.submit(item(2, 10), now);
    for _ in 0..4 {
        assert_eq!(send_all(&mut outbox, now), [Send::Now(id(1), ())]);
        outbox.disconnected();
    }
    assert_eq!(send_all(&mut outbox, now), [Send::Now(id(2), ())]);
    outbox.acknowledged(id(2));
    assert_eq!(send_all(&mut outbox, now), [Send::Now(id(1), ())], "nothing else is left");
}

#[test]
fn a_full_spool_drops_its_oldest_batch_but_none_in_flight() {
    let (mut outbox, mut now) = outbox(LIMITS);
    let mut effects = Vec::new();
    for sequence in 1..=10 {
        outbox.submit(item(sequence, 25), now);
        now += seconds(2);
        effects.extend(spool_all(&mut outbox, now));
    }
    assert_eq!(outbox.counts().spool_bytes, 300);
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Spooled { .. })));
    assert_eq!(send_all(&mut outbox, now).len(), 2);
    outbox.submit(item(11, 25), now);
    let effects = spool_all(&mut outbox, now + seconds(2));
    assert!(
        matches!(effects[..], [
            Effect::Dropped { id: dropped, reason: DropReason::SpoolFull, place: Place::Spool, .. },
            Effect::Spooled { .. },
        ] if dropped == id(3)),
        "{effects:?}"
    );
    assert_eq!(outbox.counts().spool_bytes, 300);
}

#[test]
fn a_spool_whose_room_is_all_in_flight_drops_nothing_in_vain() {
    let limits = OutboxLimits { spool_bytes: Some(60), in_flight_batches: 1, ..LIMITS };
    let (mut outbox, now) = outbox(limits);
    outbox.submit(item(1, 25), now);
    outbox.submit(item(2, 20), now);
    spool_all(&mut outbox, now + seconds(2));
    assert_eq!(send_all(&mut outbox, now).len(), 1);
    outbox.submit(item(3, 40), now);
    assert_eq!(spool_all(&mut outbox, now + seconds(2)), []);
    outbox.acknowledged(id(1));
    assert_eq!(spool_all(&mut outbox, now + seconds(2)).len(), 2);
}

#[test]
fn a_failed_write_waits_keeps_the_batch_and_then_drops_with_its_own_reason() {
    let (mut outbox, now) = outbox(LIMITS);
    outbox.submit(item(1, 60), now);
    let later = now + seconds(2);
    assert_eq!(outbox.next_spool_op(later).0, SpoolOp::Write(id(1), ()));
    assert_eq!(outbox.write_failed(id(1), later), []);
    assert_eq!(outbox.next_spool_op(later).0, SpoolOp::Wait(Some(later + seconds(10))));
    assert_eq!(outbox.counts().spool_bytes, 0);
    let effects = outbox.submit(item(2, 60), later);
    assert!(matches!(effects[..], [Effect::Dropped { reason: DropReason::SpoolError, .. }]));
    let effects = spool_all(&mut outbox, later + seconds(10));
    assert_eq!(effects, [Effect::Spooled { samples: 61 }]);
}

#[test]
fn an_acknowledgement_during_the_write_removes_the_file_afterwards() {
    let (mut outbox, now) = outbox(LIMITS);
    outbox.submit(item(1, 10), now);
    send_all(&mut outbox, now);
    assert_eq!(outbox.next_spool_op(now + seconds(2)).0, SpoolOp::Write(id(1), ()));
    assert!(matches!(outbox.acknowledged(id(1)), Answer::Expected(_)));
    assert_eq!(outbox.written(id(1)), None);
    assert_eq!(outbox.next_spool_op(now).0, SpoolOp::Delete(id(1)));
    outbox.deleted(id(1));
    assert_eq!(outbox.counts(), OutboxCounts::default());
}

#[test]
fn what_earlier_instances_left_is_sent_first_and_cut_to_the_limit() {
    let (mut outbox, now) = outbox(LIMITS);
    let mut effects = Vec::new();
    for sequence in 1..=11 {
        effects.extend(outbox.recover(&item(sequence, 25), now));
    }
    let (owner, place, reason) = (Owner::Earlier, Place::Spool, DropReason::SpoolFull);
    assert_eq!(effects, [Effect::Dropped { id: id(1), owner, place, samples: 26, reason }]);
    outbox.submit(item(100, 10), now);
    assert_eq!(outbox.next_send(now), Some(Send::Load(id(2))));
}

#[test]
fn hurrying_writes_everything_and_abandoning_drops_only_memory() {
    let (mut outbox, now) = outbox(LIMITS);
    outbox.submit(item(1, 10), now);
    outbox.hurry();
    assert_eq!(spool_all(&mut outbox, now), [Effect::Spooled { samples: 11 }]);
    outbox.submit(item(2, 10), now);
    let effects = outbox.abandon(DropReason::Shutdown);
    assert!(matches!(effects[..], [Effect::Dropped { reason: DropReason::Shutdown, .. }]));
    assert_eq!(outbox.counts().spool_batches, 1);
}
