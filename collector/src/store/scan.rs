//! Reads the records of a range from their files, one at a time.

use std::{fs::File, io, path::Path, sync::Arc, vec};

use bytes::Bytes;
use fleetprof_proto::v1::SealedBatch;

use super::{
    Scanned,
    disk::read_at,
    index::{SelectedFile, Selection, Shared},
    recover::RecordRef,
    segment::{PREFIX_BYTES, Prefix, SegmentId},
};

/// An iterator over what is known to be missing, then sealed batches. Holds one open file and one
/// record at a time.
pub(super) struct Scan {
    shared: Arc<Shared>,
    damaged: vec::IntoIter<String>,
    files: vec::IntoIter<SelectedFile>,
    current: Option<Current>,
}

struct Current {
    id: SegmentId,
    path: Arc<Path>,
    file: Option<File>,
    records: vec::IntoIter<RecordRef>,
}

/// Why a record cannot be had.
enum ReadError {
    /// It is gone for good.
    Damaged(&'static str),
    /// The system refused; it may answer the next time.
    Io(io::Error),
}

// === impl Scan ===

impl Scan {
    pub(super) fn new(shared: Arc<Shared>, selection: Selection) -> Self {
        let Selection { damaged, files } = selection;
        Self { shared, damaged: damaged.into_iter(), files: files.into_iter(), current: None }
    }
}

impl Iterator for Scan {
    type Item = Scanned;

    fn next(&mut self) -> Option<Scanned> {
        if let Some(sentence) = self.damaged.next() {
            return Some(Err(sentence));
        }
        loop {
            if let Some(current) = &mut self.current
                && let Some(record) = current.records.next()
            {
                return Some(current.read(&record).map_err(|error| match error {
                    ReadError::Damaged(what) => {
                        self.shared.lose(current.id, &current.path, &record, what)
                    }
                    ReadError::Io(error) => current.describe(&record, &error),
                }));
            }
            let SelectedFile { id, path, records } = self.files.next()?;
            self.current = Some(Current { id, path, file: None, records: records.into_iter() });
        }
    }
}

// === impl Current ===

impl Current {
    /// A batch whose checksums match.
    fn read(&mut self, record: &RecordRef) -> Result<SealedBatch, ReadError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path)?,
        };
        let bytes = read_at(&file, record.offset, record.len())?;
        self.file = Some(file);
        let meta_end = PREFIX_BYTES + record.meta_len as usize;
        let meta = Prefix::read(&bytes)
            .filter(|prefix| prefix.record_len() == bytes.len() as u64)
            .and_then(|prefix| prefix.meta(self.id.salt, bytes.get(PREFIX_BYTES..meta_end)?))
            .ok_or(ReadError::Damaged("the record's checksum does not match"))?;
        let payload = Bytes::from(bytes).slice(meta_end..);
        if crc32c::crc32c(&payload) != meta.payload_crc {
            return Err(ReadError::Damaged("the payload's checksum does not match"));
        }
        Ok(meta.sealed(payload))
    }

    fn describe(&self, record: &RecordRef, error: &io::Error) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}, {} bytes at {}: cannot be read: {error}", record.len(), record.offset)
    }
}

// === impl ReadError ===

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("the file ends within the record"),
            _ => Self::Io(error),
        }
    }
}
