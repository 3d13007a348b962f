//! The table fed with events only: processes that do not exist.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

/// Check that a child has its parent's mappings until it execs, and the parent keeps its own.
#[test]
fn a_child_inherits_until_it_execs() {
    let mut table = table();
    let (parent, child) = (FICTION, FICTION + 1);
    fork(&mut table, 10, parent, 1);
    exec(&mut table, 20, parent, b"shell");
    mmap(&mut table, 21, parent, 0x1000, "/bin/shell");
    fork(&mut table, 30, child, parent);
    exec(&mut table, 40, child, b"tool");
    mmap(&mut table, 41, child, 0x1000, "/bin/tool");

    assert_eq!(path_at(&mut table, &sample(child, 30, 35), 0x1800).unwrap(), "/bin/shell");
    assert_eq!(path_at(&mut table, &sample(child, 30, 45), 0x1800).unwrap(), "/bin/tool");
    assert_eq!(path_at(&mut table, &sample(parent, 10, 45), 0x1800).unwrap(), "/bin/shell");
    let info = Arc::clone(table.bind(&sample(child, 30, 45)).info());
    assert_eq!((info.comm.as_str(), info.exe.as_deref()), ("tool", Some("/bin/tool")));
    assert_eq!((info.parent, info.gone, info.cgroup_id), (Some(parent), true, 5));
    let before = Arc::clone(table.bind(&sample(child, 30, 35)).info());
    assert_eq!((before.comm.as_str(), before.exe.as_deref()), ("shell", Some("/bin/shell")));
    assert_ne!(before.image, info.image);
}

/// Check that a child's new mapping is not seen by its parent, nor the other way round.
#[test]
fn shared_mappings_are_copied_on_write() {
    let mut table = table();
    let (parent, child) = (FICTION, FICTION + 1);
    exec(&mut table, 20, parent, b"server");
    mmap(&mut table, 21, parent, 0x1000, "/bin/server");
    fork(&mut table, 30, child, parent);
    mmap(&mut table, 31, child, 0x5000, "/lib/childs.so");
    mmap(&mut table, 32, parent, 0x6000, "/lib/parents.so");
    let (of_child, of_parent) = (sample(child, 30, 40), sample(parent, 0, 40));
    assert_eq!(path_at(&mut table, &of_child, 0x1000).unwrap(), "/bin/server");
    assert_eq!(path_at(&mut table, &of_child, 0x5000).unwrap(), "/lib/childs.so");
    assert_eq!(path_at(&mut table, &of_child, 0x6000), None);
    assert_eq!(path_at(&mut table, &of_parent, 0x5000), None);
    assert_eq!(path_at(&mut table, &of_parent, 0x6000).unwrap(), "/lib/parents.so");
}

/// Check that samples of processes that had the same pid find their own.
#[test]
fn a_pid_used_again_is_another_process() {
    let mut table = table();
    for (start, path) in [(SECOND, "/first"), (2 * SECOND, "/second"), (3 * SECOND, "/third")] {
        fork(&mut table, start + 50, FICTION, 1);
        exec(&mut table, start + 60, FICTION, b"x");
        mmap(&mut table, start + 70, FICTION, 0x1000, path);
        exit(&mut table, start + SECOND / 2, FICTION);
    }
    let mut path = |start, time| path_at(&mut table, &sample(FICTION, start, time), 0x1000);
    assert_eq!(path(2 * SECOND, 2 * SECOND + 100).unwrap(), "/second");
    assert_eq!(path(SECOND, SECOND + 100).unwrap(), "/first");
    assert_eq!(path(3 * SECOND, 3 * SECOND + 100).unwrap(), "/third");
    // Where the kernel does not tell the start, the time has to do.
    assert_eq!(path(0, SECOND + 100).unwrap(), "/first");
    assert_eq!(path(0, 2 * SECOND + 100).unwrap(), "/second");
    // One that started in between was never seen: it gets none of their mappings.
    assert_eq!(path(2 * SECOND + SECOND * 6 / 10, 2 * SECOND + SECOND * 7 / 10), None);
}

