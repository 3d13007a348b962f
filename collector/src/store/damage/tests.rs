use fleetprof_proto::ids::InstanceId;

use super::*;

fn id(sequence: u64) -> BatchId {
    BatchId { instance: InstanceId::try_from(&[1; 16][..]).expect("16 bytes"), sequence }
}

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(start, end).expect("a range")
}

/// A batch whose window has its middle at `middle`.
fn batch(sequence: u64, middle: i64) -> Lost {
    let window = Window { start_unix_nanos: middle - 5, end_unix_nanos: middle + 5 };
    Lost::Batch(id(sequence), window)
}

fn concerning(damage: &Damage, start: i64, end: i64) -> Vec<String> {
    damage.concerning(range(start, end), |_| false)
}

/// Check that a range names what it may miss and nothing else, while the status names everything.
#[test]
fn ranges_name_what_they_may_miss() {
    let mut damage = Damage::default();
    assert!(damage.add(1, 0, Lost::Nothing, "header".to_owned()));
    assert!(damage.add(1, 40, batch(1, 15), "batch".to_owned()));
    assert!(damage.add(2, 40, Lost::Until(100), "bytes".to_owned()));
    assert!(!damage.add(1, 40, Lost::Nothing, "again".to_owned()));
    assert_eq!(damage.sentences(), ["header", "batch", "bytes"]);
    assert_eq!(concerning(&damage, 10, 15), ["bytes"]);
    assert_eq!(concerning(&damage, 15, 16), ["batch", "bytes"]);
    assert_eq!(concerning(&damage, 16, 200), ["bytes"]);
    assert_eq!(concerning(&damage, i64::MIN, 0), ["bytes"]);
    assert_eq!(concerning(&damage, 100, 101), ["bytes"]);
    assert_eq!(concerning(&damage, 101, 200), Vec::<String>::new());
}

/// Check that a damaged batch of which there is another copy is not missed.
#[test]
fn a_batch_that_is_kept_elsewhere_is_not_missed() {
    let mut damage = Damage::default();
    damage.add(1, 40, batch(1, 15), "one".to_owned());
    damage.add(1, 80, batch(2, 15), "two".to_owned());
    assert_eq!(damage.concerning(range(0, 20), |batch| batch == id(1)), ["two"]);
}

/// Check that places past the limit are counted, for the ranges that they may concern.
#[test]
fn places_past_the_limit_are_counted_where_they_may_be_missed() {
    let mut damage = Damage::default();
    for number in 0..MAX_NAMED as u64 {
        damage.add(1, number, Lost::Nothing, "header".to_owned());
    }
    damage.add(2, 0, Lost::Nothing, String::new());
    let more = |places| format!("and {places} more damaged places");
    assert_eq!(damage.sentences().last(), Some(&more(1)));
    assert_eq!(concerning(&damage, i64::MIN, i64::MAX), Vec::<String>::new());
    damage.add(2, 1, batch(1, 15), String::new());
    damage.add(2, 2, batch(2, 25), String::new());
    assert_eq!(concerning(&damage, 0, 16), [more(3)]);
    assert_eq!(concerning(&damage, 25, 26), [more(3)]);
    assert_eq!(concerning(&damage, 0, 15), Vec::<String>::new());
    assert_eq!(concerning(&damage, 26, 99), Vec::<String>::new());
    damage.add(2, 3, Lost::Until(50), String::new());
    assert_eq!(concerning(&damage, i64::MIN, 0), [more(4)]);
    assert_eq!(concerning(&damage, 50, 51), [more(4)]);
    assert_eq!(concerning(&damage, 51, 99), Vec::<String>::new());
}
