//! `manifest.json`: what an export holds.

use std::{fs, io, path::Path};

use fleetprof_proto::time_range::format_instant;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    catalog::{Blob, FileId, NewFile, ServiceSum},
    level::{DAY, Level},
};

/// The format written here, and the newest that is read.
pub const MANIFEST_FORMAT: u32 = 1;
/// Its name in the directory of an export.
pub const MANIFEST: &str = "manifest.json";
/// The largest that is read, bytes.
const MAX_BYTES: u64 = 1 << 30;
/// The earliest and the latest hour: one may count some days further.
const FIRST: i64 = i64::MIN + 8 * DAY;
const LAST: i64 = i64::MAX - 8 * DAY;

/// What an export holds. Times are Unix nanoseconds, ends are exclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this manifest.
    pub format: u32,
    /// The program that wrote it.
    pub created_by: String,
    /// When.
    pub created: i64,
    /// What identifies the store that the files are of.
    pub store: String,
    /// The range that was asked for, in whole hours.
    pub range: (i64, i64),
    /// The level that was asked for: `fine`, `hourly`, `daily`, `best`, `all`.
    pub level: String,
    /// The services that were asked for; all without.
    pub services: Option<Vec<String>>,
    /// The pairs of files.
    pub files: Vec<ManifestFile>,
    /// What should be there and is not, in sentences.
    pub lacks: Vec<String>,
}

/// A pair of files of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Identifies it for good, 16 hexadecimal digits.
    pub id: String,
    /// `fine`, `hourly` or `daily`.
    pub level: String,
    /// Start of its hour or day.
    pub bucket: i64,
    /// The same, for people.
    pub time: String,
    /// The only service in it, if it holds one by design.
    pub service: Option<String>,
    /// Its samples are in the next level, too.
    pub rolled: bool,
    /// Rows of samples.
    pub rows: u64,
    /// Batches whose samples are in it.
    pub batches: u64,
    /// When it has data.
    pub spans: Vec<(i64, i64)>,
    /// The services in it.
    pub services: Vec<ManifestService>,
    /// The file with its samples.
    pub samples: ManifestBlob,
    /// The file with its stacks.
    pub stacks: ManifestBlob,
}

/// Samples of one service in a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestService {
    /// Which.
    pub service: String,
    /// How many.
    pub samples: u64,
    /// CPU time, nanoseconds.
    pub nanos: u64,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestBlob {
    /// In the directory of the export.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// CRC-32C of its bytes.
    pub crc32c: u32,
}

/// A manifest that cannot be used.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// There is none: no export, or one that was broken off.
    #[error("{dir} is no export: it has no {MANIFEST}, which is written last; export again")]
    Absent {
        /// Where.
        dir: String,
    },
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A later fleetprof wrote it.
    #[error("{path} has format {found}, this fleetprof reads up to {MANIFEST_FORMAT}: upgrade it")]
    Newer {
        /// Which.
        path: String,
        /// Its format.
        found: u32,
    },
    /// It is not what was written.
    #[error("{path} is damaged: {why}; export again, or restore it from a copy")]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// The only field that all formats have.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

// === impl Manifest ===

impl Manifest {
    /// That of an export.
    ///
    /// # Errors
    /// When there is none, or it is damaged or too new.
    pub fn read(dir: &Path) -> Result<Self, ManifestError> {
        let file = dir.join(MANIFEST);
        let path = file.display().to_string();
        let bytes = fs::metadata(&file).and_then(|meta| {
            if meta.len() > MAX_BYTES {
                return Err(io::Error::other("it is larger than any manifest"));
            }
            fs::read(&file)
        });
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ManifestError::Absent { dir: dir.display().to_string() });
            }
            Err(source) => return Err(ManifestError::Io { path, source }),
        };
        let damaged = |error: serde_json::Error| {
            let why = error.to_string();
            ManifestError::Damaged { path: path.clone(), why }
        };
        let header: Header = serde_json::from_slice(&bytes).map_err(damaged)?;
        if header.format > MANIFEST_FORMAT {
            return Err(ManifestError::Newer { path: path.clone(), found: header.format });
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }
}

// === impl ManifestFile ===

impl ManifestFile {
    pub(super) fn new(file: &NewFile, rolled: bool) -> Self {
        let blob = |blob: &Blob| ManifestBlob {
            path: blob.path.clone(),
            bytes: blob.bytes,
            crc32c: blob.crc32c,
        };
        let services = file.services.iter().map(|sum| ManifestService {
            service: sum.service.clone(),
            samples: sum.samples,
            nanos: sum.nanos,
        });
        Self {
            id: file.id.to_string(),
            level: file.level.as_str().to_owned(),
            bucket: file.bucket,
            time: format_instant(file.bucket),
            service: file.service.clone(),
            rolled,
            rows: file.rows,
            batches: file.batches,
            spans: file.spans.clone(),
            services: services.collect(),
            samples: blob(&file.samples),
            stacks: blob(&file.stacks),
        }
    }

    /// As a catalog is told of it; paths are those in the export.
    ///
    /// # Errors
    /// What in it cannot be.
    pub(crate) fn file(&self) -> Result<NewFile, String> {
        let number = i64::from_str_radix(&self.id, 16).ok().and_then(FileId::from_number);
        let id = number.filter(|id| id.to_string() == self.id);
        let id = id.ok_or_else(|| format!("{:?} is no id of a file", self.id))?;
        let level = Level::from_name(&self.level);
        let level = level.ok_or_else(|| format!("file {id} has no level: {:?}", self.level))?;
        if !(FIRST..=LAST).contains(&self.bucket) {
            return Err(format!("file {id} is of no year that there is"));
        }
        if self.bucket.rem_euclid(level.span()) != 0 {
            return Err(format!("file {id} begins in the middle of its hour or day"));
        }
        // Only these names are read: a path might lead anywhere.
        let blob = |blob: &ManifestBlob, kind: &str| {
            let path = format!("{}/{id}.{kind}.parquet", level.as_str());
            if blob.path != path {
                return Err(format!("file {id} should be {path}, not {:?}", blob.path));
            }
            Ok(Blob { path, bytes: blob.bytes, crc32c: blob.crc32c })
        };
        let sum = |sum: &ManifestService| ServiceSum {
            service: sum.service.clone(),
            samples: sum.samples,
            nanos: sum.nanos,
        };
        Ok(NewFile {
            id,
            level,
            bucket: self.bucket,
            service: self.service.clone(),
            samples: blob(&self.samples, "samples")?,
            stacks: blob(&self.stacks, "stacks")?,
            rows: self.rows,
            batches: self.batches,
            spans: self.spans.clone(),
            services: self.services.iter().map(sum).collect(),
        })
    }
}
