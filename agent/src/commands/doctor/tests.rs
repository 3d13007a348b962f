use std::path::PathBuf;

use rustix::thread::CapabilitySet;

use super::{
    Check, Report, Status,
    facts::{Facts, Processes, cgroup2_mount, selected},
};
use crate::sampler::{EventSource, Sampler, SamplerConfig};

/// A host on which everything is as it should be.
fn good() -> Facts {
    Facts {
        release: "6.18.44-cloud".into(),
        capabilities: CapabilitySet::all(),
        initial_user_namespace: true,
        btf: Ok(true),
        programs: Ok(1234),
        jit: Some(1),
        lockdown: None,
        hardware_cycles: Ok(()),
        cpu_clock: Ok(()),
        paranoid: Some(2),
        max_sample_rate: Some(100_000),
        max_stack: Some(127),
        process_events: Ok(()),
        build_ids: Ok(()),
        tracefs: true,
        kptr_restrict: Some(1),
        kallsyms: Ok(true),
        cgroup2: Some(PathBuf::from("/sys/fs/cgroup")),
        initial_pid_namespace: true,
        processes: Processes { all: 3, readable: 3, refused: None },
        map_files: Ok(()),
    }
}

fn find<'a>(report: &'a Report, name: &str) -> &'a Check {
    report.checks.iter().find(|check| check.name.starts_with(name)).unwrap()
}

#[test]
fn a_good_host_has_no_complaints() {
    let report = Report::new(&good());
    assert!(report.ready);
    for check in &report.checks {
        assert_eq!(check.status, Status::Ok, "{check:?}");
        assert!(check.remedy.is_empty() && !check.found.is_empty(), "{check:?}");
    }
}

#[test]
fn whatever_is_not_ok_comes_with_a_remedy() {
    let refused = || Err("refused".to_owned());
    let report = Report::new(&Facts {
        release: "4.19.0".into(),
        capabilities: CapabilitySet::empty(),
        initial_user_namespace: false,
        btf: Err("refused".into()),
        programs: Err("refused".into()),
        jit: Some(0),
        lockdown: Some("confidentiality".into()),
        hardware_cycles: refused(),
        cpu_clock: refused(),
        paranoid: Some(2),
        max_sample_rate: Some(250),
        max_stack: Some(32),
        process_events: refused(),
        build_ids: refused(),
        tracefs: false,
        kptr_restrict: Some(2),
        kallsyms: Ok(false),
        cgroup2: None,
        initial_pid_namespace: false,
        processes: Processes { all: 3, readable: 1, refused: Some("process 1: refused".into()) },
        map_files: refused(),
    });
    assert!(!report.ready);
    for check in report.checks.iter().filter(|check| check.status != Status::Ok) {
        assert!(!check.remedy.is_empty(), "{check:?}");
    }
    let required: Vec<_> = report.checks.iter().filter(|check| check.required).collect();
    assert!(required.iter().all(|check| check.status == Status::Missing), "{required:?}");
    let table = report.table();
    assert!(table.contains("does not work on this host") && table.contains("refused"), "{table}");
}

#[test]
fn what_only_makes_profiles_poorer_does_not_prevent_them() {
    let report = Report::new(&Facts {
        hardware_cycles: Err("no such device".into()),
        build_ids: Err("invalid argument".into()),
        kallsyms: Ok(false),
        cgroup2: Some(PathBuf::from("/sys/fs/cgroup/unified")),
        ..good()
    });
    assert!(report.ready);
    for name in ["sampling event", "process events", "kernel symbols", "cgroup v2"] {
        assert_eq!(find(&report, name).status, Status::Degraded, "{name}");
    }
    assert_eq!(find(&report, "sampling event").found, "cpu-clock: no such device");
}

#[test]
fn each_requirement_alone_prevents_running() {
    let refused = || Err("refused".to_owned());
    let without = [
        Facts { release: "5.4.0".into(), ..good() },
        Facts { capabilities: CapabilitySet::SYS_PTRACE, ..good() },
        Facts { initial_user_namespace: false, ..good() },
        Facts { btf: Err("refused".into()), ..good() },
        Facts { programs: Err("refused".into()), ..good() },
        Facts { hardware_cycles: refused(), cpu_clock: refused(), ..good() },
        Facts { process_events: refused(), ..good() },
        Facts { lockdown: Some("confidentiality".into()), ..good() },
    ];
    for facts in without {
        assert!(!Report::new(&facts).ready, "{facts:?}");
    }
}

#[test]
fn formats_of_the_kernel_are_read() {
    assert_eq!(selected("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
    assert_eq!(selected("garbage"), None);
    let mounts = "24 30 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                  36 24 0:33 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    assert_eq!(cgroup2_mount("nonsense"), None);
}

#[test]
fn the_json_form_has_what_scripts_need() {
    let json = serde_json::to_value(Report::new(&good())).unwrap();
    assert_eq!(json["ready"], true);
    assert_eq!(json["checks"][0]["name"], "kernel");
    assert_eq!(json["checks"][0]["status"], "ok");
    assert!(json["checks"][0]["remedy"].is_string());
}

#[test]
fn this_host_can_be_looked_at() {
    let facts = Facts::gather();
    let report = Report::new(&facts);
    assert!(report.ready, "{}", report.table());
    // It must speak of the event that a start would choose.
    let sampler = Sampler::start(&SamplerConfig::default()).unwrap();
    let chosen = match sampler.event_source() {
        EventSource::HardwareCycles => "hardware cycles",
        EventSource::CpuClock => "cpu-clock: ",
    };
    let found = &find(&report, "sampling event").found;
    assert!(found.starts_with(chosen), "{found}, a start chooses {chosen}");
}

#[test]
fn without_rights_the_report_says_so_instead_of_failing() {
    use rustix::thread::{CapabilitySets, set_capabilities};
    let empty = CapabilitySet::empty();
    let none = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
    // aya probes the kernel once per process; without rights it would conclude that nothing works.
    aya::features();
    let gather = || {
        set_capabilities(None, none).unwrap();
        Report::new(&Facts::gather())
    };
    let report = std::thread::scope(|scope| scope.spawn(gather).join().unwrap());
    assert!(!report.ready);
    for name in ["capabilities", "BPF programs", "sampling event", "process events"] {
        assert_eq!(find(&report, name).status, Status::Missing, "{name}");
    }
    assert_eq!(find(&report, "kernel type information").status, Status::Ok);
}
