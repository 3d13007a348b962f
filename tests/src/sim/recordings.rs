//! Recordings of programs that every developer's machine has, to be replayed as a fleet's services. Give a
//! capture of the real thing where numbers matter.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    process::{self, Running},
    record,
    servers::{Postgres, Seaweed, postgres},
};

/// Records this host while its C++ compiler works on every core: some thousand distinct stacks in seconds.
/// It does something else all the time, where most services do the same again and again.
///
/// # Panics
/// When the recording fails (it needs root), or there is no C++ compiler.
pub fn record_compiler(duration: Duration, output: &Path) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let _load: Vec<_> = (0..cores).map(|core| compiler(dir.path(), core)).collect();
    record_host(duration, output);
}

/// Records this host while several services work: PostgreSQL asked by `pgbench` (C), SeaweedFS asked by a
/// client in Python (Go), DuckDB (C++), and the C++ compiler.
///
/// # Panics
/// When the recording fails (it needs root), or one of them is not installed.
pub fn record_services(duration: Duration, output: &Path) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Postgres::start();
    let seaweed = Seaweed::start(&dir.path().join("seaweed"));
    let load = dir.path().join("load.py");
    fs::write(&load, include_str!("load.py")).expect("a script");
    let script = |name: &'static str, argument: Option<String>| {
        let mut command = process::command("python3");
        command.arg(&load).arg(name).args(argument).stdout(Stdio::null());
        Running::daemon(name, &mut command, &dir.path().join(format!("{name}.log")))
    };
    let mut load = [
        database(&server, dir.path()),
        script("store", Some(seaweed.filer())),
        script("queries", None),
        compiler(dir.path(), 0),
    ];
    record_host(duration, output);
    load.iter_mut().for_each(Running::check_alive);
}

/// The compiler, again and again until it is dropped.
fn compiler(dir: &Path, number: usize) -> Running {
    let source = dir.join("load.cpp");
    let text = "#include <functional>\n#include <iostream>\n#include <map>\n#include <regex>\n\
        int main(int count, char **words) {\n    std::map<std::string, int> seen;\n    \
        for (int at = 0; at < count; at++)\n        if (std::regex_search(words[at], std::regex(\"a+b\"))) \
        seen[words[at]]++;\n    std::cout << seen.size();\n}\n";
    fs::write(&source, text).expect("a source file");
    let mut command = process::command("sh");
    command.args(["-c", "while c++ -O2 -g -c \"$1\" -o \"$2\"; do :; done", "sh"]);
    command.arg(&source).arg(dir.join(format!("{number}.o"))).stdout(Stdio::null());
    Running::daemon("c++", &mut command, &dir.join("c++.log"))
}

/// `pgbench` at work on a database that it has filled.
fn database(server: &Postgres, dir: &Path) -> Running {
    let pgbench = |options: &[&str]| -> Command {
        let mut command = process::command(postgres::program("pgbench"));
        command.args(options).arg(server.url()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let filled = pgbench(&["--initialize", "--scale=5"]).status();
    assert!(filled.expect("pgbench runs").success(), "pgbench cannot fill a database");
    let clients = &["--client=4", "--jobs=1", "--time=3600"];
    Running::daemon("pgbench", &mut pgbench(clients), &dir.join("pgbench.log"))
}

fn record_host(duration: Duration, output: &Path) {
    let mut command = record::command(duration, output, &["--frequency", "997"]);
    let output = process::run(&mut command, duration + Duration::from_secs(120));
    assert!(output.status.success(), "record failed ({}):\n{}", output.status, output.stderr);
}
