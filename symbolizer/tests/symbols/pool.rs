//! Check that a pool answers as one symbolizer does, and that objects which destroy its workers cost
//! their own names only.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use fleetprof_proto::symbol::{Reason, Symbol};
use fleetprof_symbolizer::{
    ObjectSource, Options, PoolError, Symbolizer, SymbolizerPool, WorkerCommand, WorkerLimits,
};
use tempfile::TempDir;

use crate::support;

fn worker() -> WorkerCommand {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_fleetprof-symbolize-worker"));
    WorkerCommand { program, args: Vec::new() }
}

fn isolated(limits: WorkerLimits) -> SymbolizerPool {
    SymbolizerPool::isolated(worker(), 2, &Options::default(), limits)
}

fn program() -> (TempDir, ObjectSource, Vec<u64>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("program");
    support::compile("nested.cc", &path, &["-O2", "-g", "-std=c++17"]);
    let offsets = support::code(&path, 7).into_iter().map(|(_, offset)| offset).collect();
    (dir, ObjectSource::Elf { path }, offsets)
}

/// Debug information nested so deep that parsing it ends the process; the offset of its code.
fn deep(dir: &Path) -> (ObjectSource, u64) {
    let path = dir.join("deep.so");
    let source = support::program("deep.s");
    let depth = "-Wa,--defsym,DEPTH=4000000";
    let args = [source.as_os_str(), depth.as_ref(), "-shared".as_ref(), "-nostdlib".as_ref()];
    support::run("gcc", args.into_iter().chain(["-o".as_ref(), path.as_os_str()]));
    let (_, offset) = support::code(&path, 1)[0];
    (ObjectSource::Elf { path }, offset)
}

#[test]
fn a_pool_answers_as_one_symbolizer_does() {
    let (_dir, source, offsets) = program();
    let expected = Symbolizer::new(Options::default()).symbolize(&source, &offsets);
    let pool = Arc::new(isolated(WorkerLimits::default()));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (pool, source, offsets) = (Arc::clone(&pool), source.clone(), offsets.clone());
            thread::spawn(move || pool.symbolize(&source, &offsets).expect("workers start"))
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.join().expect("no panic"), expected);
    }
}

#[test]
fn long_questions_are_split() {
    let (_dir, source, offsets) = program();
    let many: Vec<u64> = offsets.iter().copied().cycle().take(10_000).collect();
    let expected = Symbolizer::new(Options::default()).symbolize(&source, &many);
    let answers =
        isolated(WorkerLimits::default()).symbolize(&source, &many).expect("workers start");
    assert_eq!(answers, expected);
}

/// Check with a stack overflow, which no process survives: the symbol table still names the code,
/// and the same pool goes on with other objects.
#[test]
fn an_object_that_kills_its_worker_keeps_its_symbol_table() {
    let (dir, good, offsets) = program();
    let pool = isolated(WorkerLimits::default());
    let expected = pool.symbolize(&good, &offsets).expect("workers start");
    let (deep, offset) = deep(dir.path());
    for _ in 0..2 {
        let symbols = pool.symbolize(&deep, &[offset]).expect("workers start");
        let Some(Symbol::Named(lines)) = symbols.first() else { panic!("{symbols:?}") };
        assert_eq!((&*lines[0].name, lines[0].line), ("deep", 0));
    }
    assert_eq!(pool.symbolize(&good, &offsets).expect("workers start"), expected);
}

/// Check that a claim of more memory than a worker may have ends at the worker's limit.
#[test]
fn an_object_that_wants_too_much_memory_keeps_its_symbol_table() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("compressed");
    support::compile("nested.c", &path, &["-O2", "-g", "-gz=zlib"]);
    let offsets: Vec<u64> =
        support::code(&path, 64).into_iter().map(|(_, offset)| offset).collect();
    support::claim_decompressed_size(&path, ".debug_info", 3 << 30);
    let limits = WorkerLimits { memory_bytes: 512 << 20, ..WorkerLimits::default() };
    let source = ObjectSource::Elf { path };
    let symbols = isolated(limits).symbolize(&source, &offsets).expect("workers start");
    let plain = |symbol: &Symbol| matches!(symbol, Symbol::Named(lines) if lines[0].line == 0);
    assert!(
        symbols.iter().filter(|symbol| plain(symbol)).count() * 2 > symbols.len(),
        "{symbols:?}"
    );
}

#[test]
fn an_object_that_claims_more_than_any_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("compressed");
    support::compile("nested.c", &path, &["-O2", "-g", "-gz=zlib"]);
    let (_, offset) = support::code(&path, 64)[2];
    support::claim_decompressed_size(&path, ".debug_info", 1 << 60);
    let symbols =
        Symbolizer::new(Options::default()).symbolize(&ObjectSource::Elf { path }, &[offset]);
    assert_eq!(symbols, [Symbol::Unknown(Reason::BadObject)]);
}

fn fake(script: &str) -> SymbolizerPool {
    let args = ["-c", script].map(Into::into).to_vec();
    let command = WorkerCommand { program: "/bin/sh".into(), args };
    let limits = WorkerLimits { timeout: Duration::from_millis(200), ..WorkerLimits::default() };
    SymbolizerPool::isolated(command, 1, &Options::default(), limits)
}

/// Check each way in which a worker can fail for good: it stalls, dies, and talks nonsense.
#[test]
fn workers_that_never_answer_end_in_a_reason() {
    let (_dir, source, _) = program();
    for script in
        ["exec sleep 1000", "exit 3", "exec cat /dev/zero", "echo nonsense; exec sleep 1000"]
    {
        let symbols = fake(script).symbolize(&source, &[1, 2]).expect("the shell starts");
        assert_eq!(symbols, vec![Symbol::Unknown(Reason::BadObject); 2], "{script}");
    }
}

#[test]
fn a_worker_that_cannot_start_is_an_error() {
    let command = WorkerCommand { program: "/nonexistent/worker".into(), args: Vec::new() };
    let pool = SymbolizerPool::isolated(command, 1, &Options::default(), WorkerLimits::default());
    let source = ObjectSource::Elf { path: "/bin/sh".into() };
    assert!(matches!(pool.symbolize(&source, &[1]), Err(PoolError::Start(_))));
}

/// Check that a worker does not outlive its pool, even a pool that was killed.
#[test]
fn a_worker_ends_with_its_input() {
    let mut child = Command::new(worker().program).stdin(Stdio::piped()).spawn().expect("starts");
    drop(child.stdin.take());
    assert!(child.wait().expect("ends").success());
}

/// Check that late symbols replace early ones: the file is another one under the same name.
#[test]
fn a_replaced_object_is_read_anew() {
    let (_dir, source, offsets) = program();
    let stripped = source.path().with_extension("stripped");
    support::run("strip", [source.path(), Path::new("-o"), &stripped]);
    let pool = isolated(WorkerLimits::default());
    let late = ObjectSource::Elf { path: stripped.clone() };
    let before = pool.symbolize(&late, &offsets).expect("workers start");
    fs::rename(source.path(), &stripped).expect("renamed");
    let after = pool.symbolize(&late, &offsets).expect("workers start");
    let named =
        |symbols: &[Symbol]| symbols.iter().filter(|s| matches!(s, Symbol::Named(_))).count();
    assert!(
        named(&before) * 10 < named(&after),
        "{} before, {} after",
        named(&before),
        named(&after)
    );
}