/// Check that the sample of a process nobody saw is kept, under the name it brings.
#[test]
fn a_process_that_is_gone_is_still_somebody() {
    let mut table = table();
    let first = sample(FICTION, 100, 200);
    let bound = table.bind(&first);
    assert!(bound.is_gone() && bound.mapping(0x1000).is_none());
    let info = Arc::clone(bound.info());
    assert_eq!((info.comm.as_str(), info.gone, info.start_ns), ("thread", true, 100));
    assert_eq!(table.bind(&sample(FICTION, 100, 300)).info().image, info.image);
    assert_eq!(table.counts().gone, 1);
    assert!(!table.reread(&first));
}

/// Check that what ended goes once its samples are through, and not before.
#[test]
fn what_ended_is_dropped_after_its_samples() {
    let mut table = table();
    fork(&mut table, SECOND, FICTION, 1);
    exec(&mut table, SECOND + 1, FICTION, b"one");
    mmap(&mut table, SECOND + 2, FICTION, 0x1000, "/one");
    exec(&mut table, SECOND + 10, FICTION, b"two");
    mmap(&mut table, SECOND + 11, FICTION, 0x1000, "/two");
    exit(&mut table, SECOND + 20, FICTION);
    table.drained(SECOND + 15);
    let early = sample(FICTION, SECOND, SECOND + 5);
    assert_eq!(path_at(&mut table, &early, 0x1000).unwrap(), "/one");
    table.drained(SECOND + 20 + GRACE_NS);
    assert_eq!(table.counts().processes, 0);
    assert!(table.ended.is_empty());
}

/// Check that a process which execs again and again, or maps over itself, stays bounded.
#[test]
fn endless_execs_and_mappings_are_bounded() {
    let mut table = table();
    for round in 0..10_000 {
        let time = SECOND + round * SECOND / 100;
        exec(&mut table, time, FICTION, b"again");
        for page in 0..3 {
            mmap(&mut table, time + 1 + page, FICTION, 0x1000, "/x");
        }
        table.drained(time);
    }
    assert!(table.approx_bytes() < 1 << 20, "{}", table.approx_bytes());
    table.drained(1000 * SECOND);
    assert_eq!(table.processes[&FICTION][0].images.len(), 1);
}

/// Check that an exit which turns out to be that of one thread is taken back.
#[test]
fn a_process_that_samples_after_its_exit_is_alive() {
    let mut table = table();
    fork(&mut table, SECOND, FICTION, 1);
    exec(&mut table, SECOND + 1, FICTION, b"x");
    mmap(&mut table, SECOND + 2, FICTION, 0x1000, "/x");
    exit(&mut table, SECOND + 10, FICTION);
    let after = sample(FICTION, SECOND, 2 * SECOND);
    assert_eq!(path_at(&mut table, &after, 0x1000).unwrap(), "/x");
    table.drained(100 * SECOND);
    let later = sample(FICTION, SECOND, 100 * SECOND);
    assert_eq!(path_at(&mut table, &later, 0x1000).unwrap(), "/x");
}

/// Check a thread that execs: the main thread ends first, and the process goes on.
#[test]
fn the_exec_of_a_thread_is_one_of_its_process() {
    let mut table = table();
    fork(&mut table, SECOND, FICTION, 1);
    exec(&mut table, SECOND + 1, FICTION, b"one");
    mmap(&mut table, SECOND + 2, FICTION, 0x1000, "/one");
    exit(&mut table, SECOND + 10, FICTION);
    exec(&mut table, SECOND + 11, FICTION, b"two");
    mmap(&mut table, SECOND + 12, FICTION, 0x1000, "/two");
    table.drained(100 * SECOND);
    for start in [SECOND, 0] {
        let later = sample(FICTION, start, 100 * SECOND);
        assert_eq!(path_at(&mut table, &later, 0x1000).unwrap(), "/two");
    }
}

/// Check that a process still is itself while the kernel takes it apart, and goes nevertheless.
#[test]
fn a_process_that_is_exiting_does_not_come_back() {
    let mut table = table();
    fork(&mut table, SECOND, FICTION, 1);
    exec(&mut table, SECOND + 1, FICTION, b"x");
    mmap(&mut table, SECOND + 2, FICTION, 0x1000, "/x");
    exit(&mut table, SECOND + 10, FICTION);
    for start in [SECOND, 0] {
        let exiting = sample(FICTION, start, SECOND + 1000);
        assert_eq!(path_at(&mut table, &exiting, 0x1000).unwrap(), "/x");
    }
    table.drained(100 * SECOND);
    assert_eq!(table.counts().processes, 0);
}

