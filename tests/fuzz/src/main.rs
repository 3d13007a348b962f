//! The targets under libFuzzer, which has `main`. `FLEETPROF_FUZZ` names the target; the arguments are
//! libFuzzer's. With `--list` alone, the targets and their limits as libFuzzer's options.
#![no_main]

mod heap;

use std::sync::OnceLock;

use fleetprof_fuzz::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: choose(), |bytes: &[u8]| {
    if let Some(target) = TARGET.get() {
        heap::limit(target.max_heap_mib << 20, || (target.run)(bytes));
    }
});

fn choose() {
    if std::env::args().nth(1).as_deref() == Some("--list") {
        for Target { name, max_bytes, max_seconds, .. } in TARGETS {
            println!("{name} -max_len={max_bytes} -timeout={max_seconds}");
        }
        std::process::exit(0);
    }
    let name = std::env::var("FLEETPROF_FUZZ").unwrap_or_default();
    let Some(target) = Target::find(&name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("error: set FLEETPROF_FUZZ to a target: {}", names.join(" "));
        std::process::exit(2);
    };
    // Nobody else is here yet.
    let _first = TARGET.set(target);
}
