use std::time::{Duration, Instant};

use fleetprof_proto::{
    ids::{BuildId, BuildIdKind, ObjectId, ObjectKind},
    symbol::Reason,
};
use fleetprof_symbolizer::identity::SymbolLevel;
use tempfile::TempDir;

use super::{
    catalog::{Failure, Format, Replace},
    *,
};

const LEASE: Duration = Duration::from_secs(100);

fn object(byte: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

fn wants(dir: &TempDir) -> Wants {
    Wants::new(Catalog::open(dir.path(), 1 << 20).expect("opens"), Pool::alone(), LEASE)
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
    wants.stored(&object(1));
    assert!(wants.is_empty());
}

/// Check that an offer is taken up once, only for what is there and says less, that a running upload
/// and a failed one are as good as those of missing objects, and that nothing is shown as missing.
/// It says as much as a file can.
const BETTER: Replace = Replace::Worse(SymbolLevel::DebugInfo);

#[test]
fn better_files_are_asked_for_once() {
    let dir = TempDir::new().expect("dir");
    let catalog = Catalog::open(dir.path(), 1 << 20).expect("opens");
    let wants = Wants::new(catalog.clone(), Pool::alone(), LEASE);
    let (a, b, now) = (wants.asker(), wants.asker(), Instant::now());
    let offer = |level| [(object(1), level)];
    let better = offer(SymbolLevel::DebugInfo);
    assert_eq!(a.offered_at(&better, now), [], "what is not there is asked for when it is hit");
    let file = dir.path().join("new");
    std::fs::write(&file, "no symbols").expect("written");
    let reserved = catalog.reserve(10).expect("fits");
    assert!(
        catalog.adopt(&object(1), Format::Elf, &file, &reserved, Replace::Never).expect("kept")
    );

    assert_eq!(a.offered_at(&offer(SymbolLevel::Dynamic), now), [], "no better");
    assert_eq!(a.offered_at(&better, now), [object(1)]);
    assert_eq!(b.offered_at(&better, now), [], "somebody is asked");
    assert_eq!(b.offered_at(&better, now + LEASE), [object(1)]);
    let running = wants.uploading(&object(1));
    assert_eq!(a.offered_at(&better, now + 50 * LEASE), []);
    drop(running);
    drop(b);
    assert_eq!(a.offered_at(&better, now + LEASE), [object(1)], "the lease ended with its agent");
    assert!(wants.is_empty());

    // An executable with debug information, this test.
    let file = dir.path().join("better");
    std::fs::copy(std::env::current_exe().expect("runs"), &file).expect("copied");
    assert!(catalog.adopt(&object(1), Format::Elf, &file, &reserved, BETTER).expect("kept"));
    wants.stored(&object(1));
    assert_eq!(wants.asker().offered_at(&better, now), []);
}

/// Check that an upload that nobody was asked for leaves nothing to want.
#[test]
fn an_upload_that_fails_is_not_missed_for_itself() {
    let dir = TempDir::new().expect("dir");
    let wants = wants(&dir);
    drop(wants.uploading(&object(1)));
    assert!(wants.is_empty() && wants.all().is_empty());
    wants.asker().ask_at(&[object(1)], Instant::now());
    drop(wants.uploading(&object(1)));
    assert_eq!(wants.len(), 1);
}

/// Check that files in the directory are known at the start, and that the quota counts them.
#[test]
fn stored_objects_are_found_at_the_start() {
    let dir = TempDir::new().expect("dir");
    std::fs::write(dir.path().join(format!("{}.elf", object(1))), [0; 900]).expect("written");
    std::fs::write(dir.path().join("stranger"), "x").expect("written");
    let catalog = Catalog::open(dir.path(), 1000).expect("opens");
    assert!(catalog.contains(&object(1)) && !catalog.contains(&object(2)));
    let expected = CatalogStatus { stored: 1, bytes: 900, waiting: 1, failed: 0 };
    assert_eq!(catalog.status(), expected);
    let reserved = catalog.reserve(100).expect("fits");
    assert!(catalog.reserve(1).is_none());
    drop(reserved);
    assert!(catalog.reserve(100).is_some());
    assert!(catalog.reserve(u64::MAX).is_none());
}

/// Check that tables and failures are found at the start, that the quota counts tables, and that a
/// failure of another converter is forgotten.
#[test]
fn tables_and_failures_are_found_at_the_start() {
    let dir = TempDir::new().expect("dir");
    let write = |id, extension: &str, text: &str| {
        let name = format!("{}.{extension}", object(id));
        std::fs::write(dir.path().join(name), text).expect("written");
    };
    for id in 1..=4 {
        write(id, "elf", "object");
    }
    write(1, "symtab", "table");
    let catalog = Catalog::open(dir.path(), 1000).expect("opens");
    let job = |id| catalog.waits(&object(id)).expect("waits");
    catalog.refuse(&job(2), Failure::of_object("too large\nby far", Reason::BadObject));
    catalog.refuse(&job(3), Failure::perhaps_of_object("killed"));
    write(4, "failed", "converter 0\nbad_object\nit was worse then\n");

    let catalog = Catalog::open(dir.path(), 1000).expect("opens");
    let expected = CatalogStatus { stored: 4, bytes: 4 * 6 + 5, waiting: 2, failed: 1 };
    assert_eq!(catalog.status(), expected);
    assert!(matches!(catalog.names_of(&object(1)), Some(NamesOf::Table { .. })));
    let Some(NamesOf::Failed(failure)) = catalog.names_of(&object(2)) else { panic!("no failure") };
    assert_eq!((&*failure.why, failure.reason), ("too large\nby far", Reason::BadObject));
    assert!(!catalog.convert_again(&object(2), None), "it would fail again");
    assert!(matches!(catalog.names_of(&object(3)), Some(NamesOf::Waiting)), "it may not");
    assert!(catalog.names_of(&object(5)).is_none());
}

/// Check that a table that is damaged is made again, but not one that has replaced it meanwhile.
#[test]
fn damaged_tables_are_made_again() {
    let dir = TempDir::new().expect("dir");
    std::fs::write(dir.path().join(format!("{}.elf", object(1))), "object").expect("written");
    let catalog = Catalog::open(dir.path(), 1000).expect("opens");
    let new_table = || {
        let table = dir.path().join("new");
        std::fs::write(&table, "table").expect("written");
        let job = catalog.waits(&object(1)).expect("waits");
        catalog.adopt_table(&job, &table, 5).expect("kept");
        let Some(NamesOf::Table { revision, .. }) = catalog.names_of(&object(1)) else {
            panic!("no table")
        };
        revision
    };
    let first = new_table();
    assert_eq!(catalog.status().bytes, 11);
    assert!(catalog.convert_again(&object(1), Some(first)));
    assert!(!catalog.convert_again(&object(1), Some(first)), "it is waiting already");
    assert_eq!((catalog.status().bytes, catalog.status().waiting), (6, 1));
    new_table();
    assert!(!catalog.convert_again(&object(1), Some(first)));
    assert_eq!((catalog.status().bytes, catalog.status().waiting), (11, 0));
}

/// Check that a table serves until the one of better files is made, that a table of files that were
/// replaced meanwhile is not the last one, and that a restart in between changes nothing.
#[test]
fn better_files_get_another_table() {
    let dir = TempDir::new().expect("dir");
    let catalog = Catalog::open(dir.path(), 1000).expect("opens");
    let new_file = |text: &str| {
        let path = dir.path().join("new");
        std::fs::write(&path, text).expect("written");
        path
    };
    let adopt = |format, text: &str, replace| {
        let reserved = catalog.reserve(text.len() as u64).expect("fits");
        catalog.adopt(&object(1), format, &new_file(text), &reserved, replace).expect("kept")
    };
    let job = || catalog.waits(&object(1)).expect("waits");
    // A debug file alone is no object.
    assert!(adopt(Format::Debug, "lines", Replace::Never));
    assert!(!catalog.contains(&object(1)) && catalog.names_of(&object(1)).is_none());
    assert!(adopt(Format::Elf, "object", Replace::Never));
    assert!(!adopt(Format::Elf, "another", Replace::Never));
    let first = job();
    assert!(first.debug.is_some());

    assert!(adopt(Format::Elf, "a better object", BETTER));
    assert!(!catalog.adopt_table(&first, &new_file("table"), 5).expect("not of these files"));
    catalog.refuse(&first, Failure::of_object("bad", Reason::BadObject));
    let status = CatalogStatus { stored: 1, bytes: 5 + 15, waiting: 1, failed: 0 };
    assert_eq!(catalog.status(), status);
    assert_eq!(Catalog::open(dir.path(), 1000).expect("opens").status(), status, "after a restart");
    assert!(catalog.adopt_table(&job(), &new_file("tables"), 6).expect("kept"));
    assert_eq!(catalog.status(), CatalogStatus { bytes: 26, waiting: 0, ..status });

    // It serves until there is another one.
    assert!(adopt(Format::Elf, "the best object", BETTER));
    assert!(matches!(catalog.names_of(&object(1)), Some(NamesOf::Table { .. })));
    assert_eq!(catalog.status(), CatalogStatus { bytes: 26, ..status });
    assert!(catalog.adopt_table(&job(), &new_file("tables"), 6).expect("kept"));

    // A failure does not take away what is there.
    assert!(adopt(Format::Elf, "a bad object", BETTER));
    catalog.refuse(&job(), Failure::of_object("bad", Reason::BadObject));
    assert!(matches!(catalog.names_of(&object(1)), Some(NamesOf::Table { .. })));
    assert!(catalog.waits(&object(1)).is_none());
    assert_eq!(catalog.reserve(1000 - 23).map(drop), Some(()), "all sizes are counted once");
    assert!(catalog.reserve(1000 - 22).is_none());
}
