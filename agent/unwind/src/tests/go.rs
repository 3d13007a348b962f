//! Tables of Go binaries: what readelf prints of a binary with debug information holds for its
//! stripped twin, too.

use super::{readelf, table};
use crate::fuzz_one;
use fleetprof_abi::{Architecture, FpRule, Rule, RuleKind};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const SOURCE: &str = "package main\n\
    import (\"fmt\"; \"os\"; \"sort\")\n\
    func main() {\n\
        values := make([]int, len(os.Args)+1000)\n\
        for i := range values { values[i] = (i * 7919) % 1000 }\n\
        sort.Slice(values, func(a, b int) bool { return values[a] < values[b] })\n\
        fmt.Println(values[0])\n\
    }\n";

/// Builds [`SOURCE`]; `None` where there is no Go.
fn go(folder: &Path, name: &str, architecture: &str, options: &[&str]) -> Option<PathBuf> {
    let source = folder.join("main.go");
    fs::write(&source, SOURCE).expect("a source");
    let output = folder.join(name);
    let mut command = Command::new("go");
    command.arg("build").args(options).arg("-o").args([&output, &source]);
    command.envs([("CGO_ENABLED", "0"), ("GOARCH", architecture), ("GOFLAGS", "-trimpath")]);
    let result = command.status();
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        status => {
            assert!(status.expect("go").success());
            Some(output)
        }
    }
}

const STRIPPED: &[&str] = &["-ldflags=-s -w"];

#[test]
#[cfg(target_arch = "x86_64")]
fn the_rules_of_a_stripped_binary_are_those_of_the_debug_information_of_its_twin() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(whole) = go(folder.path(), "whole", "amd64", &[]) else { return };
    let stripped = go(folder.path(), "stripped", "amd64", STRIPPED).expect("a binary");
    let bytes = fs::read(&stripped).expect("a binary");
    let image = crate::elf::Image::read(&bytes).expect("headers");
    let table = table(&bytes);
    let (mut compared, mut switches) = (0, 0);
    let rows = readelf(&whole);
    for (index, (address, cfa, _, _)) in rows.iter().enumerate() {
        if rows.get(index + 1).is_some_and(|next| next.0 == *address) {
            continue;
        }
        let (position, _) = image.code.position(*address).expect("code");
        let rule = table.lookup(position).expect("in the table");
        if rule.kind == RuleKind::Cfa as u8 {
            assert_eq!(format!("rsp{:+}", rule.cfa_offset), *cfa, "{address:x} {rule:?}");
            compared += 1;
        } else {
            switches += 1;
        }
    }
    assert!(compared > 5000, "{compared}");
    // Some of the runtime's own.
    assert!(switches > 10 && switches < 200, "{switches}");
}

/// Rules by kind, over all of a binary's code.
fn kinds(path: &Path) -> (Architecture, [u64; 8]) {
    let bytes = fs::read(path).expect("a binary");
    let table = table(&bytes);
    let first = u64::from(table.descriptor().first_granule) * 256;
    let last = first + u64::from(table.descriptor().granules) * 256;
    let mut kinds = [0; 8];
    for position in (first..last).step_by(4) {
        let rule = table.lookup(position).expect("in the table");
        kinds[usize::from(rule.kind)] += 1;
    }
    (table.architecture(), kinds)
}

#[test]
fn frames_of_both_processors_are_known_in_all_ways_to_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let pie = &["-ldflags=-s -w", "-buildmode=pie"][..];
    for (name, architecture, options) in [
        ("x86", "amd64", STRIPPED),
        ("x86-pie", "amd64", pie),
        ("arm", "arm64", STRIPPED),
        ("arm-pie", "arm64", pie),
    ] {
        let Some(path) = go(folder.path(), name, architecture, options) else { return };
        let (_, kinds) = kinds(&path);
        let all: u64 = kinds.iter().sum();
        let of = |kind| kinds[kind as usize];
        assert!(of(RuleKind::Cfa) * 100 > all * 97, "{name}: {kinds:?}");
        assert!(of(RuleKind::FramePointer) > 10 && of(RuleKind::Root) > 5, "{name}: {kinds:?}");
    }
}

/// The rule at the first instruction of a function of `go tool nm`.
fn rule_of(path: &Path, name: &str, offset: u64) -> Rule {
    let output = Command::new("go").args(["tool", "nm"]).arg(path).output().expect("go tool nm");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.split_whitespace().nth(2) == Some(name));
    let address = line.and_then(|line| line.split_whitespace().next()).expect("a function");
    let address = u64::from_str_radix(address, 16).expect("an address");
    let bytes = fs::read(path).expect("a binary");
    let image = crate::elf::Image::read(&bytes).expect("headers");
    let (position, _) = image.code.position(address).expect("code");
    table(&bytes).lookup(position.wrapping_add(offset)).expect("in the table")
}

#[test]
fn goroutines_and_threads_begin_at_roots_and_stacks_are_switched_by_frame_pointer() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = go(folder.path(), "whole", "amd64", &[]) else { return };
    let kind = |name, offset| rule_of(&path, name, offset).kind;
    assert_eq!(kind("runtime.goexit.abi0", 0), RuleKind::Root as u8);
    assert_eq!(kind("runtime.mstart.abi0", 0), RuleKind::Root as u8);
    assert_eq!(kind("runtime.morestack.abi0", 0), RuleKind::FramePointer as u8);
    assert_eq!(kind("runtime.systemstack.abi0", 0), RuleKind::Cfa as u8);
    assert_eq!(kind("runtime.systemstack.abi0", 12), RuleKind::FramePointer as u8);
    assert_eq!(kind("runtime.sigtramp.abi0", 0), RuleKind::Cfa as u8);
    // The byte before the trampoline that handlers return to.
    assert_eq!(kind("runtime.sigreturn__sigaction.abi0", 0), RuleKind::Signal as u8);
    assert_eq!(kind("runtime.sigreturn__sigaction.abi0", u64::MAX), RuleKind::Signal as u8);
    // A compiled function saves the frame pointer of its caller.
    let body = rule_of(&path, "main.main", 40);
    assert_eq!((body.fp(), body.fp_offset), (FpRule::AtCfa as u8, -2), "{body:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn mutated_go_binaries_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64),
    ) {
        static BINARY: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = go(folder.path(), "stripped", "amd64", STRIPPED)?;
            Some(fs::read(path).expect("a binary"))
        });
        let Some(binary) = BINARY.as_ref() else { return Ok(()) };
        let image = crate::elf::Image::read(binary).expect("headers");
        let section = image.section(".gopclntab").expect("a function table");
        let (start, size) = (section.offset as usize, section.size as usize);
        let mut bytes = binary.clone();
        for (index, value) in changes {
            // The header and the first functions more often than the rest.
            let at = if value & 1 == 0 { index.index(size) } else { index.index(size.min(4096)) };
            bytes[start + at] = value;
        }
        fuzz_one(&bytes);
    }
}
