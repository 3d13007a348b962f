use std::sync::mpsc::channel;

use super::*;

/// So long that only work which never ends exceeds it.
const LONG: Duration = Duration::from_secs(600);

/// Check that results come back and that one helper serves many calls.
#[test]
fn work_runs_on_one_helper() {
    let guard = Guard::with_patience(LONG);
    let first = guard.run(|| thread::current().id()).unwrap();
    let second = guard.run(|| thread::current().id()).unwrap();
    assert_eq!(first, second);
    assert_ne!(first, thread::current().id());
}

/// Check that work which never ends costs its caller only the patience, that others are served
/// meanwhile, and that the helper is counted off when it comes back after all.
#[test]
fn stalled_work_is_left_behind() {
    let guard = Guard::with_patience(Duration::from_millis(20));
    let (release, wait) = channel::<()>();
    let (back, came_back) = channel::<()>();
    let stalled = guard.run(move || {
        wait.recv().ok();
        back.send(()).ok();
    });
    assert!(matches!(stalled, Err(Stalled::Timeout(_))));
    assert_eq!(guard.stalled(), 1);
    release.send(()).unwrap();
    came_back.recv().unwrap();
    while guard.stalled() != 0 {
        thread::yield_now();
    }
}

/// Check that the number of helpers left behind is bounded.
#[test]
fn too_many_stalls_refuse_further_work() {
    let guard = Guard::with_patience(Duration::from_millis(1));
    let mut releases = Vec::new();
    for _ in 0..MAX_STALLED {
        let (release, wait) = channel::<()>();
        releases.push(release);
        assert!(matches!(guard.run(move || wait.recv().is_ok()), Err(Stalled::Timeout(_))));
    }
    assert!(matches!(guard.run(|| ()), Err(Stalled::TooMany(MAX_STALLED))));
}

/// Check that a panic inside is an error outside, and the guard still works.
#[test]
fn a_panic_is_contained() {
    let guard = Guard::with_patience(LONG);
    let result = guard.run(|| -> u8 { panic!("contained on purpose") });
    assert!(matches!(result, Err(Stalled::Panicked)));
    assert_eq!(guard.run(|| 1).unwrap(), 1);
}
