//! Compiles `programs/` into folders named by the content of the sources and the compilers' versions,
//! beside this executable: built once, whoever asks, and again when either changes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use sha2::{Digest as _, Sha256};

use super::roots;
use crate::machine;

/// How C and C++ are built: optimized, and every function keeps its frame pointer.
const C_FLAGS: [&str; 8] = [
    "-O2",
    "-g",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
];

/// The same for the programs of the benchmark, which are as most programs are: without frame pointers.
const COST_FLAGS: [&str; 7] =
    ["-std=c++17", "-O2", "-fomit-frame-pointer", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// Programs that are built together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Programs with a known CPU split.
    Split,
    /// Programs with known stacks and processes, for the benchmark.
    Cost,
    /// Programs without frame pointers, whose stacks must reach a root.
    Rooted,
}

pub(super) struct Compilers {
    c: PathBuf,
    cpp: PathBuf,
    rust: PathBuf,
    go: PathBuf,
    strip: PathBuf,
}

/// The folder of a set's executables.
pub(super) fn folder(set: Set) -> &'static Path {
    static SPLIT: OnceLock<PathBuf> = OnceLock::new();
    static COST: OnceLock<PathBuf> = OnceLock::new();
    static ROOTED: OnceLock<PathBuf> = OnceLock::new();
    match set {
        Set::Split => SPLIT.get_or_init(|| build(set)),
        Set::Cost => COST.get_or_init(|| build(set)),
        Set::Rooted => ROOTED.get_or_init(|| build(set)),
    }
}

fn build(set: Set) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let split = here.join("programs");
    let sources = match set {
        Set::Split => split.clone(),
        Set::Cost => split.join("cost"),
        Set::Rooted => here.join("replay/programs"),
    };
    let folders = if set == Set::Rooted { vec![&sources, &split] } else { vec![&sources] };
    let compilers = Compilers::find();
    let cache = cache_folder();
    let folder = cache.join(key(set, &folders, &compilers));
    if folder.is_dir() {
        return folder;
    }
    fs::create_dir_all(&cache).expect("a folder for the test programs");
    // Under another name first: a build that is interrupted leaves nothing that looks finished.
    let draft = tempfile::tempdir_in(&cache).expect("a folder for the test programs");
    match set {
        Set::Split => compilers.compile(&sources, draft.path()),
        Set::Cost => compilers.compile_cost(&sources, draft.path()),
        Set::Rooted => {
            roots::compile(&compilers, &sources, &split.join("storm.c"), draft.path());
        }
    }
    match fs::rename(draft.path(), &folder) {
        Ok(()) => drop(draft.keep()),
        // Another process was faster.
        Err(_) if folder.is_dir() => {}
        Err(error) => panic!("cannot move the test programs to {}: {error}", folder.display()),
    }
    folder
}

/// Where Go keeps what it has built: also `go tool pprof`, which newer versions build at first use.
pub(super) fn go_cache() -> PathBuf {
    cache_folder().join("go")
}

fn cache_folder() -> PathBuf {
    let mut dir = env::current_exe().expect("this executable has a path");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir.join("fleetprof-test-programs")
}

fn key(set: Set, folders: &[&PathBuf], compilers: &Compilers) -> String {
    let mut hash = Sha256::new();
    let read = |folder| fs::read_dir(folder).expect("the folder of the test programs");
    let entries = folders.iter().flat_map(read);
    let files = entries.map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
    files.sort();
    for file in files {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update(fs::read(&file).expect("a source file"));
    }
    // The flags are part of these files; two sets share a folder of sources.
    hash.update(include_bytes!("build.rs"));
    hash.update(include_bytes!("roots.rs"));
    hash.update(format!("{set:?}"));
    hash.update(compilers.versions());
    format!("{:x}", hash.finalize())[..16].to_owned()
}

