use std::fs::File;

use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};
use tempfile::TempDir;

use super::*;

fn object(byte: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

/// A catalog of objects with these sizes, whose content nobody reads; their queue in that order.
fn queued(dir: &TempDir, sizes: &[u64]) -> (Catalog, Queue) {
    for (number, size) in sizes.iter().enumerate() {
        let name = format!("{}.elf", object(number as u8));
        let file = File::create(dir.path().join(name)).expect("created");
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, *size).expect("space");
    }
    let catalog = Catalog::open(dir.path(), u64::MAX).expect("opens");
    let mut queue = Queue::default();
    for number in 0..sizes.len() {
        queue.add(&catalog.waits(&object(number as u8)).expect("waits"));
    }
    (catalog, queue)
}

/// Check that large objects have a thread, and that one is left to small objects however many there are.
#[test]
fn one_thread_is_left_to_small_objects() {
    assert_eq!([0, 1, 2].map(Lane::of_thread), [Lane::Small, Lane::Any, Lane::Any]);
}

/// Check that one lane is left to small objects, and that the other one does not wait for large ones.
#[test]
fn large_objects_leave_room_for_small_ones() {
    let dir = TempDir::new().expect("dir");
    let (catalog, mut queue) = queued(&dir, &[1, SMALL_BYTES + 1, SMALL_BYTES, 2 * SMALL_BYTES]);
    let mut next = |lane| queue.next(lane, &catalog).map(|job| job.id);
    assert_eq!(next(Lane::Any), Some(object(1)));
    assert_eq!(next(Lane::Small), Some(object(0)));
    assert_eq!(next(Lane::Small), Some(object(2)));
    assert_eq!(next(Lane::Small), None, "the last one is large");
    assert_eq!(next(Lane::Any), Some(object(3)));
    assert_eq!(next(Lane::Any), None);
}

/// Check that what a query waits for comes first, and that nothing is done twice at a time or again.
#[test]
fn what_is_waited_for_comes_first() {
    let dir = TempDir::new().expect("dir");
    let (catalog, mut queue) = queued(&dir, &[1, 1, 1, 1]);
    let job = |number| catalog.waits(&object(number)).expect("waits");
    queue.add_first(&job(2));
    assert_eq!(queue.next(Lane::Any, &catalog).map(|job| job.id), Some(object(2)));
    queue.add_first(&job(2));
    queue.add(&job(2));
    assert_eq!(queue.next(Lane::Any, &catalog).map(|job| job.id), Some(object(0)));
    catalog.refuse(&job(1), Failure::of_object("no ELF file", Reason::BadObject));
    assert_eq!(queue.next(Lane::Any, &catalog).map(|job| job.id), Some(object(3)), "1 is settled");
    assert_eq!(queue.next(Lane::Any, &catalog).map(|job| job.id), None, "2 is being made");
}

/// Check that time grows with the object, within bounds.
#[test]
fn larger_objects_have_more_time() {
    assert_eq!(time_for(0), Duration::from_secs(30));
    assert_eq!(time_for(256 << 20), Duration::from_secs(90));
    assert_eq!(time_for(u64::MAX), MAX_TIME);
}
