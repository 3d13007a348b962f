use fleetprof_proto::{
    ids::{BuildId, BuildIdKind, ObjectKind},
    symbol::Reason,
};

use super::*;

fn object(byte: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

/// Check that the cache holds no more than it may, keeps what is used, and tells objects apart.
#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let symbol = |reason| Symbol::Unknown(reason);
    let mut cache = Cache::new(8);
    cache.insert(&object(1), 0, symbol(Reason::NoSymbols));
    cache.insert(&object(2), 0, symbol(Reason::NotCovered));
    for offset in 1..100 {
        assert_eq!(cache.get(&object(1), 0), Some(symbol(Reason::NoSymbols)), "at {offset}");
        cache.insert(&object(3), offset, symbol(Reason::BadObject));
    }
    assert_eq!(cache.get(&object(2), 0), None, "not used for long");
    let kept = (1..100).filter(|offset| cache.get(&object(3), *offset).is_some()).count();
    assert!(kept <= 8, "{kept}");
}
