//! The table against processes that run.

use std::process::Command;

use fleetprof_proto::ids::ObjectKind;

use super::{super::bind::boottime_ns, *};
use crate::{
    object::testing::{Running, WAITER, compile, readelf_build_id},
    process::{image::TICK_NS, parse},
};

/// Start of a process, to the hundredth of a second: as exact as `/proc` is.
fn start_of(pid: u32) -> u64 {
    let text = std::fs::read(format!("/proc/{pid}/stat")).unwrap();
    parse::stat(&text).unwrap().start_ticks * TICK_NS
}

fn sample_now<'a>(pid: u32) -> RawSample<'a> {
    sample(pid, start_of(pid), boottime_ns())
}

/// (start, end, file offset, path) of all executable mappings, by `/proc/PID/maps`.
fn executable_maps(pid: u32) -> Vec<(u64, u64, u64, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let executable = text.lines().filter(|line| line.split(' ').nth(1).unwrap().contains('x'));
    executable
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, end) = words[0].split_once('-').unwrap();
            let path = words.get(5).unwrap_or(&"").to_string();
            (number(start), number(end), number(words[2]), path)
        })
        .collect()
}

fn mappings(bound: &Bound) -> Vec<(u64, u64, u64, String)> {
    let path = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let all = bound.mappings().iter();
    all.map(|m| (m.start, m.end, m.file_offset, path(&m.path))).collect()
}

/// Check a process that runs before the scan, and one that starts after it.
#[test]
fn mappings_are_those_of_proc() {
    let before = Running::ready(Command::new("sh").args(["-c", "echo ready; read x"]));
    let mut table = table();
    let summary = table.scan().unwrap();
    assert!(summary.processes > 1 && summary.mappings > 3);
    let reads = table.counts().maps_read;
    let bound = table.bind(&sample_now(before.pid()));
    assert_eq!(mappings(&bound), executable_maps(before.pid()));
    assert!(!bound.info().gone);
    assert_eq!(table.counts().maps_read, reads, "the scan was enough");

    let after = Running::ready(Command::new("sh").args(["-c", "echo ready; read x"]));
    let bound = table.bind(&sample_now(after.pid()));
    assert_eq!(mappings(&bound), executable_maps(after.pid()));
}

/// Check that a scan without time or memory leaves the reading to the samples.
#[test]
fn what_a_scan_defers_is_read_when_it_is_sampled() {
    let running = Running::ready(Command::new("sh").args(["-c", "echo ready; read x"]));
    for (max_bytes, scan_time) in [(0, Duration::from_secs(600)), (16 << 20, Duration::ZERO)] {
        let config = TableConfig { max_bytes, scan_time, ..TableConfig::default() };
        let mut table = ProcessTable::new(config, Arc::new(testing::registry()));
        let summary = table.scan().unwrap();
        assert!(summary.deferred > 0 && summary.mappings == 0);
        let bound = table.bind(&sample_now(running.pid()));
        assert_eq!(mappings(&bound), executable_maps(running.pid()));
    }
}

/// Check what identifies a process, and that a kernel thread is told.
#[test]
fn a_process_is_identified_once() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo ready; read x"]).env("OTEL_SERVICE_NAME", "checkout");
    let running = Running::ready(&mut command);
    let mut table = table();
    let info = Arc::clone(table.bind(&sample_now(running.pid())).info());
    assert_eq!(info.environ("OTEL_SERVICE_NAME"), Some("checkout"));
    assert_eq!(info.environ("OTEL_RESOURCE_ATTRIBUTES"), None);
    assert_eq!(info.comm, "sh");
    let exe = std::fs::read_link(format!("/proc/{}/exe", running.pid())).unwrap();
    assert_eq!(info.exe.as_deref(), exe.to_str());
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", running.pid())).unwrap();
    assert_eq!(info.cgroup.as_deref(), Some(cgroup.as_str()));
    assert_eq!(info.parent, Some(std::process::id()));
    assert!(!info.kernel_thread);
    assert!(Arc::ptr_eq(&info, table.bind(&sample_now(running.pid())).info()));

    let kthreadd = table.bind(&sample_now(2));
    assert!(kthreadd.info().kernel_thread && !kthreadd.is_gone());
}

/// Check that a child which is gone already is placed where its parent is.
#[test]
fn a_short_lived_child_inherits_its_parents_identity() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo ready; read x"]).env("OTEL_SERVICE_NAME", "batch");
    let parent = Running::ready(&mut command);
    let mut table = table();
    let now = boottime_ns();
    for (child, parent_was_sampled) in [(FICTION, false), (FICTION + 1, true)] {
        if parent_was_sampled {
            table.bind(&sample_now(parent.pid()));
        }
        fork(&mut table, now, child, parent.pid());
        exec(&mut table, now + 1, child, b"tool");
        mmap(&mut table, now + 2, child, 0x1000, "/bin/tool");
        exit(&mut table, now + 10, child);
        let info = Arc::clone(table.bind(&sample(child, now, now + 5)).info());
        assert_eq!((info.comm.as_str(), info.exe.as_deref()), ("tool", Some("/bin/tool")));
        assert_eq!(info.environ("OTEL_SERVICE_NAME"), Some("batch"));
        assert!(info.gone && info.cgroup.is_some());
    }
}