pub(super) fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The compiler that built this harness: `RUSTC`, or the one beside the cargo that runs the test.
fn rustc() -> PathBuf {
    if let Some(rustc) = env::var_os("RUSTC") {
        return PathBuf::from(rustc);
    }
    let beside = env::var_os("CARGO").map(|cargo| PathBuf::from(cargo).with_file_name("rustc"));
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo/bin/rustc"));
    [beside, machine::find("rustc"), home]
        .into_iter()
        .flatten()
        .find(|path| path.is_file())
        .expect("`rustc` is missing: run `make setup`")
}

// === impl Compilers ===

impl Compilers {
    fn find() -> Self {
        let tool =
            |name| machine::tool(name, "run `make setup`, which installs what the tests use");
        Self {
            c: tool("gcc"),
            cpp: tool("g++"),
            rust: rustc(),
            go: tool("go"),
            strip: tool("strip"),
        }
    }

    fn versions(&self) -> String {
        let dashes =
            [&self.c, &self.cpp, &self.rust].map(|tool| machine::version(tool, "--version"));
        format!("{dashes:?} {}", machine::version(&self.go, "version"))
    }

    /// A compiler by its name: the language toolchains of this harness, else what is on `PATH`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        match name {
            "rustc" => self.rust.clone(),
            "go" => self.go.clone(),
            _ => machine::tool(name, "run `make setup`, which installs what the tests use"),
        }
    }

    /// No network, no files in anybody's home.
    pub(super) fn go_environment(command: &mut Command) -> &mut Command {
        let cache = go_cache();
        command.envs([("GOCACHE", &cache), ("GOPATH", &cache)]).env("GOTOOLCHAIN", "local")
    }

    fn compile(&self, sources: &Path, out: &Path) {
        let c = |source: &str, name: &str, more: &[&str]| {
            let mut command = Command::new(&self.c);
            command
                .args(C_FLAGS)
                .arg(sources.join(source))
                .args(["-o".as_ref(), out.join(name).as_os_str()]);
            run(command.args(more));
        };
        c("split.c", "split-c", &[]);
        c("syscalls.c", "syscalls", &[]);
        c("deep.c", "deep", &[]);
        c("storm.c", "storm", &[]);
        c("dlopen.c", "dlopen", &["-ldl"]);
        c("plugin.c", "libplugin.so", &["-shared", "-fPIC"]);
        // Another build ID than split-c's, so that its symbols cannot come from there.
        c("split.c", "stripped", &["-Wl,--build-id=0xfee1dead000000000000000000000000deadbeef"]);
        run(Command::new(&self.strip).arg("--strip-all").arg(out.join("stripped")));
        let mut cpp = Command::new(&self.cpp);
        cpp.arg("-std=c++17").args(C_FLAGS).arg(sources.join("split.cpp"));
        run(cpp.arg("-o").arg(out.join("split-cpp")));
        let mut rust = Command::new(&self.rust);
        rust.args(["--edition=2024", "-O", "-g", "-C", "force-frame-pointers=yes"]);
        run(rust.arg(sources.join("split.rs")).arg("-o").arg(out.join("split-rust")));
        let mut go = Command::new(&self.go);
        go.args(["build", "-o"]).arg(out.join("split-go")).arg(sources.join("split.go"));
        run(Self::go_environment(&mut go).current_dir(out));
    }

    fn compile_cost(&self, sources: &Path, out: &Path) {
        let cpp = |source: &str, name: &str, define: &str| {
            let mut command = Command::new(&self.cpp);
            command.args(COST_FLAGS).arg(define).arg(sources.join(source));
            run(command.arg("-o").arg(out.join(name)));
        };
        for frames in super::FRAMES {
            cpp("frames.cpp", &format!("frames-{frames}"), &format!("-DFRAMES={frames}"));
        }
        for variant in 0..super::CROWD {
            cpp("crowd.cpp", &format!("crowd-{variant}"), &format!("-DVARIANT={variant}"));
        }
        fs::copy(sources.join("busy.py"), out.join("busy.py")).expect("a copy of a script");
    }
}
