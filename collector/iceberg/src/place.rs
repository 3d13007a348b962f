//! Where the store is, for us and for the engines that read the tables.

use std::path::{Path, PathBuf};

use fleetprof_store::{Blobs, Catalog, ProfileStore};

use crate::error::PublishError;

/// How engines call the root of the store: a URL, or the path of a directory. Names of files are put
/// behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(String);

/// A store, opened.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its files.
    pub blobs: Blobs,
    /// Its catalog.
    pub catalog: Catalog,
    /// What engines call it.
    pub root: Root,
}

// === impl Root ===

impl Root {
    /// Of a URL (`s3://profiles/fleet`) or an absolute path.
    pub fn new(url: &str) -> Self {
        Self(url.trim_end_matches('/').to_owned())
    }

    /// What engines call a file or folder below the root.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }

    /// The inverse of [`Self::url`]; `None` for what is elsewhere.
    pub(crate) fn path<'a>(&self, url: &'a str) -> Option<&'a str> {
        url.strip_prefix(self.0.as_str())?.strip_prefix('/')
    }
}

// === impl Place ===

impl Place {
    /// The store of a collector that keeps everything in a directory.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub async fn directory(data_dir: &Path) -> Result<Self, PublishError> {
        for missing in ["catalog.sqlite", "profiles"] {
            let path = data_dir.join(missing);
            let exists = path
                .try_exists()
                .map_err(|source| PublishError::Io { path: path.display().to_string(), source })?;
            if !exists {
                let dir = data_dir.display().to_string();
                return Err(PublishError::NoDataDir { dir, missing });
            }
        }
        let profiles = data_dir.join("profiles");
        let absolute: PathBuf = profiles
            .canonicalize()
            .map_err(|source| PublishError::Io { path: profiles.display().to_string(), source })?;
        let blobs = Blobs::directory(&absolute)?;
        let catalog = format!("sqlite:{}", data_dir.join("catalog.sqlite").display());
        Self::open(blobs, &catalog, Root::new(&absolute.display().to_string())).await
    }

    /// The store that collectors share.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub async fn shared(store: &str, catalog: &str) -> Result<Self, PublishError> {
        Self::open(Blobs::url(store)?, catalog, Root::new(store)).await
    }

    async fn open(blobs: Blobs, catalog: &str, root: Root) -> Result<Self, PublishError> {
        let catalog = Catalog::open(catalog).await?;
        // Only to see that the two belong together.
        ProfileStore::existing(blobs.clone(), catalog.clone()).await?;
        Ok(Self { blobs, catalog, root })
    }
}
