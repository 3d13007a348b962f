//! A recording of a process that maps a file made to end its parser. Needs root.
#![expect(clippy::unwrap_used, reason = "in a test every failure shall show")]

use std::{
    fs,
    path::Path,
    process::{Child, Command},
};

/// Burns CPU in a function of its own and in one of the hostile library.
const BUSY: &str = "
void deep(void);
__attribute__((noinline)) void honest_work(void) {
    for (volatile int i = 0; i < 1000000; i++) { }
}
int main(void) {
    for (;;) { honest_work(); deep(); }
}
";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// Its debug information is nested so deep that the recursion of any parser ends with its stack.
fn hostile_library(directory: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../symbolizer/tests/programs/deep.s");
    let symbols = "-Wa,--defsym,DEPTH=4000000,--defsym,SPIN=1000000";
    let library = directory.join("libdeep.so");
    run(Command::new("gcc").args([source, symbols, "-shared", "-nostdlib", "-o"]).arg(library));
}

/// Check that such a file costs its own debug information only: the recording is written, and the
/// rest of the process, and even the file's symbol table, have given their names.
#[test]
fn a_file_that_ends_its_parser_costs_its_own_names_only() {
    let directory = tempfile::tempdir().unwrap();
    hostile_library(directory.path());
    let [source, program, output] =
        ["busy.c", "busy", "out.pb.gz"].map(|name| directory.path().join(name));
    fs::write(&source, BUSY).unwrap();
    run(Command::new("gcc").arg("-g").arg(&source).arg("-o").arg(&program).args([
        "-L",
        directory.path().to_str().unwrap(),
        "-ldeep",
        "-Wl,-rpath,$ORIGIN",
    ]));
    let busy = Running(Command::new(&program).spawn().unwrap());

    let recorded = Command::new(env!("CARGO_BIN_EXE_fleetprof-agent"))
        .args(["record", "--duration", "2s", "--pid", &busy.0.id().to_string(), "--output"])
        .arg(&output)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&recorded.stderr);
    assert!(recorded.status.success(), "{}\n{said}", recorded.status);
    assert!(said.contains("object cost a worker"), "the file was no danger:\n{said}");
    let profile = Command::new("gzip").arg("-dc").arg(&output).output().unwrap().stdout;
    let names = |name: &str| profile.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    assert!(names("honest_work") && names("busy.c"), "the program has lost its names");
    assert!(names("deep"), "the symbol table was not asked");
}
