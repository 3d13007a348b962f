//! Uploads the objects (binaries, kernel symbols) that the collector asks for, one after the other.
//!
//! In: ids from the collector, bytes from an [`ObjectSource`]. Out: `ObjectService.Upload` calls. A
//! failure is logged and forgotten: the collector asks again for what it still needs. Uploads have
//! their own connection, their own rate and a few hundred kilobytes of memory, so that one huge
//! binary delays no batch.

use std::{
    io::{self, Read, Seek},
    sync::Arc,
    time::Duration,
};

use fleetprof_proto::{
    ids::ObjectId,
    v1::{self, object_service_client::ObjectServiceClient},
};
use thiserror::Error;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tracing::{debug, info, warn};

use super::{
    Phase,
    backoff::Backoff,
    client::Fault,
    quiet::Quiet,
    shared::{Shared, add, now},
};

mod transfer;
mod wanted;

pub use wanted::QUEUE_OBJECTS;
pub(super) use wanted::Uploads;

/// Objects above this size wait until all smaller ones are uploaded, bytes: the first names appear
/// within seconds, whatever else runs on the host.
const LARGE_BYTES: u64 = 4 << 20;
/// How often the same failure is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Most companions of an object that are uploaded: a debug file, what it shares, split units.
const MAX_COMPANIONS: usize = 8;

/// Bytes that are read once, and from the start again if need be.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// Where objects come from.
pub trait ObjectSource: Send + Sync + 'static {
    /// Opens an object for reading. May block; it is called on a thread that may.
    ///
    /// # Errors
    /// When the object is not, or no longer, to be had on this host.
    fn open(&self, id: &ObjectId) -> Result<Upload, OpenObjectError>;

    /// How much the files of an object say, those that go with it included. May block, and is bounded:
    /// it is called again and again, files come later.
    fn level(&self, id: &ObjectId) -> Option<v1::SymbolLevel>;
}

/// An object, opened.
pub struct Upload {
    /// What it is kept as; of a companion perhaps another one's.
    pub id: ObjectId,
    /// What the bytes are.
    pub format: v1::ObjectFormat,
    /// How many there are. An upload that turns out shorter or longer is given up.
    pub size: u64,
    /// The path on the host, for people.
    pub path: String,
    /// How much it says, where that is known: the collector takes it in place of one that says less.
    pub level: Option<v1::SymbolLevel>,
    /// The bytes; read on a thread that may block.
    pub reader: Box<dyn ReadSeek>,
    /// What goes with it: separate files with its debug information.
    pub companions: Vec<Self>,
}

/// An object is not to be had.
#[derive(Debug, Error)]
pub enum OpenObjectError {
    /// Nothing on this host has this id now.
    #[error("no process on this host has it mapped any more")]
    NotFound,
    /// Its file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file at its path is another one by now.
    #[error("{path} has been replaced by another file")]
    Replaced {
        /// The file.
        path: String,
    },
}

/// Bounds of uploading.
#[derive(Clone, Debug)]
pub(super) struct UploadConfig {
    pub(super) endpoint: Endpoint,
    pub(super) url: String,
    /// Bytes per second; 0 = nothing is uploaded.
    pub(super) rate_bytes: u64,
    /// Larger objects are refused.
    pub(super) max_bytes: u64,
    /// Longest silence.
    pub(super) stall: Duration,
    /// Spans of the first and of the longest wait after the collector has refused or failed.
    pub(super) backoff: (Duration, Duration),
}

/// Why an upload did not succeed.
#[derive(Debug, Error)]
enum UploadError {
    #[error(transparent)]
    Open(#[from] OpenObjectError),
    #[error("it has {size} bytes, more than the limit of {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("reading it failed: {0}")]
    Read(#[from] io::Error),
    #[error("it has another size than the {0} bytes it had when it was opened")]
    Size(u64),
    #[error("nothing moved for {0:?}")]
    Stalled(Duration),
    /// It will not take this one, whoever sends it.
    #[error("{0}")]
    Unacceptable(String),
    /// It takes none now: it is away, or has no room.
    #[error("{0}")]
    Collector(String),
}

// === impl Upload ===

impl Upload {
    fn is_large(&self) -> bool {
        let sizes = self.companions.iter().map(|companion| companion.size);
        sizes.fold(self.size, u64::saturating_add) > LARGE_BYTES
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, format, size, path, level, reader: _, companions } = self;
        f.debug_struct("Upload")
            .field("id", id)
            .field("level", level)
            .field("format", format)
            .field("size", size)
            .field("path", path)
            .field("companions", companions)
            .finish_non_exhaustive()
    }
}

// === impl UploadError ===

impl UploadError {
    /// For the log: one line per kind and minute.
    fn kind(&self) -> std::mem::Discriminant<Self> {
        std::mem::discriminant(self)
    }

    /// The next one would fare no better now.
    fn is_of_collector(&self) -> bool {
        matches!(self, Self::Collector(_) | Self::Stalled(_))
    }

    /// Not to be had here, as opposed to failed.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Open(_) | Self::TooLarge { .. })
    }
}

