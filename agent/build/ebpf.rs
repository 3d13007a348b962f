//! Runs the inner build of `ebpf/`.
//!
//! In: the toolchain, the sources. Out: `OUT_DIR/fleetprof-ebpf`, an ELF object for the kernel.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::toolchain::{self, Toolchain};

const OBJECT: &str = "fleetprof-ebpf";
const TARGET: &str = "bpfel-unknown-none";

/// Variables of the outer build that mean something else in the inner one.
const FOREIGN: &[&str] = &["CLIPPY_ARGS", "DEBUG", "HOST", "OPT_LEVEL", "PROFILE", "TARGET"];

/// What an inner cargo may still know: where its files are and how to reach registries.
const KEPT: &[&str] =
    &["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_"];

/// Builds the object.
pub(crate) fn build() -> Result<(), String> {
    let agent = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let ebpf = agent.parent().ok_or("the agent's folder has no parent")?.join("ebpf");
    watch();

    let toolchain = toolchain::find()?;
    let target_dir = shared_target_dir(&out_dir);
    let status = inner_cargo(&toolchain, &ebpf, &target_dir)?
        .status()
        .map_err(|error| format!("cannot run {}: {error}", toolchain.cargo[0].display()))?;
    if !status.success() {
        return Err(toolchain::explain(&format!(
            "the inner cargo build failed ({status}), see above"
        )));
    }
    copy(OBJECT, &target_dir, &out_dir)?;
    if counting() { copy("counting", &target_dir, &out_dir) } else { Ok(()) }
}

fn copy(object: &str, target_dir: &Path, out_dir: &Path) -> Result<(), String> {
    let from = target_dir.join(TARGET).join("release").join(object);
    let to = out_dir.join(object);
    fs::copy(&from, &to)
        .map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))?;
    Ok(())
}

/// Whether the rejected alternative is wanted as well, to measure it.
fn counting() -> bool {
    env::var_os("CARGO_FEATURE_COUNTING").is_some()
}

/// Builds again only when something changed that the object depends on. Paths are relative to this
/// package: checkouts may share a target directory, and each has to look at its own files.
fn watch() {
    let crates = ["Cargo.toml", "Cargo.lock", "src", "abi/Cargo.toml", "abi/src"];
    for path in crates.into_iter().chain(["walk/Cargo.toml", "walk/src"]) {
        println!("cargo::rerun-if-changed=../ebpf/{path}");
    }
    for path in ["build.rs", "build"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=FLEETPROF_CACHE");
}

/// One folder for all profiles of the outer build: the object is the same for each, and the
/// compiler's `core` need not be compiled again.
fn shared_target_dir(out_dir: &Path) -> PathBuf {
    // OUT_DIR is TARGET_DIR/[TRIPLE/]PROFILE/build/PACKAGE-HASH/out.
    match out_dir.ancestors().nth(4) {
        Some(dir)
            if out_dir.ancestors().nth(2).and_then(Path::file_name) == Some("build".as_ref()) =>
        {
            dir.join("ebpf")
        }
        _ => out_dir.join("ebpf"),
    }
}

fn inner_cargo(toolchain: &Toolchain, ebpf: &Path, target_dir: &Path) -> Result<Command, String> {
    let mut command = Command::new(&toolchain.cargo[0]);
    command.args(&toolchain.cargo[1..]);
    for (name, _) in env::vars_os() {
        if is_foreign(&name) {
            command.env_remove(name);
        }
    }
    command.envs(toolchain.env.iter().map(|(name, value)| (name, value)));

    // The kernel's view of registers depends on the machine the agent will run on.
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.bpf_linker);
    let mut arch_cfg = OsString::from("--cfg=bpf_target_arch=\"");
    arch_cfg.push(&arch);
    arch_cfg.push("\"");
    let flags = [linker, arch_cfg, "-Cdebuginfo=2".into(), "-Clink-arg=--btf".into()];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\u{1f}")));

    // From its own folder, so that no `.cargo/config.toml` of the caller's folder applies.
    command.current_dir(ebpf).args([
        "build",
        "--release",
        "--locked",
        "-Zbuild-std=core",
        "--target",
        TARGET,
    ]);
    command.arg("--target-dir").arg(target_dir);
    if counting() {
        command.args(["--features", "counting"]);
    }
    Ok(command)
}

/// Whether a variable describes the outer build.
fn is_foreign(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    if name.starts_with("CARGO") {
        return !KEPT.iter().any(|kept| name.starts_with(kept));
    }
    let is_compiler = ["RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"];
    is_compiler.iter().any(|prefix| name.starts_with(prefix)) || FOREIGN.contains(&name)
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: this program is run by cargo only"))
}
