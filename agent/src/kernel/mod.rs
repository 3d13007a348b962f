//! The running kernel's code: where its image, modules and generated code lie, so that an address
//! becomes an offset that is the same on every host and after every boot.
//!
//! In: `/proc/kallsyms`, `/proc/modules`, `/sys/kernel/notes`, `/sys/module`; any of them may be
//! missing. Out: [`KernelMap`]s for lookups, and the symbols of an object as text for an upload. The
//! symbols themselves, 100,000 and more, are not kept: an upload reads them again.
//!
//! BPF programs and trampolines are code too. The kernel lists them in kallsyms under the names of
//! modules that do not exist (`[bpf]`, `[__builtin__ftrace]`), at addresses that mean nothing on
//! another host. Each becomes an object of its own, identified by a hash of its listing; the names of
//! BPF programs contain a hash of their instructions, so equal programs are equal across the fleet.

#[doc(hidden)]
pub mod fuzz;
mod kallsyms;
mod map;
mod survey;

pub use map::{Code, KernelMap};

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use fleetprof_proto::{ids::ObjectId, v1::ObjectFormat};
use tracing::{debug, info, warn};

use crate::object::{UploadError, UploadSource};

/// Name of the kernel image as an object; perf's.
pub const KERNEL_PATH: &str = "[kernel.kallsyms]";

/// Where the kernel describes itself.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// A mount of procfs.
    pub proc_root: PathBuf,
    /// A mount of sysfs.
    pub sys_root: PathBuf,
}

/// The kernel's code, shared between the thread that normalizes and the one that uploads.
#[derive(Debug)]
pub struct Kernel {
    config: KernelConfig,
    map: RwLock<Arc<KernelMap>>,
    refresh: Mutex<Refresh>,
}

/// When the next look at changed modules may be taken.
#[derive(Debug, Default)]
struct Refresh {
    not_before_ns: u64,
    pause_ns: u64,
}

/// Reading kallsyms takes the kernel tens of milliseconds, so it is done again only for a reason,
/// and more and more rarely while it brings nothing.
const MIN_PAUSE_NS: u64 = 30_000_000_000;
const MAX_PAUSE_NS: u64 = 3_600_000_000_000;

// === impl KernelConfig ===

impl Default for KernelConfig {
    fn default() -> Self {
        Self { proc_root: "/proc".into(), sys_root: "/sys".into() }
    }
}

// === impl Kernel ===

impl Kernel {
    /// Surveys the running kernel. Never fails: what cannot be read is missing from the map, and a
    /// warning says how to mend it.
    pub fn survey(config: KernelConfig) -> Self {
        let map = survey::survey(&config);
        match &map.unavailable {
            Some(error) => warn!(
                %error,
                "kernel functions stay without names: run the agent with CAP_SYSLOG (root has it) and \
                 set sysctl kernel.kptr_restrict to 0 or 1"
            ),
            None => info!(objects = map.len(), "kernel symbols found"),
        }
        Self { config, map: RwLock::new(Arc::new(map)), refresh: Mutex::default() }
    }

    /// The map as of the last look.
    pub fn map(&self) -> Arc<KernelMap> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks again because an address was in none of the known places: a module or a BPF program may
    /// have been loaded. `None` when it is too early for that, or nothing changed.
    pub fn refresh(&self, now_ns: u64) -> Option<Arc<KernelMap>> {
        let mut refresh = self.lock_refresh();
        let old = self.map();
        // What is forbidden stays forbidden.
        if now_ns < refresh.not_before_ns || old.unavailable.is_some() {
            return None;
        }
        let new = survey::survey(&self.config);
        let changed = !new.same_places(&old);
        refresh.pause_ns = if changed {
            MIN_PAUSE_NS
        } else {
            (refresh.pause_ns * 2).clamp(MIN_PAUSE_NS, MAX_PAUSE_NS)
        };
        refresh.not_before_ns = now_ns.saturating_add(refresh.pause_ns);
        debug!(changed, objects = new.len(), "kernel symbols read again");
        if !changed || new.unavailable.is_some() {
            return None;
        }
        let new = Arc::new(new.with_objects_of(&old));
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
        Some(new)
    }

    /// The symbols of the kernel, a module or a generated piece of code: lines of
    /// `<hex relative address> <type> <name>`.
    ///
    /// # Errors
    /// When the object is not of this kernel, is no longer loaded, or its symbols cannot be read.
    pub fn open_for_upload(&self, id: &ObjectId) -> Result<UploadSource, UploadError> {
        let map = self.map();
        let code = map.find_object(id).ok_or_else(|| UploadError::Unknown(id.clone()))?;
        let listing =
            self.listing(code).map_err(|error| UploadError::Io { id: id.clone(), error })?;
        if listing.is_empty() {
            return Err(UploadError::Gone(id.clone()));
        }
        let path = code.object.path().to_owned();
        Ok(UploadSource::bytes(ObjectFormat::Kallsyms, listing, path))
    }

    fn listing(&self, code: &Code) -> io::Result<Vec<u8>> {
        match &code.source {
            map::Source::Generated(listing) => Ok(listing.clone()),
            map::Source::Kallsyms { module } => {
                let path = self.config.proc_root.join("kallsyms");
                let mut listing = kallsyms::Listing::new(code.base..code.end, module.as_deref());
                kallsyms::for_each(&path, &mut |symbol| listing.add(symbol))?;
                Ok(listing.finish())
            }
        }
    }

    fn lock_refresh(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
