use fleetprof_proto::ids::ObjectKind;

use super::*;

fn code(start: u64, end: u64, name: &str) -> Code {
    let object = Arc::new(CodeObject::new(ObjectKind::KernelModule, None, name.into()));
    Code { start, end, base: start, object, source: Source::Generated(Vec::new()) }
}

fn name_at(map: &KernelMap, address: u64) -> Option<&str> {
    map.find(address).map(|code| code.object.path())
}

/// Check boundaries, and that a module ends where the next one begins.
#[test]
fn addresses_find_their_code() {
    let map =
        KernelMap::new(vec![code(300, 900, "b"), code(100, 400, "a"), code(950, 960, "c")], vec![]);
    let found: Vec<_> = [99, 100, 299, 300, 899, 900, 950, 960].map(|a| name_at(&map, a)).into();
    assert_eq!(found, [None, Some("a"), Some("a"), Some("b"), Some("b"), None, Some("c"), None]);
}

/// Check that only the outermost frames tell how the kernel was entered.
#[test]
fn system_calls_are_told_from_interrupts() {
    let entry = 1000..1100;
    let map = KernelMap::new(vec![code(0, 9000, "kernel")], vec![entry]);
    assert!(map.is_system_call(&[5000, 4000, 1050]));
    assert!(map.is_system_call(&[5000, 1100]), "the return address behind a call at its end");
    assert!(!map.is_system_call(&[5000, 4000, 1000]), "the function before it");
    assert!(!map.is_system_call(&[1050, 5000, 5001, 5002, 5003]));
    assert!(!map.is_system_call(&[]));
}

/// Check that objects keep their serial numbers when the map is made again.
#[test]
fn a_new_map_keeps_the_objects_of_the_old() {
    let old = KernelMap::new(vec![code(100, 200, "a"), code(300, 400, "b")], vec![]);
    let new = KernelMap::new(
        vec![code(100, 200, "a"), code(250, 260, "new"), code(300, 400, "x")],
        vec![],
    );
    assert!(!new.same_places(&old));
    let new = new.with_objects_of(&old);
    let serial = |map: &KernelMap, address| map.find(address).unwrap().object.serial();
    assert_eq!(serial(&new, 100), serial(&old, 100));
    assert_ne!(serial(&new, 300), serial(&old, 300));
}
