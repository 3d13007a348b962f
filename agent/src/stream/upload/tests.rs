use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};

use super::*;

fn wire(number: u32, kind: ObjectKind) -> v1::ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &number.to_le_bytes()).unwrap();
    (&ObjectId { kind, build_id }).into()
}

#[test]
fn the_queue_is_bounded_and_keeps_each_object_once() {
    let uploads = Uploads::default();
    let many: Vec<_> = (0..5000).map(|number| wire(number, ObjectKind::File)).collect();
    assert_eq!(uploads.want(&many), 5000 - QUEUE_OBJECTS as u64);
    assert_eq!(uploads.want(&many[..10]), 0, "known already");
    assert_eq!(uploads.len(), QUEUE_OBJECTS);
    let (first, _) = uploads.next().unwrap();
    assert_eq!(uploads.want(&many[..1]), 0, "being uploaded");
    uploads.done(&first);
    assert_eq!(uploads.len(), QUEUE_OBJECTS - 1);
    assert_eq!(uploads.want(&many[..1]), 0);
    assert_eq!(uploads.len(), QUEUE_OBJECTS);
}

#[test]
fn malformed_requests_are_refused() {
    let uploads = Uploads::default();
    let nothing = v1::ObjectId { kind: 1, build_id: None };
    assert_eq!(uploads.want(&[nothing, wire(1, ObjectKind::Anonymous)]), 2);
    assert_eq!(uploads.len(), 0);
}

/// Check that a large object waits for all others, those asked for later included, and stays known.
#[test]
fn a_large_object_lets_all_others_pass() {
    let uploads = Uploads::default();
    let wanted: Vec<_> = (0..3).map(|number| wire(number, ObjectKind::File)).collect();
    let ids: Vec<_> = wanted.iter().map(|id| ObjectId::try_from(id).unwrap()).collect();
    uploads.want(&wanted[..2]);
    let (large, may_be_large) = uploads.next().unwrap();
    assert!(!may_be_large);
    uploads.defer(large);
    uploads.want(&wanted);
    assert_eq!(uploads.len(), 3);
    let order: Vec<_> = std::iter::from_fn(|| uploads.next()).collect();
    let [first, second, third] = [&ids[0], &ids[1], &ids[2]].map(Clone::clone);
    assert_eq!(order, [(second, false), (third, false), (first, true)]);
}
