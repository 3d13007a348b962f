//! Which files are sent: those that were named, and the split units of a binary, which have its name and
//! `.dwp`. Such a package does not say whose it is, so its binary must be found.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use fleetprof_proto::ids::{
    ObjectId, ObjectKind,
    elf_identity::{BuildIdError, build_id},
};

const PACKAGE: &str = "dwp";

/// A file to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToSend {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// What a file is, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The collector finds out what it is.
    Object,
    /// The split units of this binary.
    UnitsOf(PathBuf),
    /// The split units of a binary that should have this name, and was not found.
    UnitsWithout(PathBuf),
}

/// All files to send, each once, in the order in which they were named.
pub(super) fn to_send(named: &[PathBuf], exists: impl Fn(&Path) -> bool) -> Vec<ToSend> {
    let mut files: Vec<ToSend> = Vec::new();
    let mut add = |path: &Path, what| {
        if !files.iter().any(|file| file.path == path) {
            files.push(ToSend { path: path.to_owned(), what });
        }
    };
    for path in named {
        if is_package(path) {
            add(path, binary_of(path, named, &exists));
            continue;
        }
        add(path, What::Object);
        let package = package_of(path);
        if exists(&package) {
            add(&package, What::UnitsOf(path.clone()));
        }
    }
    files
}

/// The id of the binary that a package goes with.
///
/// # Errors
/// When the binary cannot be read or is no ELF file.
pub(super) fn id_of(binary: &Path) -> Result<ObjectId, BuildIdError> {
    Ok(ObjectId { kind: ObjectKind::File, build_id: build_id(File::open(binary)?)? })
}

fn is_package(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == PACKAGE)
}

fn package_of(binary: &Path) -> PathBuf {
    let mut name = binary.as_os_str().to_owned();
    name.push(".");
    name.push(PACKAGE);
    name.into()
}

/// The binary is beside its package, or was named together with it.
fn binary_of(package: &Path, named: &[PathBuf], exists: impl Fn(&Path) -> bool) -> What {
    let beside = package.with_extension("");
    if exists(&beside) {
        return What::UnitsOf(beside);
    }
    let same_name = |other: &&PathBuf| other.file_name() == beside.file_name();
    match named.iter().find(same_name) {
        Some(binary) => What::UnitsOf(binary.clone()),
        None => What::UnitsWithout(beside),
    }
}

#[cfg(test)]
mod tests;
