//! Files in an object store: written once, whole and durable, checked by size and checksum when they are
//! read, and removed.

mod cache;
mod large;

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    local::LocalFileSystem, path::Path as BlobPath, prefix::PrefixStore,
};
use thiserror::Error;

use crate::catalog::Blob;
use cache::Cache;

/// Where files are. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// For messages.
    name: Arc<str>,
    /// Of what is far away.
    cache: Option<Cache>,
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Below the root of the store.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, Unix nanoseconds.
    pub written: i64,
}

/// The object store failed, or a file in it is not what it was.
#[derive(Debug, Error)]
pub enum BlobError {
    /// No object store can be made of a URL.
    #[error("cannot use {url:?} as an object store: {source}")]
    Url {
        /// As given.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An operation failed; it may succeed later.
    #[error("cannot {action} {path} in {store}: {source}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Where.
        store: Arc<str>,
        /// What the store says.
        source: Box<object_store::Error>,
    },
    /// The file system is full.
    #[error("no space left in {store}: free some, or move --data-dir to a larger file system")]
    Full {
        /// Where.
        store: Arc<str>,
    },
    /// A local file that goes there or comes from there cannot be read or written.
    #[error("cannot use {path} on the way to or from the store: {source}", path = .path.display())]
    Local {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is gone, or is another than was written.
    #[error("{path} in {store} {what}")]
    Damaged {
        /// Which.
        path: String,
        /// Where.
        store: Arc<str>,
        /// In which way.
        damage: Damage,
        /// What is wrong.
        what: String,
    },
}

/// Whether these are the bytes that were written.
fn matches(blob: &Blob, bytes: &[u8]) -> bool {
    bytes.len() as u64 == blob.bytes && crc32c::crc32c(bytes) == blob.crc32c
}

/// In which way a file is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is gone.
    Gone,
    /// It has another size.
    Size,
    /// It has other bytes.
    Checksum,
}

/// Whether the cause of a failure is a lack of space.
fn is_full(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}

// === impl Blobs ===

