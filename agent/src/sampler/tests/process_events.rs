//! Fork, exec, mmap and exit, in the order they happen.

use super::{Collected, Patience, Programs, start};
use crate::sampler::{BuildIds, MappedFile, Mapping, ProcessEvent, Sampler, SamplerConfig};

/// What happened to a process, as words.
fn story(collected: &Collected, pid: u32, programs: &Programs) -> Vec<String> {
    let of_program = |path: &[u8]| {
        let name = path.strip_prefix(programs.path("").as_os_str().as_encoded_bytes());
        name.map(|name| String::from_utf8_lossy(name).into_owned())
    };
    let word = |event: &ProcessEvent| match event {
        ProcessEvent::Fork { parent_pid, .. } => {
            assert_eq!(*parent_pid, std::process::id());
            Some("fork".to_owned())
        }
        ProcessEvent::Exec { comm, .. } => {
            Some(format!("exec {}", String::from_utf8_lossy(comm).trim_end_matches('\0')))
        }
        ProcessEvent::Mmap(mapping) => of_program(&mapping.path).map(|name| format!("map {name}")),
        ProcessEvent::Exit { .. } => Some("exit".to_owned()),
        ProcessEvent::Lost { .. } => panic!("events were lost"),
    };
    let is_about = |event: &&ProcessEvent| event.pid() == Some(pid) || event.pid().is_none();
    collected.processes.iter().filter(is_about).filter_map(word).collect()
}

fn has_exited(collected: &Collected, pid: u32) -> bool {
    let is_exit = |event: &ProcessEvent| matches!(event, ProcessEvent::Exit { pid: exited, .. } if *exited == pid);
    collected.processes.iter().any(is_exit)
}

fn mapping<'a>(collected: &'a Collected, pid: u32, path: &std::path::Path) -> &'a Mapping {
    let find = |event: &'a ProcessEvent| match event {
        ProcessEvent::Mmap(mapping)
            if mapping.pid == pid && mapping.path == path.as_os_str().as_encoded_bytes() =>
        {
            Some(mapping)
        }
        _ => None,
    };
    collected.processes.iter().find_map(find).unwrap()
}

#[test]
fn the_life_of_a_process_is_told_in_order() {
    let programs = Programs::build();
    let mut sampler = start(&SamplerConfig::default());
    let plugin = programs.path("plugin.so");
    let mut running = programs.start(&["load", plugin.to_str().unwrap()]);
    running.wait();
    let pid = running.id();
    let collected = Collected::until(&mut sampler, |collected| has_exited(collected, pid));
    let expected = ["fork", "exec busy", "map busy", "map plugin.so", "exit"];
    assert_eq!(story(&collected, pid, &programs), expected);
    let times: Vec<u64> = collected.processes.iter().map(ProcessEvent::time_ns).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn mappings_carry_the_build_id_of_the_file() {
    let programs = Programs::build();
    let mut sampler = start(&SamplerConfig::default());
    let (busy, plugin) = (programs.path("busy"), programs.path("plugin.so"));
    let mut running = programs.start(&["load", plugin.to_str().unwrap()]);
    running.wait();
    let pid = running.id();
    let collected = Collected::until(&mut sampler, |collected| has_exited(collected, pid));
    for path in [&busy, &plugin] {
        let mapping = mapping(&collected, pid, path);
        match mapping.file {
            MappedFile::BuildId(id) => assert_eq!(id.as_bytes(), Programs::build_id(path)),
            // Linux before 5.12.
            MappedFile::Inode(inode) => {
                assert!(!sampler.has_kernel_build_ids());
                let metadata = std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
                assert_eq!(inode.inode, metadata);
            }
        }
        assert!(mapping.len > 0 && mapping.start.is_multiple_of(4096));
    }
}

#[test]
fn mappings_carry_the_inode_when_the_kernel_is_not_asked() {
    let programs = Programs::build();
    let config = SamplerConfig { build_ids: BuildIds::Files, ..SamplerConfig::default() };
    let mut sampler = start(&config);
    let busy = programs.path("busy");
    let mut running = programs.start(&["load", programs.path("plugin.so").to_str().unwrap()]);
    running.wait();
    let pid = running.id();
    let collected = Collected::until(&mut sampler, |collected| has_exited(collected, pid));
    let MappedFile::Inode(inode) = mapping(&collected, pid, &busy).file else {
        panic!("a build ID that nobody asked for");
    };
    assert_eq!(inode.inode, std::os::unix::fs::MetadataExt::ino(&busy.metadata().unwrap()));
    assert!(!sampler.has_kernel_build_ids());
}

#[test]
fn a_sample_comes_after_the_events_that_led_to_it() {
    let programs = Programs::build();
    let mut sampler = start(&SamplerConfig { frequency_hz: 997, ..SamplerConfig::default() });
    let busy = programs.start(&["user"]);
    let mut known = false;
    let mut samples = 0;
    let patience = Patience::new();
    while samples < 20 {
        patience.check(&sampler);
        sampler.wait(std::time::Duration::from_millis(20)).unwrap();
        let mut sink = |event: crate::sampler::Event<'_>| match event {
            crate::sampler::Event::Process(ProcessEvent::Exec { pid, .. }) => {
                known |= pid == busy.id();
            }
            crate::sampler::Event::Sample(sample) if sample.pid == busy.id() => {
                assert!(
                    known || sample.comm[..5] != *b"busy\0",
                    "sampled before its exec was told"
                );
                samples += 1;
            }
            _ => {}
        };
        sampler.poll(&mut sink).unwrap();
    }
}

#[test]
fn events_that_do_not_fit_are_reported_as_lost() {
    let mut sampler = start(&SamplerConfig { process_ring_bytes: 1, ..SamplerConfig::default() });
    // Each program writes more than 500 bytes of events; a page for each CPU is full soon.
    for _ in 0..64 * crate::sampler::cpus::online().unwrap().len() {
        assert!(std::process::Command::new("true").status().unwrap().success());
    }
    // The kernel says how many were lost beside the next event that fits.
    let mut collected = Collected::default();
    collected.poll(&mut sampler);
    let is_lost = |event: &ProcessEvent| matches!(event, ProcessEvent::Lost { count: 1.., .. });
    let patience = Patience::new();
    while !collected.processes.iter().any(is_lost) {
        patience.check(&sampler);
        assert!(std::process::Command::new("true").status().unwrap().success());
        collected.poll(&mut sampler);
    }
}

#[test]
fn mapped_memory_is_what_was_asked_for() {
    let sampler: Sampler = start(&SamplerConfig {
        ring_bytes: Some(512 * 1024),
        process_ring_bytes: 64 * 1024,
        ..SamplerConfig::default()
    });
    let memory = sampler.mapped_memory();
    assert_eq!(memory.samples, 1024 * 1024);
    let cpus = crate::sampler::cpus::online().unwrap().len();
    assert_eq!(memory.process_events, cpus * (64 * 1024 + rustix::param::page_size()));
}
