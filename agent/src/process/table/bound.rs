//! What a sample can ask of the program it was taken in.

use std::sync::Arc;

use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectId, ObjectKind};

use crate::{
    object::{CodeObject, Identified, Registry},
    process::{
        info::ProcessInfo,
        mapping::{Mapping, MappingSet, Region},
    },
};

/// The program a sample was taken in, as it was then; it may be kept.
#[derive(Clone, Debug)]
pub struct Bound {
    pub(super) info: Arc<ProcessInfo>,
    pub(super) maps: Arc<MappingSet>,
    pub(super) registry: Arc<Registry>,
    pub(super) time_ns: u64,
    /// Mappings are missing that can no longer be had.
    pub(super) gone: bool,
    /// It has ended by now.
    pub(super) exited: bool,
}

/// Name for memory without one; the kernel's events use it, `/proc` shows nothing.
const NAMELESS: &[u8] = b"//anon";

/// Above this only 64-bit processes have mappings: their vDSO is everybody's.
const LAST_32_BIT_ADDRESS: u64 = 0xffff_ffff;

// === impl Bound ===

impl Bound {
    /// What identifies the process.
    pub fn info(&self) -> &Arc<ProcessInfo> {
        &self.info
    }

    /// What it maps.
    pub fn mappings(&self) -> &Arc<MappingSet> {
        &self.maps
    }

    /// Whether its process has ended.
    pub fn has_ended(&self) -> bool {
        self.exited
    }

    /// Whether mappings are missing that can no longer be had.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The mapping that held `address` when the sample was taken.
    pub fn mapping(&self, address: u64) -> Option<&Mapping> {
        self.maps.find(address, self.time_ns)
    }

    /// The object behind a mapping of this program; found out once.
    pub fn object(&self, mapping: &Mapping) -> Arc<CodeObject> {
        if let Some(object) = mapping.object.get() {
            return Arc::clone(object);
        }
        let (kind, identified) = self.identify(mapping);
        let build_id = match &identified {
            Identified::As(build_id) => Some(build_id.clone()),
            Identified::NotElf | Identified::Never | Identified::NotNow => None,
        };
        let path = match &mapping.path[..] {
            b"" => &self.registry.path(NAMELESS),
            _ => &mapping.path,
        };
        let object = self.registry.code_object(kind, build_id, path);
        let ask_again = match identified {
            // The file system may answer then.
            Identified::NotNow => true,
            // A process forked from this one with the same mappings may still lead to the file; one
            // reference is this one's, and one the process's own.
            Identified::Never => self.exited && Arc::strong_count(&self.maps) > 2,
            Identified::As(_) | Identified::NotElf => false,
        };
        if ask_again {
            return object;
        }
        Arc::clone(mapping.object.get_or_init(|| object))
    }

    fn identify(&self, mapping: &Mapping) -> (ObjectKind, Identified) {
        let place = mapping.place(self.info.pid, self.info.parent);
        let (kind, identified) = match mapping.region {
            Region::Anonymous => return (ObjectKind::Anonymous, Identified::NotElf),
            Region::Identified(build_id) => {
                let build_id = BuildId::new(BuildIdKind::Gnu, build_id.as_bytes());
                (ObjectKind::File, build_id.map_or(Identified::NotElf, Identified::As))
            }
            Region::File(_) => (ObjectKind::File, self.registry.identify(&place)),
            Region::Vdso if mapping.start > LAST_32_BIT_ADDRESS => {
                return (ObjectKind::Vdso, self.registry.identify_own_vdso());
            }
            Region::Vdso => (ObjectKind::Vdso, self.registry.identify_vdso(&place)),
        };
        match &identified {
            Identified::As(build_id) => {
                self.registry.remember(ObjectId { kind, build_id: build_id.clone() }, place);
            }
            Identified::NotElf if Region::is_memory_file(&mapping.path) => {
                return (ObjectKind::Anonymous, Identified::NotElf);
            }
            Identified::NotElf | Identified::Never | Identified::NotNow => {}
        }
        (kind, identified)
    }
}
