use super::*;

const ID: &str = "3f2a9c0d1e4b5f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd";

fn service(evidence: &Evidence<'_>) -> String {
    Identity::resolve(evidence).service().to_owned()
}

/// Check the order of the rules, from the owner's word to the thread name.
#[test]
fn the_strongest_evidence_names_the_service() {
    let mut evidence = Evidence {
        exe: Some("/usr/bin/java (deleted)"),
        comm: "worker-1",
        cgroup: Some("0::/system.slice/shop@7.service\n"),
        otel_service_name: Some(" checkout "),
        otel_resource_attributes: Some("service.name=cart%20v2,service.version=1.2"),
        ..Evidence::default()
    };
    assert_eq!(service(&evidence), "checkout");
    evidence.otel_service_name = Some("");
    assert_eq!(service(&evidence), "cart v2");
    evidence.otel_resource_attributes = None;
    assert_eq!(service(&evidence), "shop");
    evidence.cgroup = None;
    assert_eq!(service(&evidence), "java");
    evidence.exe = None;
    assert_eq!(service(&evidence), "worker-1");
    evidence.comm = "";
    assert_eq!(service(&evidence), "unknown");
}

/// Check that kernel threads are one service, whatever cgroup they are in.
#[test]
fn kernel_threads_are_the_kernel() {
    let evidence = Evidence {
        comm: "kworker/0:1",
        kernel_thread: true,
        cgroup: Some("0::/\n"),
        ..Evidence::default()
    };
    assert_eq!(service(&evidence), KERNEL_SERVICE);
}

/// Check that resource attributes become labels, and a container id a label but no service.
#[test]
fn labels_come_from_attributes_and_containers() {
    let cgroup = format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n");
    let evidence = Evidence {
        exe: Some("/app/server"),
        cgroup: Some(&cgroup),
        otel_resource_attributes: Some("service.version=v2,k8s.pod.name=p-1,junk,x=y"),
        ..Evidence::default()
    };
    let identity = Identity::resolve(&evidence);
    let expected = [("service", "server"), ("container", ID), ("version", "v2"), ("pod", "p-1")];
    assert_eq!(identity.into_labels(), expected.map(|(name, value)| (name, value.to_owned())));
}

/// Check that a hostile environment gives a bounded, printable value.
#[test]
fn hostile_values_are_bounded() {
    let long = format!("a\nb{}", "é".repeat(1000));
    let evidence = Evidence { otel_service_name: Some(&long), ..Evidence::default() };
    let service = service(&evidence);
    assert!(service.starts_with("a_bé") && service.len() <= 256, "{service}");
}

/// Check the container id in every layout that runtimes write.
#[test]
fn container_ids_are_found_in_every_layout() {
    for path in [
        format!("/docker/{ID}"),
        format!("/system.slice/docker-{ID}.scope"),
        format!("/kubepods/burstable/pod12-34/{ID}"),
        format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope"),
        format!("/kubepods.slice/kubepods-podab_cd.slice/crio-{ID}.scope"),
        format!("/machine.slice/libpod-{ID}.scope/container"),
        format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
        format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"),
    ] {
        for line in [format!("0::{path}"), format!("4:memory:{path}\n0::/")] {
            let found = placement(&line);
            assert_eq!(found.container.as_deref(), Some(ID), "{line}");
            assert_eq!(found.name, None, "{line}");
        }
    }
    let ecs = "0::/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-12345";
    assert_eq!(placement(ecs).container.as_deref(), Some("0123456789abcdef0123456789abcdef-12345"));
}

/// Check that monitors, pods' uuids and sessions are not taken for containers or services.
#[test]
fn other_paths_name_nothing() {
    for line in [
        "0::/",
        "0::/user.slice/user-1000.slice/session-3.scope",
        "0::/user.slice/user-1000.slice/user@1000.service/init.scope",
        "4:memory:/process_api/fcb9cc578a7ed0b4805f17fa93fb74ba\n0::/",
        "5:cpu:/system.slice/ghost.service",
        "garbage",
        "",
        ":::::",
    ] {
        assert_eq!(placement(line), Placement::default(), "{line}");
    }
    let monitor = format!("0::/machine.slice/libpod-conmon-{ID}.scope");
    assert_eq!(placement(&monitor), Placement::default());
}

/// Check units, templates and named containers.
#[test]
fn units_and_named_containers_are_services() {
    for (line, name) in [
        ("0::/system.slice/nginx.service", "nginx"),
        ("1:name=systemd:/system.slice/nginx.service", "nginx"),
        ("0::/system.slice/system-worker.slice/worker@12.service", "worker"),
        ("0::/user.slice/user-1.slice/user@1.service/app.slice/app-ide.service", "app-ide"),
        ("0::/lxc.payload.db1/system.slice", "db1"),
        ("0::/machine.slice/machine-build.scope/payload", "build"),
    ] {
        assert_eq!(placement(line).name.as_deref(), Some(name), "{line}");
    }
}
