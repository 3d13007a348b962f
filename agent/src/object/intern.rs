//! One copy of every path and of every code object, shared by all processes that have it.
//!
//! Unused ones are swept when the table has doubled, so it follows what is alive.

use std::{
    hash::Hash,
    sync::{Arc, Weak},
};

use fleetprof_proto::ids::{BuildId, ObjectKind};
use rustc_hash::{FxHashMap, FxHashSet};

use super::CodeObject;

/// Tables smaller than this are not swept.
const MIN_SWEEP: usize = 1024;

/// Most bytes of paths kept: 50 times what a busy host has. Only a process that maps thousands of
/// files with names of 4 KiB gets there.
const MAX_PATH_BYTES: usize = 8 << 20;

/// Paths up to this are always kept: nobody can make many of them.
const SHORT_PATH: usize = 16;

/// Stands for a path there is no room for, as perf has it. The file can still be opened by its
/// mapping.
const TOO_LONG: &[u8] = b"//toolong";

#[derive(Debug, Default)]
pub(super) struct Interned {
    paths: FxHashSet<Arc<[u8]>>,
    path_bytes: usize,
    sweep_paths_at: usize,
    /// Paths there was no room for since the last sweep.
    refused: usize,
    objects: FxHashMap<ObjectKey, Weak<CodeObject>>,
    sweep_objects_at: usize,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ObjectKey {
    kind: ObjectKind,
    build_id: Option<BuildId>,
    path: Arc<[u8]>,
}

impl Interned {
    pub(super) fn path(&mut self, path: &[u8]) -> Arc<[u8]> {
        if let Some(known) = self.paths.get(path) {
            return Arc::clone(known);
        }
        let is_full = |bytes: usize| bytes + path.len() > MAX_PATH_BYTES;
        // A sweep for every path that does not fit would be as costly as the paths.
        let worth_it = is_full(self.path_bytes) && self.refused.is_multiple_of(MIN_SWEEP);
        if worth_it || self.paths.len() >= self.sweep_paths_at.max(MIN_SWEEP) {
            self.sweep_paths();
        }
        if is_full(self.path_bytes) && path.len() > SHORT_PATH {
            self.refused += 1;
            return self.path(TOO_LONG);
        }
        let path: Arc<[u8]> = path.into();
        self.path_bytes += path.len();
        self.paths.insert(Arc::clone(&path));
        path
    }

    fn sweep_paths(&mut self) {
        self.paths.retain(|path| Arc::strong_count(path) > 1);
        self.path_bytes = self.paths.iter().map(|path| path.len()).sum();
        self.sweep_paths_at = self.paths.len() * 2;
        self.refused = 0;
    }

    pub(super) fn object(
        &mut self,
        kind: ObjectKind,
        build_id: Option<BuildId>,
        path: &Arc<[u8]>,
    ) -> Arc<CodeObject> {
        let key = ObjectKey { kind, build_id, path: Arc::clone(path) };
        if let Some(known) = self.objects.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if self.objects.len() >= self.sweep_objects_at.max(MIN_SWEEP) {
            self.objects.retain(|_, object| object.strong_count() > 0);
            self.sweep_objects_at = self.objects.len() * 2;
        }
        let text = String::from_utf8_lossy(path).into();
        let object = Arc::new(CodeObject::new(kind, key.build_id.clone(), text));
        self.objects.insert(key, Arc::downgrade(&object));
        object
    }

    pub(super) fn approx_bytes(&self) -> usize {
        // 16 bytes of counters before the content of every Arc; a code object has its path besides.
        let paths = self.path_bytes + 32 * self.paths.len();
        let objects: usize =
            self.objects.keys().map(|key| 2 * key.path.len() + size_of::<CodeObject>() + 64).sum();
        let tables = self.paths.capacity() * 17
            + self.objects.capacity() * (size_of::<(ObjectKey, Weak<CodeObject>)>() + 1);
        paths + objects + tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that equal things are one thing, and that tables do not grow with what is gone.
    #[test]
    fn interning_shares_and_forgets() {
        let mut interned = Interned::default();
        let path = interned.path(b"/bin/true");
        assert!(Arc::ptr_eq(&path, &interned.path(b"/bin/true")));
        let object = interned.object(ObjectKind::File, None, &path);
        let again = interned.object(ObjectKind::File, None, &path);
        assert_eq!(object.serial(), again.serial());
        let other = interned.object(ObjectKind::Anonymous, None, &path);
        assert_ne!(object.serial(), other.serial());

        for n in 0..100_000 {
            let path = interned.path(format!("/tmp/{n}").as_bytes());
            interned.object(ObjectKind::File, None, &path);
        }
        // An object's key holds its path, so a path goes one sweep after its object.
        assert!(interned.paths.len() < 8 * MIN_SWEEP, "{}", interned.paths.len());
        assert!(interned.objects.len() <= 2 * MIN_SWEEP, "{}", interned.objects.len());
        assert!(Arc::ptr_eq(&path, &interned.path(b"/bin/true")));
    }
    /// Check that endless long names cost a bounded amount, and that names come back when there is
    /// room again.
    #[test]
    fn endless_paths_are_bounded() {
        let mut interned = Interned::default();
        let long = |n: usize| format!("/{n}/{}", "x".repeat(4000)).into_bytes();
        let kept: Vec<_> = (0..10_000).map(|n| interned.path(&long(n))).collect();
        assert!(interned.approx_bytes() < MAX_PATH_BYTES + (1 << 20));
        assert_eq!(&kept[0][..], long(0));
        assert_eq!(&kept[9_999][..], TOO_LONG);
        assert_eq!(&interned.path(b"[vdso]")[..], b"[vdso]");
        drop(kept);
        let again = (0..=MIN_SWEEP).map(|n| interned.path(&long(20_000 + n))).last().unwrap();
        assert_eq!(&again[..], long(20_000 + MIN_SWEEP));
    }
}
