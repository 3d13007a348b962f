//! The file with a binary's debug information, where that was split off.
//!
//! In: a [`Place`] of the binary, its build ID and its link. Out: open files that may be the one, in
//! the order in which debuggers look. They are looked for where the process sees its files and
//! nowhere else, and must prove what they are: by the build ID, or by the link's check sum.

use std::{fs::File, path::Path};

use fleetprof_proto::ids::{BuildId, BuildIdKind, elf_identity};
use fleetprof_unwind::DebugLink;

use super::{
    Place,
    open::{Version, open_below},
};

/// Where distributions put them.
const SYSTEM: &[u8] = b"/usr/lib/debug";

/// What the right file has.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The binary's build ID.
    pub(super) build_id: BuildId,
    /// The binary's link.
    pub(super) link: Option<DebugLink>,
    /// The binary, which is not its own debug file.
    pub(super) binary: Version,
}

/// A file that may be the one.
pub(super) struct Candidate {
    pub(super) file: File,
    /// As the process sees it.
    pub(super) path: Vec<u8>,
    /// Its build ID is the binary's; else its check sum has to be computed.
    pub(super) is_proven: bool,
}

// === impl Wanted ===

impl Wanted {
    /// Opens what may be the file; those that have another build ID are left out.
    pub(super) fn candidates(&self, place: &Place, proc_root: &Path) -> Vec<Candidate> {
        let paths = self.paths(&place.path);
        place
            .roots(proc_root)
            .flat_map(|root| {
                paths.iter().filter_map(move |path| Some((open_below(&root, path)?, path)))
            })
            .filter(|((_, version), _)| !version.is_same_file(&self.binary))
            .filter_map(|((file, _), path)| self.judge(file, path))
            .collect()
    }

    /// Whether the candidate is the file. Computes its check sum where nothing else tells.
    pub(super) fn is_proven_by(&self, candidate: &Candidate) -> bool {
        let sum = || self.link.as_ref().map(|link| link.leads_to(&candidate.file));
        candidate.is_proven || matches!(sum(), Some(Ok(true)))
    }

    fn judge(&self, file: File, path: &[u8]) -> Option<Candidate> {
        let found = elf_identity::build_id(&file).ok()?;
        // Without a build ID each of the two files has the hash of its own bytes.
        let is_proven = self.build_id.kind() != BuildIdKind::Htl && found == self.build_id;
        let may_be = is_proven || (found.kind() == BuildIdKind::Htl && self.link.is_some());
        may_be.then_some(Candidate { file, path: path.to_vec(), is_proven })
    }

    /// Paths below the root of the process whose binary is at `binary`.
    fn paths(&self, binary: &[u8]) -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = path_of(&self.build_id).into_iter().collect();
        let end = binary.iter().rposition(|&byte| byte == b'/');
        if let (Some(link), Some(end)) = (&self.link, end) {
            let folder = &binary[..=end];
            paths.push([folder, &link.name].concat());
            paths.push([folder, b".debug/", &link.name].concat());
            paths.push([SYSTEM, folder, &link.name].concat());
        }
        paths
    }
}

/// Where a distribution puts the debug information of this build ID.
pub(super) fn path_of(build_id: &BuildId) -> Option<Vec<u8>> {
    if build_id.kind() != BuildIdKind::Gnu {
        return None;
    }
    let hex: String = build_id.value().iter().map(|byte| format!("{byte:02x}")).collect();
    let (folder, name) = hex.split_at_checked(2).filter(|(_, name)| !name.is_empty())?;
    Some([SYSTEM, format!("/.build-id/{folder}/{name}.debug").as_bytes()].concat())
}

#[cfg(test)]
mod tests;
