//! Finds what compiles Rust for the `bpfel-unknown-none` target.
//!
//! In: `PATH`, the cache folder, what is installed. Out: a [`Toolchain`], or a sentence with the
//! commands that install one. It compiles nothing.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// How to call cargo for the kernel side.
pub(crate) struct Toolchain {
    /// Program and first arguments.
    pub(crate) cargo: Vec<OsString>,
    /// Variables it needs.
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// The linker.
    pub(crate) bpf_linker: PathBuf,
}

/// Oldest compiler that aya-ebpf accepts.
const OLDEST_MINOR: u32 = 87;

/// Debian's own compiler comes with the sources of the libraries (`rust-web-src`, `rust-src`).
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

const HELP: &str = "\
Install one of these two toolchains (either is enough), then build again.

Debian (also what `make build` does by itself), as root:
    apt-get update
    apt-get install --yes rustc-web cargo-web rust-web-src llvm-22-dev libpolly-22-dev zlib1g-dev libzstd-dev
    PATH=/usr/lib/llvm-22/bin:$PATH cargo install bpf-linker --version 0.13.0 --locked \\
        --no-default-features --features llvm-22 --root ~/.cache/fleetprof/tools

rustup:
    rustup toolchain install nightly --profile minimal --component rust-src
    cargo install bpf-linker --version 0.13.0 --locked";

/// Looks for a toolchain.
pub(crate) fn find() -> Result<Toolchain, String> {
    let compiler = debian().or_else(nightly);
    let bpf_linker = find_bpf_linker();
    match (compiler, bpf_linker) {
        (Some((cargo, env)), Some(bpf_linker)) => Ok(Toolchain { cargo, env, bpf_linker }),
        (None, Some(_)) => Err(explain(
            "no Rust compiler with library sources was found (neither Debian's nor rustup's nightly)",
        )),
        (Some(_), None) => Err(explain(&format!(
            "bpf-linker was found neither on PATH nor in {}",
            tools().map_or_else(|| "the cache folder".to_owned(), |dir| dir.display().to_string()),
        ))),
        (None, None) => {
            Err(explain("neither bpf-linker nor a Rust compiler with library sources was found"))
        }
    }
}

/// A sentence about what is wrong, and what helps.
pub(crate) fn explain(problem: &str) -> String {
    format!("fleetprof's eBPF programs cannot be built: {problem}.\n\n{HELP}")
}

type Compiler = (Vec<OsString>, Vec<(&'static str, OsString)>);

fn debian() -> Option<Compiler> {
    let minor = minor_version(&output(Command::new(DEBIAN_RUSTC).arg("--version"))?)?;
    if minor < OLDEST_MINOR || !has_sources(Command::new(DEBIAN_RUSTC).arg("--print=sysroot")) {
        return None;
    }
    output(Command::new(DEBIAN_CARGO).arg("--version"))?;
    // A stable compiler: `-Zbuild-std` has to be unlocked.
    let env = vec![("RUSTC", DEBIAN_RUSTC.into()), ("RUSTC_BOOTSTRAP", "1".into())];
    Some((vec![DEBIAN_CARGO.into()], env))
}

fn nightly() -> Option<Compiler> {
    let rustup = on_path("rustup")?;
    let run = |program: &str| -> Vec<OsString> {
        vec![rustup.clone().into(), "run".into(), "nightly".into(), program.into()]
    };
    let rustc = run("rustc");
    has_sources(Command::new(&rustc[0]).args(&rustc[1..]).arg("--print=sysroot"))
        .then(|| (run("cargo"), Vec::new()))
}

/// Whether the compiler whose sysroot `command` prints has the library sources.
fn has_sources(command: &mut Command) -> bool {
    output(command).is_some_and(|sysroot| {
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
    })
}

fn find_bpf_linker() -> Option<PathBuf> {
    on_path("bpf-linker").or_else(|| {
        let linker = tools()?.join("bpf-linker");
        linker.is_file().then_some(linker)
    })
}

/// The folder in which `make` installs tools.
fn tools() -> Option<PathBuf> {
    let cache = env::var_os("FLEETPROF_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("XDG_CACHE_HOME")?).join("fleetprof")))
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/fleetprof")))?;
    Some(cache.join("tools/bin"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// Standard output of a command that succeeds; `None` when it cannot run or fails.
fn output(command: &mut Command) -> Option<String> {
    // A rustup proxy would read this and call another compiler than the one asked for.
    let output = command.env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `rustc 1.96.0 (…)` → 96
fn minor_version(version: &str) -> Option<u32> {
    version.split_whitespace().nth(1)?.split('.').nth(1)?.parse().ok()
}
