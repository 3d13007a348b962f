//! What runs on a host beside one's own programs, and what it does for ever here.

use std::{
    fmt::Write as _,
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use fleetprof_tests::{machine, process};

use super::{Started, start};

/// `nobody`: PostgreSQL refuses to be root.
const NOBODY: u32 = 65534;

/// Calls, sorting, text and a dictionary.
const PYTHON: &str = "
import json, re
def down(n):
    return n and down(n - 1) + len(re.findall('[a-z]+', json.dumps({str(i): [i] * 9 for i in range(20)})))
while True:
    sorted((down(40), str(i)) for i in range(20))
";

/// The same, compiled while it runs.
const NODE: &str = "
const kept = new Map();
for (let i = 0; ; i++) {
    kept.set(i % 1000, JSON.parse(JSON.stringify({ a: [i, i + 1], b: String(i) })));
    if (i % 100 == 0) [...kept.values()].sort((x, y) => x.a[0] - y.a[0]);
    'some text'.match(/[a-z]+/g);
}
";

const SQL: &str = "select sum(length(md5(x::text))) from generate_series(1, 1000000000) x\n";

/// A compiler, interpreters, a virtual machine's own threads and a database.
pub(super) fn all(folder: &Path) -> Vec<Started> {
    let mut compiler = process::command("sh");
    compiler.args(["-c", "while \"$1\" -O2 -S -o /dev/null \"$2\"; do :; done", "sh"]);
    compiler.arg(tool("g++")).arg(large_source(folder));
    let mut python = process::command("/usr/bin/python3");
    python.args(["-c", PYTHON]);
    let mut node = process::command(tool("node"));
    node.args(["-e", NODE]);
    let mut java = process::command(tool("java"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/host/Busy.java");
    java.args(["-XX:+UseParallelGC", "-XX:ParallelGCThreads=2", "-Xmx256m"]).arg(source);
    let mut started = vec![
        start("cc1plus", &mut compiler, folder),
        start("python3", &mut python, folder),
        start("node", &mut node, folder),
        postgres(folder),
    ];
    let java = start("java", &mut java, folder);
    // What Java code it runs is no native code: only the collector's threads are asked about.
    started.push(Started { comm: "GC Thread#0".to_owned(), ..java });
    started
}

/// A large C++ file: what the optimizer gets out of the standard library's templates.
fn large_source(folder: &Path) -> PathBuf {
    let mut text = String::from("#include <map>\n#include <regex>\n#include <string>\n");
    for number in 0..400 {
        writeln!(
            text,
            "int f{number}(const std::string &s) {{ std::map<std::string, int> m; \
             std::regex r(\"[a-z]{{{number}}}\"); m[s] = {number}; \
             return std::regex_match(s, r) ? m.begin()->second : {number}; }}"
        )
        .expect("a string takes all");
    }
    let file = folder.join("large.cpp");
    fs::write(&file, text).expect("a source file");
    file
}

/// One process of the database, which works off a statement.
fn postgres(folder: &Path) -> Started {
    let (home, data) = (folder.join("database"), folder.join("database/data"));
    let sql = folder.join("statement.sql");
    fs::create_dir(&home).expect("a folder");
    fs::write(&sql, SQL).expect("a statement");
    for path in [folder, &home] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("the owner can be changed");
    }
    let mut init = Command::new(server_program("initdb"));
    init.uid(NOBODY).gid(NOBODY).current_dir(&home).args(["--no-sync", "-A", "trust", "-D"]);
    let made = init.arg(&data).output().expect("initdb can be started");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let mut server = process::command("sh");
    server.uid(NOBODY).gid(NOBODY).current_dir(&home);
    server.args(["-c", "exec \"$1\" --single -D \"$2\" postgres < \"$3\"", "sh"]);
    server.arg(server_program("postgres")).arg(&data).arg(&sql);
    start("postgres", &mut server, folder)
}

/// Debian keeps them out of `PATH`, by version.
fn server_program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found = versions.map(|version| version.path().join("bin").join(name));
    found.find(|path| path.is_file()).unwrap_or_else(|| tool(name))
}

fn tool(name: &str) -> PathBuf {
    machine::tool(name, "run `make setup`, which installs what the tests use")
}
