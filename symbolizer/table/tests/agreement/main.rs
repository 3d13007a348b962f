//! Agreement with LLVM: functions, files, lines and inlined calls of programs built in many ways are
//! those that `llvm-symbolizer` finds, an independent implementation. What differs is explained in
//! `explained`.
//!
//! `FLEETPROF_AGREEMENT_OBJECTS=FILE:FILE…` compares other objects, too, `FLEETPROF_AGREEMENT_ALL=1`
//! all ways to build the programs, and `FLEETPROF_AGREEMENT_ADDRESSES=N` sets how many addresses of
//! each are asked for.

mod compare;
mod explained;
mod llvm;
mod object_file;
mod programs;

use std::{collections::BTreeMap, path::PathBuf};

use compare::Compared;
use programs::Built;

/// Addresses of each object.
fn addresses() -> usize {
    let wanted = std::env::var("FLEETPROF_AGREEMENT_ADDRESSES");
    wanted.ok().and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

/// Compares objects and prints what differs; panics when a difference is not explained, or seen more
/// often than its explanation allows.
fn check(objects: &[Built]) {
    let mut total = Compared::default();
    let mut failed = Vec::new();
    for object in objects {
        let compared = compare::compare(object, addresses());
        let (addresses, share) = (compared.addresses, compared.share());
        println!("{:<24} {addresses:>7} addresses, {share:>7.3} % of code equal", object.name);
        for (class, examples) in &compared.different {
            println!("    {:>6} {class:?}", examples.len());
            let most = explained::most(&object.name, *class, compared.addresses);
            if examples.len() > most {
                let shown = examples.iter().take(3).cloned().collect::<Vec<_>>().join("\n");
                failed.push(format!(
                    "{}: {} {class:?}, {most} explained:\n{shown}",
                    object.name,
                    examples.len()
                ));
            }
        }
        total.add(compared);
    }
    let share = total.share();
    let classes: BTreeMap<_, _> =
        total.different.iter().map(|(class, examples)| (class, examples.len())).collect();
    let (addresses, compiled, equal) = (total.addresses, total.compiled, total.equal);
    println!(
        "{addresses} addresses, {equal} equal; of {compiled} in code, {share:.3} %; {classes:?}"
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(share >= 99.9, "only {share:.3} % are equal");
}

#[test]
fn c() {
    check(&programs::build(programs::C));
}

#[test]
fn cpp() {
    check(&programs::build(programs::CPP));
}

#[test]
fn rust() {
    check(&programs::build(programs::RUST));
}

#[test]
fn separate_files() {
    check(&programs::separate());
}

#[test]
fn own_binaries() {
    let own = std::env::current_exe().expect("this program");
    let mut objects = vec![Built::plain("this-test", own.clone())];
    // What `make build` leaves beside the tests.
    for name in ["fleetprof", "fleetprof-agent", "fleetprof-collector"] {
        let binary = own.ancestors().nth(2).expect("a target directory").join(name);
        if binary.exists() {
            objects.push(Built::plain(name, binary));
        }
    }
    check(&objects);
}

#[test]
fn objects_of_the_environment() {
    let Some(list) = std::env::var_os("FLEETPROF_AGREEMENT_OBJECTS") else { return };
    let paths = std::env::split_paths(&list);
    let named = |path: PathBuf| Built::plain(&path.to_string_lossy(), path.clone());
    check(&paths.map(named).collect::<Vec<_>>());
}