/// Check the memory of 10,000 processes with 30 mappings each, and that the limit is kept.
#[test]
fn ten_thousand_processes_stay_within_the_limit() {
    let mut table = table();
    for pid in FICTION..FICTION + 10_000 {
        let time = SECOND + u64::from(pid - FICTION) * 100;
        exec(&mut table, time, pid, b"worker");
        for n in 0..30 {
            mmap(&mut table, time + 1, pid, 0x10_0000 * (n + 1), &format!("/usr/lib/lib{n}.so"));
        }
    }
    assert_eq!(table.counts().processes, 10_000);
    let unlimited = table.approx_bytes();
    assert!(unlimited < 48 << 20, "{unlimited}");

    // The one that is sampled survives all the others.
    let used = sample(FICTION, 0, 5 * SECOND);
    table.bind(&used);
    table.drained(60 * SECOND);
    assert!(table.approx_bytes() <= table.config.max_bytes, "{}", table.approx_bytes());
    assert!(table.counts().evicted > 0);
    assert_eq!(path_at(&mut table, &used, 0x10_0000).unwrap(), "/usr/lib/lib0.so");
}

/// Check that 10,000 children of one server share its mappings.
#[test]
fn forked_workers_cost_little() {
    let mut table = table();
    exec(&mut table, SECOND, FICTION, b"server");
    for n in 0..100 {
        mmap(&mut table, SECOND + 1, FICTION, 0x10_0000 * (n + 1), "/usr/lib/x.so");
    }
    for child in 1..10_000 {
        fork(&mut table, SECOND + 100 + u64::from(child), FICTION + child, FICTION);
    }
    assert!(table.approx_bytes() < 8 << 20, "{}", table.approx_bytes());
}

#[derive(Clone, Debug)]
enum Step {
    Fork(u32, u32),
    Exec(u32),
    Mmap(u32, u64, u64),
    Exit(u32),
    Sample(u32, u64, u64),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let pid = 0_u32..4;
    prop_oneof![
        (pid.clone(), pid.clone()).prop_map(|(a, b)| Step::Fork(a, b)),
        pid.clone().prop_map(Step::Exec),
        (pid.clone(), any::<u64>(), any::<u64>()).prop_map(|(p, a, b)| Step::Mmap(p, a, b)),
        pid.clone().prop_map(Step::Exit),
        (pid, 0_u64..400, 0_u64..50).prop_map(|(p, a, b)| Step::Sample(p, a, b)),
        Just(Step::Drain),
    ]
}

proptest! {
    /// Check that no order of events, likely or not, makes the table panic or grow.
    #[test]
    fn any_order_of_events_is_survived(steps in proptest::collection::vec(step(), 1..120)) {
        let mut table = table();
        for (time, step) in (1_u64..).zip(steps) {
            let time = time * SECOND / 10;
            match step {
                Step::Fork(pid, parent) => fork(&mut table, time, FICTION + pid, FICTION + parent),
                Step::Exec(pid) => exec(&mut table, time, FICTION + pid, b"x"),
                Step::Mmap(pid, start, len) => table.apply(&ProcessEvent::Mmap(sampler::Mapping {
                    time_ns: time, pid: FICTION + pid, start, len, file_offset: len,
                    path: b"//anon".to_vec(), file: MappedFile::Inode(Inode::default()),
                })),
                Step::Exit(pid) => exit(&mut table, time, FICTION + pid),
                Step::Sample(pid, start, ago) => {
                    let at = time.saturating_sub(ago * SECOND / 100);
                    let sample = sample(FICTION + pid, start * SECOND / 100, at);
                    let bound = table.bind(&sample);
                    prop_assert_eq!(bound.info().pid, FICTION + pid);
                }
                Step::Drain => table.drained(time),
            }
            for generations in table.processes.values() {
                prop_assert!(generations.len() <= MAX_GENERATIONS + 1);
                prop_assert!(generations.iter().all(|p| !p.images.is_empty()));
            }
        }
        table.drained(1000 * SECOND);
        prop_assert!(table.ended.is_empty());
    }
}