impl Blobs {
    /// Files below a directory, which exists.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn directory(dir: &Path) -> Result<Self, BlobError> {
        let name = dir.display().to_string();
        let store = LocalFileSystem::new_with_prefix(dir)
            .map_err(|source| BlobError::Url { url: name.clone(), source: source.into() })?;
        Ok(Self { store: Arc::new(store.with_fsync(true)), name: name.into(), cache: None })
    }

    /// Files at a URL: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`. Credentials and endpoint are taken from
    /// the usual variables of the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, …).
    ///
    /// # Errors
    /// When it is none, or its configuration is not complete.
    pub fn url(url: &str) -> Result<Self, BlobError> {
        let error = |source: Box<dyn std::error::Error + Send + Sync>| BlobError::Url {
            url: url.to_owned(),
            source,
        };
        // Another part of the process may have chosen the same already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let parsed = url.parse().map_err(|parse| error(Box::new(parse)))?;
        // Without their prefix many names would be understood, too: REGION, TOKEN.
        let options =
            std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value)).filter(
                |(name, _)| ["aws_", "azure_", "google_"].iter().any(|it| name.starts_with(it)),
            );
        let (store, prefix) = object_store::parse_url_opts(&parsed, options)
            .map_err(|source| error(Box::new(source)))?;
        Ok(Self { store: Arc::new(PrefixStore::new(store, prefix)), name: url.into(), cache: None })
    }

    /// Files in a store that somebody else made.
    pub fn of(store: Arc<dyn ObjectStore>, name: &str) -> Self {
        Self { store, name: name.into(), cache: None }
    }

    /// Writes a file; when this returns `Ok`, it is durable. Files are never written over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<Blob, BlobError> {
        let blob = Blob {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            crc32c: crc32c::crc32c(&bytes),
        };
        let options = PutOptions { mode: PutMode::Overwrite, ..PutOptions::default() };
        let location = BlobPath::from(path);
        let put = self.store.put_opts(&location, PutPayload::from(bytes), options).await;
        put.map_err(|source| self.error("write", path, source))?;
        Ok(blob)
    }

    /// Writes a file and removes it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn try_write(&self) -> Result<(), BlobError> {
        let path = format!("probe/{:016x}", fastrand::u64(..));
        // As much as a small batch: a full disk may have room for a few bytes.
        self.put(&path, vec![0; 256 << 10].into()).await?;
        self.delete(vec![path]).await
    }

    /// Keeps copies of the files that are read in a directory, at most so many bytes.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn with_cache(self, dir: &Path, max_bytes: u64) -> io::Result<Self> {
        Ok(Self { cache: Some(Cache::open(dir, max_bytes)?), ..self })
    }

    /// A whole file, compared with what was written.
    ///
    /// # Errors
    /// When the store fails, or the file is damaged.
    pub async fn get(&self, blob: &Blob) -> Result<Bytes, BlobError> {
        if let Some(cache) = &self.cache {
            let (cache, blob) = (cache.clone(), blob.clone());
            // A task that panicked has no copy.
            let copy = tokio::task::spawn_blocking(move || cache.get(&blob)).await;
            if let Ok(Some(bytes)) = copy {
                return Ok(bytes);
            }
        }
        let bytes = self.fetch(blob).await?;
        if let Some(cache) = &self.cache {
            let (cache, blob, copy) = (cache.clone(), blob.clone(), bytes.clone());
            tokio::task::spawn_blocking(move || cache.put(&blob, &copy));
        }
        Ok(bytes)
    }

    async fn fetch(&self, blob: &Blob) -> Result<Bytes, BlobError> {
        let path = &blob.path;
        let Some(bytes) = self.small(path).await? else {
            return Err(self.damaged(path, Damage::Gone, "is gone".to_owned()));
        };
        if bytes.len() as u64 != blob.bytes {
            let what = format!("has {} bytes, {} were written", bytes.len(), blob.bytes);
            return Err(self.damaged(path, Damage::Size, what));
        }
        if !matches(blob, &bytes) {
            let (crc, was) = (crc32c::crc32c(&bytes), blob.crc32c);
            let what = format!("is damaged: its CRC-32C is {crc:08x}, was {was:08x}");
            return Err(self.damaged(path, Damage::Checksum, what));
        }
        Ok(bytes)
    }

    /// Parts of a file, not compared with what was written.
    ///
    /// # Errors
    /// When the store fails, or the file has another size than was written.
    pub async fn ranges(
        &self,
        blob: &Blob,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, BlobError> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let path = &blob.path;
        let location = BlobPath::from(path.as_str());
        let source = match self.store.get_ranges(&location, ranges).await {
            Ok(parts) => {
                let lengths = parts.iter().map(|part| part.len() as u64);
                if lengths.eq(ranges.iter().map(|range| range.end - range.start)) {
                    return Ok(parts);
                }
                return Err(self.damaged(
                    path,
                    Damage::Size,
                    "has fewer bytes than were written".to_owned(),
                ));
            }
            Err(object_store::Error::NotFound { .. }) => {
                return Err(self.damaged(path, Damage::Gone, "is gone".to_owned()));
            }
            Err(source) => source,
        };
        // Stores have their own words for a part that is not there.
        match self.store.head(&location).await {
            Ok(meta) if meta.size != blob.bytes => {
                let what = format!("has {} bytes, {} were written", meta.size, blob.bytes);
                Err(self.damaged(path, Damage::Size, what))
            }
            _ => Err(self.error("read", path, source)),
        }
    }

    /// Where files are, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes a small file unless it is there, and says whether it did: of several who do so at once, one
    /// does.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<bool, BlobError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let location = BlobPath::from(path);
        match self.store.put_opts(&location, PutPayload::from(bytes), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(self.error("write", path, source)),
        }
    }

    /// A file of which nothing is known; `None` when it is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn small(&self, path: &str) -> Result<Option<Bytes>, BlobError> {
        let got = match self.store.get(&BlobPath::from(path)).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.error("read", path, source)),
        }
    }

    /// Removes files; one that is not there is no error.
    ///
    /// # Errors
    /// When the store fails; some may be gone then.
    pub async fn delete(&self, paths: Vec<String>) -> Result<(), BlobError> {
        if let Some(cache) = &self.cache {
            let (cache, paths) = (cache.clone(), paths.clone());
            let forget = move || paths.iter().for_each(|path| cache.forget(path));
            tokio::task::spawn_blocking(forget);
        }
        let locations = paths.into_iter().map(|path| Ok(BlobPath::from(path)));
        let stream = futures_util::stream::iter(locations).boxed();
        let mut deleted = self.store.delete_stream(stream);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(self.error("remove", "files", source)),
            }
        }
        Ok(())
    }

    /// The size of a file; `None` when it is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn size(&self, path: &str) -> Result<Option<u64>, BlobError> {
        match self.store.head(&BlobPath::from(path)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.error("look for", path, source)),
        }
    }

    /// All files below a path, one after the other: without memory for all of them.
    pub(crate) fn listing(&self, below: &str) -> BoxStream<'static, Result<Listed, BlobError>> {
        let (blobs, below) = (self.clone(), below.to_owned());
        let listed = self.store.list(Some(&BlobPath::from(below.as_str())));
        listed
            .map(move |meta| match meta {
                Ok(meta) => Ok(Listed::of(&meta)),
                Err(source) => Err(blobs.error("list", &below, source)),
            })
            .boxed()
    }

    /// All files below a path.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, below: &str) -> Result<Vec<Listed>, BlobError> {
        self.listing(below).try_collect().await
    }

    fn error(&self, action: &'static str, path: &str, source: object_store::Error) -> BlobError {
        if is_full(&source) {
            return BlobError::Full { store: self.name.clone() };
        }
        let source = Box::new(source);
        BlobError::Store { action, path: path.to_owned(), store: self.name.clone(), source }
    }

    fn damaged(&self, path: &str, damage: Damage, what: String) -> BlobError {
        BlobError::Damaged { path: path.to_owned(), store: self.name.clone(), damage, what }
    }
}

// === impl Listed ===

impl Listed {
    fn of(meta: &ObjectMeta) -> Self {
        Self {
            path: meta.location.to_string(),
            bytes: meta.size,
            written: meta.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests;
