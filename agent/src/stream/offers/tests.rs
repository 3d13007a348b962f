use fleetprof_proto::{
    batch::{BatchBuilder, Window},
    ids::BuildId,
};

use super::*;

const INTERVAL: Duration = Duration::from_secs(600);

fn object(number: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[number; 20]).unwrap();
    ObjectId { kind: ObjectKind::File, build_id }
}

/// Every object as hot as its number.
fn batch(numbers: impl IntoIterator<Item = u8>) -> Batch {
    let mut builder = BatchBuilder::new();
    let origin = builder.origin([("service", "test")]);
    for number in numbers {
        let row = builder.object(ObjectKind::File, Some(&object(number).build_id), "/bin/x");
        let frame = builder.frame(row, 1, v1::UnresolvedReason::Unspecified);
        let stack = builder.stack([frame]);
        builder.add(origin, stack, 0, 1, u64::from(number));
    }
    let window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };
    builder.finish(window, [], v1::Accounting::default())
}

#[test]
fn the_hottest_are_looked_at_first_and_again_after_the_interval() {
    let (offers, start) = (Offers::default(), Instant::now());
    offers.hit(&batch(1..=20));
    assert_eq!(offers.due(INTERVAL, start), [], "nobody takes offers");
    offers.set_taken(true);
    offers.hit(&batch(1..=20));
    let expect = |numbers: &[u8]| numbers.iter().copied().map(object).collect::<Vec<_>>();
    let due = offers.due(INTERVAL, start);
    assert_eq!(due, expect(&[20, 19, 18, 17, 16, 15, 14, 13]));
    assert_eq!(offers.due(INTERVAL, start), expect(&[12, 11, 10, 9, 8, 7, 6, 5]));
    offers.hit(&batch([20]));
    assert!(!offers.due(INTERVAL, start + INTERVAL / 2).contains(&object(20)));
    offers.hit(&batch([20]));
    assert!(offers.due(INTERVAL, start + INTERVAL).contains(&object(20)));
}

#[test]
fn what_is_not_used_any_more_is_forgotten() {
    let offers = Offers::default();
    offers.set_taken(true);
    offers.hit(&batch(1..=20));
    for _ in 0..10 {
        offers.due(INTERVAL, Instant::now());
    }
    assert!(offers.lock().objects.is_empty());
}

#[test]
fn offers_are_sent_once_and_only_to_who_takes_them() {
    let offers = Offers::default();
    offers.found(&object(1), v1::SymbolLevel::Functions);
    assert!(offers.take().is_none());
    offers.set_taken(true);
    assert!(offers.take().is_none(), "those of another connection are not kept");
    offers.found(&object(1), v1::SymbolLevel::Functions);
    assert_eq!(offers.take().unwrap().objects.len(), 1);
    assert!(offers.take().is_none());
}
