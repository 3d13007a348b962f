//! Which binary stands behind a mapping, and how to read it again.
//!
//! In: mappings of processes. Out: [`CodeObject`]s, and for an upload the bytes of an object
//! ([`UploadSource`]). Files belong to other processes, so every look at one is bounded in size and,
//! through [`guard`], in time. Not done here: which mapping an address falls into (`process`), and
//! symbols (the collector's).

mod debug_file;
#[doc(hidden)]
pub mod fuzz;
pub mod guard;
mod intern;
mod links;
mod lru;
mod memory;
pub mod open;
mod outline;
pub mod registry;
mod sections;
#[cfg(test)]
pub(crate) mod testing;
pub mod upload;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fleetprof_proto::ids::{BuildId, ObjectId, ObjectKind};

pub use open::{DeviceId, FileId, OpenError, Place};
pub use registry::{Companions, Identified, Registry, RegistryConfig, RegistryCounts, Separate};
pub use upload::{UploadError, UploadSource};

/// What addresses are relative to: the agent's form of a row of the batch's object table.
#[derive(Debug)]
pub struct CodeObject {
    serial: u64,
    kind: ObjectKind,
    build_id: Option<BuildId>,
    path: Arc<str>,
}

// === impl CodeObject ===

impl CodeObject {
    /// Makes one. `path` is for people.
    pub fn new(kind: ObjectKind, build_id: Option<BuildId>, path: Arc<str>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { serial: NEXT.fetch_add(1, Ordering::Relaxed), kind, build_id, path }
    }

    /// A number no other object of this agent ever has: a cheap key for caches. Two objects may
    /// still be equal in everything else.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What sort of object.
    pub fn kind(&self) -> ObjectKind {
        self.kind
    }

    /// Its identity; `None` where it could not be had.
    pub fn build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    /// Path or name as the process sees it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The id the fleet knows it by; `None` for what no other host can have.
    pub fn id(&self) -> Option<ObjectId> {
        match self.kind {
            ObjectKind::Unknown | ObjectKind::Anonymous => None,
            kind => Some(ObjectId { kind, build_id: self.build_id.clone()? }),
        }
    }
}