/// Check a library that is loaded while the program runs: by the kernel's event, and without it.
#[test]
fn a_library_loaded_later_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["-shared", "-fPIC", "-Wl,--build-id=sha1"];
    let library = compile(directory.path(), "late.so", "int late(void) { return 1; }", &flags);
    let program = r#"
        #include <dlfcn.h>
        #include <stdio.h>
        int main(int argc, char **argv) {
            char line[16];
            puts("ready"); fflush(stdout);
            fgets(line, sizeof line, stdin);
            if (!dlopen(argv[1], RTLD_NOW)) return 1;
            puts("loaded"); fflush(stdout);
            fgets(line, sizeof line, stdin);
            return 0;
        }"#;
    let program = compile(directory.path(), "loader", program, &["-ldl"]);
    let mut running = Running::ready(Command::new(&program).arg(&library));
    let mut table = table();
    let pid = running.pid();
    let before = mappings(&table.bind(&sample_now(pid)));
    assert!(!before.iter().any(|(.., path)| path.ends_with("/late.so")));
    running.say("load");
    assert_eq!(running.line(), "loaded");

    let now = sample_now(pid);
    let pause = |table: &mut ProcessTable, pause_ns: u64| {
        table.processes.get_mut(&pid).unwrap()[0].images[0].reread_pause_ns = pause_ns;
    };
    pause(&mut table, u64::MAX);
    assert!(!table.reread(&now), "not so soon after the last reading");
    pause(&mut table, 0);
    assert!(table.reread(&now));
    let bound = table.bind(&now);
    assert_eq!(mappings(&bound), executable_maps(pid));
    let late = bound.mappings().iter().find(|m| m.path.ends_with(b"/late.so")).unwrap();
    let object = bound.object(late);
    assert_eq!(object.kind(), ObjectKind::File);
    assert_eq!(object.build_id(), Some(&readelf_build_id(&library)));
    assert!(!table.reread(&now), "there is nothing new");
}

/// Check that lost events are made good: an exec nobody reported, an exit nobody reported.
#[test]
fn lost_events_are_made_good_from_proc() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &[]);
    let script = "echo ready; read x; exec \"$0\"";
    let mut running = Running::ready(Command::new("sh").args(["-c", script]).arg(&program));
    let ends = Running::ready(Command::new("sh").args(["-c", "echo ready; read x"]));
    let (pid, ending) = (running.pid(), ends.pid());
    let mut table = table();
    table.scan().unwrap();
    let shell = table.bind(&sample_now(pid)).info().image;
    table.drained(boottime_ns());
    running.say("");
    assert_eq!(running.line(), "ready");
    ends.stop();

    table.apply(&ProcessEvent::Lost { time_ns: boottime_ns(), count: 2 });
    assert!(table.processes[&ending].last().unwrap().exit_ns.is_some());
    let now = sample_now(pid);
    let bound = table.bind(&now);
    assert_eq!(mappings(&bound), executable_maps(pid));
    assert_ne!(bound.info().image, shell);
    assert_eq!(bound.info().comm, "waiter");
    let image = bound.info().image;
    assert_eq!(table.bind(&now).info().image, image, "read again once, not for every sample");
}

/// Check that a file the kernel gave no build ID for is identified when it is first hit, and a
/// deleted one too.
#[test]
fn mapped_files_are_identified_when_needed() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let expected = readelf_build_id(&program);
    let running = Running::ready(&mut Command::new(&program));
    std::fs::remove_file(&program).unwrap();
    let mut table = table();
    let bound = table.bind(&sample_now(running.pid()));
    let find = |name: &[u8]| bound.mappings().iter().find(|m| m.path.ends_with(name)).unwrap();
    let object = bound.object(find(b"/waiter"));
    assert_eq!((object.kind(), object.build_id()), (ObjectKind::File, Some(&expected)));
    assert!(object.path().ends_with("/waiter"));
    assert_eq!(bound.object(find(b"/waiter")).serial(), object.serial());
    let vdso = bound.object(find(b"[vdso]"));
    assert_eq!(vdso.kind(), ObjectKind::Vdso);
    assert!(vdso.build_id().is_some());
    table.registry.open_for_upload(&object.id().unwrap()).unwrap();
}

/// Check that a parent which is gone does not spoil the mappings it shares with its children.
#[test]
fn a_dead_parent_leaves_the_question_to_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "waiter", WAITER, &["-Wl,--build-id=sha1"]);
    let child = Running::ready(&mut Command::new(&program));
    std::fs::remove_file(&program).unwrap();
    let mut table = table();
    let (now, pid) = (boottime_ns(), child.pid());
    table.bind(&sample_now(pid));
    // The fiction: a parent with the child's mappings, which has ended.
    let parent = FICTION;
    fork(&mut table, now, parent, pid);
    exit(&mut table, now + 2, parent);
    let object_in = |bound: &Bound| {
        let mut all = bound.mappings().iter();
        bound.object(all.find(|m| m.path.ends_with(b"/waiter")).unwrap())
    };
    let of_parent = object_in(&table.bind(&sample(parent, now, now + 1)));
    assert_eq!(of_parent.build_id(), None);
    let of_child = object_in(&table.bind(&sample_now(pid)));
    assert!(of_child.build_id().is_some());
    assert!(object_in(&table.bind(&sample(parent, now, now + 1))).build_id().is_some());
}

/// Check that events from before `/proc` was read do not undo what it showed.
#[test]
fn old_events_do_not_undo_what_proc_shows() {
    let running = Running::ready(Command::new("sh").args(["-c", "echo ready; read x"]));
    let pid = running.pid();
    let before = boottime_ns();
    let mut table = table();
    table.scan().unwrap();
    exec(&mut table, before, pid, b"old");
    mmap(&mut table, before, pid, 0x1000, "/old");
    fork(&mut table, start_of(pid) + 1000, pid, 1);
    let bound = table.bind(&sample_now(pid));
    assert_eq!(mappings(&bound), executable_maps(pid));
    assert_eq!(table.counts().processes, table.processes.len());
}
