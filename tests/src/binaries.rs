//! Where the product's binaries are.

use std::{env, path::PathBuf};

/// The path of `fleetprof`, `fleetprof-agent` or `fleetprof-collector`: in `FLEETPROF_BIN_DIR`, else
/// beside this executable, where cargo puts the binaries of the same profile.
///
/// # Panics
/// When it is not there, with the command that builds it.
pub fn path(name: &str) -> PathBuf {
    let dir = env::var_os("FLEETPROF_BIN_DIR").map_or_else(beside_this_executable, PathBuf::from);
    let path = dir.join(name);
    let path = path.canonicalize().unwrap_or(path);
    assert!(
        path.is_file(),
        "{} is not there: run `make build` (or `cargo build --workspace --bins` with the profile of \
         the tests), or name the folder of the binaries in FLEETPROF_BIN_DIR",
        path.display()
    );
    path
}

/// Test executables are in `deps/`, other binaries beside the product's.
fn beside_this_executable() -> PathBuf {
    let mut dir = env::current_exe().expect("this executable has a path");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir
}
