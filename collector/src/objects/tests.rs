use std::time::{Duration, Instant};

use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectId, ObjectKind};
use tempfile::TempDir;

use super::*;

const LEASE: Duration = Duration::from_secs(100);

fn object(byte: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

fn wants(dir: &TempDir) -> Wants {
    Wants::new(Catalog::open(dir.path(), 1 << 20).expect("opens"), LEASE)
}

/// Check that an object is asked of one agent until its lease ends, then of another, with longer
/// leases each time.
#[test]
fn leases_pass_on_and_grow() {
    let dir = TempDir::new().expect("dir");
    let wants = wants(&dir);
    let (a, b) = (wants.asker(), wants.asker());
    let start = Instant::now();
    assert_eq!(a.ask_at(&[object(1), object(2)], start), [object(1), object(2)]);
    assert_eq!(b.ask_at(&[object(1), object(3)], start), [object(3)]);
    assert_eq!(b.ask_at(&[object(1)], start + LEASE - Duration::from_secs(1)), []);
    let second = start + LEASE;
    assert_eq!(b.ask_at(&[object(1)], second), [object(1)]);
    assert_eq!(a.ask_at(&[object(1)], second + LEASE), [], "the second lease is longer");
    assert_eq!(a.ask_at(&[object(1)], second + 2 * LEASE), [object(1)]);
    assert_eq!(wants.len(), 3);
}

/// Check that a disconnected agent's objects are asked of others at once.
#[test]
fn leases_end_with_their_agent() {
    let dir = TempDir::new().expect("dir");
    let wants = wants(&dir);
    let (a, b) = (wants.asker(), wants.asker());
    let now = Instant::now();
    assert_eq!(a.ask_at(&[object(1)], now), [object(1)]);
    drop(a);
    assert_eq!(b.ask_at(&[object(1)], now), [object(1)]);
}

/// Check that one agent is not asked for everything at once, and is asked for more later.
#[test]
fn an_agent_is_asked_for_a_few_at_a_time() {
    let dir = TempDir::new().expect("dir");
    let wants = wants(&dir);
    let a = wants.asker();
    let now = Instant::now();
    let objects: Vec<_> = (0..40).map(object).collect();
    assert_eq!(a.ask_at(&objects, now), objects[..16]);
    assert_eq!(a.ask_at(&objects, now), []);
    assert_eq!(a.ask_at(&objects, now + LEASE).len(), 16);
}

/// Check that what is remembered is bounded, and that what was hit longest ago is forgotten first.
#[test]
fn the_objects_hit_longest_ago_are_forgotten() {
    let numbered = |number: u32| {
        let bytes = [number.to_be_bytes(); 5].concat();
        let build_id = BuildId::new(BuildIdKind::Gnu, &bytes).expect("valid");
        ObjectId { kind: ObjectKind::File, build_id }
    };
    let dir = TempDir::new().expect("dir");
    let wants = wants(&dir);
    let (a, start) = (wants.asker(), Instant::now());
    let old: Vec<_> = (0..50_000).map(numbered).collect();
    let new: Vec<_> = (50_000..100_001).map(numbered).collect();
    a.ask_at(&old, start);
    a.ask_at(&new, start + LEASE);
    let len = wants.len();
    assert!((90_000..=100_000).contains(&len), "{len}");
    a.ask_at(&new, start + LEASE);
    assert_eq!(wants.len(), len, "all new ones are remembered");
    a.ask_at(&old[..10_000], start + LEASE);
    assert!(wants.len() > len, "some old ones are not");
}

/// Check that nobody is asked for what is being uploaded or is there.
#[test]
fn uploads_stop_the_asking() {
    let dir = TempDir::new().expect("dir");
    let wants = wants(&dir);
    let (a, b) = (wants.asker(), wants.asker());
    let now = Instant::now();
    a.ask_at(&[object(1)], now);
    let uploading = wants.uploading(&object(1));
    assert_eq!(b.ask_at(&[object(1)], now + 50 * LEASE), []);
    drop(uploading);
    assert_eq!(b.ask_at(&[object(1)], now + 50 * LEASE), [object(1)], "it failed");
    wants.uploading(&object(1)).stored();
    assert!(wants.is_empty());
}

/// Check that files in the directory are known at the start, and that the quota counts them.
#[test]
fn stored_objects_are_found_at_the_start() {
    let dir = TempDir::new().expect("dir");
    std::fs::write(dir.path().join(format!("{}.elf", object(1))), [0; 900]).expect("written");
    std::fs::write(dir.path().join("stranger"), "x").expect("written");
    let catalog = Catalog::open(dir.path(), 1000).expect("opens");
    assert!(catalog.contains(&object(1)) && !catalog.contains(&object(2)));
    assert_eq!(catalog.status(), CatalogStatus { stored: 1, bytes: 900 });
    let reserved = catalog.reserve(100).expect("fits");
    assert!(catalog.reserve(1).is_none());
    drop(reserved);
    assert!(catalog.reserve(100).is_some());
    assert!(catalog.reserve(u64::MAX).is_none());
}