/// Uploads until the phase is no longer [`Phase::Run`].
pub(super) async fn run(
    config: UploadConfig,
    uploads: Arc<Uploads>,
    shared: Arc<Shared>,
    source: Arc<dyn ObjectSource>,
    mut phase: watch::Receiver<Phase>,
) {
    if config.rate_bytes == 0 {
        uploads.refuse();
        return;
    }
    let (first, longest) = config.backoff;
    let mut uploader = Uploader {
        backoff: Backoff::new(first, longest),
        pause: None,
        rate: transfer::Rate::new(config.rate_bytes),
        config,
        source,
        shared,
        channel: None,
        failures: Quiet::new(LOG_INTERVAL),
    };
    loop {
        let Some((id, may_be_large)) = uploads.next() else {
            // The connection is not needed until the next request.
            uploader.channel = None;
            tokio::select! {
                () = uploads.wanted() => continue,
                _ = phase.changed() => return,
            }
        };
        let outcome = tokio::select! {
            outcome = uploader.upload(&id, may_be_large) => outcome,
            _ = phase.changed() => return,
        };
        match outcome {
            Outcome::Ended => uploads.done(&id),
            Outcome::Large => uploads.defer(id),
        }
        if let Some(pause) = uploader.pause.take() {
            tokio::select! {
                () = sleep(pause) => {}
                _ = phase.changed() => return,
            }
        }
    }
}

/// What became of an object's turn.
enum Outcome {
    /// It is uploaded or given up.
    Ended,
    /// Smaller ones go first.
    Large,
}

struct Uploader {
    config: UploadConfig,
    source: Arc<dyn ObjectSource>,
    shared: Arc<Shared>,
    channel: Option<Channel>,
    rate: transfer::Rate,
    backoff: Backoff,
    /// Before anything else is tried.
    pause: Option<Duration>,
    failures: Quiet<std::mem::Discriminant<UploadError>>,
}

// === impl Uploader ===

impl Uploader {
    async fn upload(&mut self, id: &ObjectId, may_be_large: bool) -> Outcome {
        let mut upload = match self.open(id).await {
            Ok(upload) if upload.is_large() && !may_be_large => return Outcome::Large,
            Ok(upload) => upload,
            Err(error) => {
                self.failed(id, &error);
                return Outcome::Ended;
            }
        };
        let companions = std::mem::take(&mut upload.companions);
        if self.send_all(upload).await {
            for companion in companions.into_iter().take(MAX_COMPANIONS) {
                // One that is not taken says nothing of the others, but for a collector in trouble.
                self.send_all(companion).await;
                if self.pause.is_some() {
                    break;
                }
            }
        }
        Outcome::Ended
    }

    /// Answers whether the collector has it now.
    async fn send_all(&mut self, upload: Upload) -> bool {
        let id = &upload.id.clone();
        let started = Instant::now();
        let (size, limit, path) = (upload.size, self.config.max_bytes, upload.path.clone());
        let sent = if size > limit {
            Err(UploadError::TooLarge { size, limit })
        } else {
            self.send(upload).await
        };
        let counters = &self.shared.counters;
        match sent {
            Ok(Some(sent)) => {
                add(&counters.uploads_done, 1);
                let (took, left_out) = (started.elapsed(), size.saturating_sub(sent));
                info!(object = %id, path, size, left_out, ?took, "object uploaded");
            }
            Ok(None) => {
                add(&counters.uploads_duplicate, 1);
                debug!(object = %id, "collector had the object already");
            }
            Err(error) => {
                self.failed(id, &error);
                return false;
            }
        }
        self.backoff.reset();
        true
    }

    fn failed(&mut self, id: &ObjectId, error: &UploadError) {
        let counters = &self.shared.counters;
        let refused = error.is_refusal();
        add(if refused { &counters.uploads_refused } else { &counters.uploads_failed }, 1);
        if !refused {
            // Whatever went wrong, the next upload starts on a fresh connection.
            self.channel = None;
        }
        if error.is_of_collector() {
            self.pause = Some(self.backoff.next());
        }
        if let Some(left_out) = self.failures.admit(error.kind(), now()) {
            warn!(
                object = %id, url = %self.config.url, %error, failures_not_logged = left_out,
                "object was not uploaded; the collector asks again if it still needs it"
            );
        }
    }

    async fn open(&self, id: &ObjectId) -> Result<Upload, UploadError> {
        let (source, wanted) = (Arc::clone(&self.source), id.clone());
        let open = spawn_blocking(move || source.open(&wanted));
        let open = timeout(self.config.stall, open);
        let joined = open.await.map_err(|_| UploadError::Stalled(self.config.stall))?;
        Ok(joined.map_err(io::Error::other)??)
    }

    async fn send(&mut self, upload: Upload) -> Result<Option<u64>, UploadError> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => {
                let connect = self.config.endpoint.connect();
                let channel = connect.await.map_err(|error| collector(&Fault::from(error)))?;
                self.channel.insert(channel).clone()
            }
        };
        let client = ObjectServiceClient::new(channel);
        let sent_bytes = &self.shared.counters.upload_bytes;
        let way = transfer::Transfer { rate: &mut self.rate, stall: self.config.stall, sent_bytes };
        transfer::transfer(client, upload, way).await
    }
}

fn collector(fault: &Fault) -> UploadError {
    UploadError::Collector(format!("{}: {}", fault.cause.sentence(), fault.detail))
}

/// What a call says that was answered with an error.
fn refused(status: Status) -> UploadError {
    match status.code() {
        // What it says of this very object, or that another host has gone on with it.
        Code::InvalidArgument | Code::FailedPrecondition => {
            UploadError::Unacceptable(status.message().to_owned())
        }
        _ => collector(&Fault::from(status)),
    }
}

#[cfg(test)]
mod tests;
