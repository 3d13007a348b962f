//! The objects of this host, for uploads: each with the separate files that go with it.

use std::fs::File;

use fleetprof_proto::{
    ids::{BuildIdKind, ObjectId, ObjectKind},
    v1::{ObjectFormat, SymbolLevel},
};
use fleetprof_symbolizer::identity::identify;

use crate::{
    object::{Companions, UploadError, UploadSource},
    pipeline::Sources,
    stream::{ObjectSource, OpenObjectError, Upload},
};

// === impl ObjectSource ===

impl ObjectSource for Sources {
    fn open(&self, id: &ObjectId) -> Result<Upload, OpenObjectError> {
        let source = self.open_object(id).map_err(|error| match error {
            UploadError::Unknown(_) | UploadError::Gone(_) => OpenObjectError::NotFound,
            UploadError::Stalled(stalled) => {
                let source = std::io::Error::new(std::io::ErrorKind::TimedOut, stalled);
                OpenObjectError::Open { path: id.to_string(), source }
            }
            UploadError::Io { error, .. } => {
                OpenObjectError::Open { path: id.to_string(), source: error }
            }
        })?;
        let companions = self.companions(id, &source);
        Ok(Upload { companions, ..to_upload(id.clone(), source) })
    }

    fn level(&self, id: &ObjectId) -> Option<SymbolLevel> {
        if id.kind != ObjectKind::File {
            return None;
        }
        let source = self.registry.open_for_upload(id).ok()?;
        let binary = source.as_file()?;
        let debug = self.registry.open_debug_file(id, binary).filter(|_| has_build_id(id));
        level_of(binary).max(debug.as_ref().and_then(level_of))
    }
}

impl Sources {
    /// The separate files of an object that has some on this host and can be told by its build ID. The
    /// debug file comes last: what it needs is there by then.
    fn companions(&self, id: &ObjectId, source: &UploadSource) -> Vec<Upload> {
        let Some(binary) = source.as_file().filter(|_| has_build_id(id)) else { return Vec::new() };
        let Companions { debug, shared, packages } = self.registry.find_companions(id, binary);
        let upload = |id: ObjectId, format, file: File| {
            let size = file.metadata().ok()?.len();
            let source = UploadSource::file(file, size, source.path().to_owned());
            let mut upload = to_upload(id, source);
            upload.format = format;
            if format == ObjectFormat::ElfSplit {
                // It has no symbols of its own.
                upload.level = None;
            }
            Some(upload)
        };
        let shared = shared.into_iter().filter_map(|(build_id, file)| {
            let id = ObjectId { kind: ObjectKind::File, build_id };
            upload(id, ObjectFormat::ElfDebug, file)
        });
        let packages = packages
            .into_iter()
            .filter_map(|file| upload(id.clone(), ObjectFormat::ElfSplit, file));
        let debug = debug.and_then(|found| upload(id.clone(), ObjectFormat::ElfDebug, found.file));
        shared.chain(packages).chain(debug).collect()
    }

    /// Opens an object wherever it is.
    ///
    /// # Errors
    /// When it is not, or no longer, to be had on this host.
    pub fn open_object(&self, id: &ObjectId) -> Result<UploadSource, UploadError> {
        match id.kind {
            ObjectKind::Kernel | ObjectKind::KernelModule => self.kernel.open_for_upload(id),
            _ => self.registry.open_for_upload(id),
        }
    }
}

fn to_upload(id: ObjectId, source: UploadSource) -> Upload {
    let level = source.as_file().and_then(level_of);
    let source = source.outlined();
    Upload {
        id,
        format: source.format(),
        size: source.size(),
        path: source.path().to_owned(),
        level,
        reader: Box::new(source),
        companions: Vec::new(),
    }
}

fn has_build_id(id: &ObjectId) -> bool {
    id.build_id.kind() == BuildIdKind::Gnu
}

/// By its section names. Moves the file's position.
fn level_of(file: &File) -> Option<SymbolLevel> {
    Some(identify(file).ok()?.contents.level().into())
}
