//! `ObjectService`: receives binaries and kernel symbols.

use std::{io, path::PathBuf, sync::Arc, time::SystemTime};

use fleetprof_proto::{
    chunk::MAX_CHUNK_BYTES,
    ids::ObjectId,
    v1::{
        self, ListObjectsRequest, ListObjectsResponse, PrepareUploadRequest, PrepareUploadResponse,
        UploadHeader, UploadRequest, UploadResponse, object_service_server::ObjectService,
        upload_request::Message,
    },
};
use fleetprof_symbolizer::identity::SymbolLevel;
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{
    catalog::{Catalog, Format},
    conversions::Conversions,
    debuginfod::Lookups,
    list,
    partials::{Beginning, Key, Partials},
    receive::{Unacceptable, check_format},
    wants::Wants,
};
use crate::{
    config::ObjectsConfig,
    cpu_pool::CpuPool,
    log_limit::LogLimit,
    metrics::{Metrics, ReasonLabel},
};

mod intake;

/// Longest chunk accepted, bytes: what cannot be compressed becomes a little longer.
const MAX_MESSAGE_BYTES: usize = MAX_CHUNK_BYTES + (16 << 10);

/// The service. Cloning shares it.
#[derive(Clone)]
pub struct Objects {
    catalog: Catalog,
    conversions: Conversions,
    wants: Wants,
    lookups: Lookups,
    config: Arc<ObjectsConfig>,
    scratch: Arc<PathBuf>,
    partials: Partials,
    uploads: Arc<Semaphore>,
    /// Writes and checks.
    pool: CpuPool,
    metrics: Metrics,
    log: Arc<LogLimit>,
}

/// A header that is in order.
struct Announced {
    /// `None`: to be found out from the file.
    what: Option<(ObjectId, Format)>,
    size: u64,
    path: String,
    /// How much it says, as far as the sender knows.
    level: Option<SymbolLevel>,
    /// What is not sent again.
    kept: Option<Beginning>,
}

/// What became of an upload.
struct Kept {
    id: ObjectId,
    format: Format,
    new: bool,
}

// === impl Objects ===

impl Objects {
    /// The service over a catalog; temporary files are made in `scratch`, where an earlier run may have
    /// left some.
    ///
    /// # Errors
    /// When that directory cannot be used.
    pub fn new(
        catalog: Catalog,
        conversions: Conversions,
        wants: Wants,
        config: ObjectsConfig,
        scratch: PathBuf,
        pool: CpuPool,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let uploads = Arc::new(Semaphore::new(config.max_uploads));
        let partials = Partials::open(&scratch, &catalog, config.partials)?;
        let (config, scratch) = (Arc::new(config), Arc::new(scratch));
        let log = Arc::default();
        Ok(Self {
            catalog,
            conversions,
            wants,
            lookups: Lookups::default(),
            config,
            scratch,
            partials,
            uploads,
            pool,
            metrics,
            log,
        })
    }

    /// The same, which also tells what servers are asked for.
    #[must_use]
    pub fn with_lookups(self, lookups: Lookups) -> Self {
        Self { lookups, ..self }
    }

    /// Removes parts of uploads that nobody has gone on with for too long; to be called now and then.
    pub fn sweep(&self) {
        self.partials.sweep(SystemTime::now());
    }

    /// Largest message that is read at all, bytes.
    pub fn max_message_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES + (64 << 10)
    }

    async fn next(
        &self,
        requests: &mut Streaming<UploadRequest>,
    ) -> Result<Option<Message>, Status> {
        let next = timeout(self.config.stall_timeout, requests.message()).await;
        let request = next.map_err(|_| Status::deadline_exceeded("the upload stalled"))??;
        match request {
            None => Ok(None),
            Some(request) => request.message.map(Some).ok_or_else(|| {
                Status::invalid_argument("a request without a message that this version knows")
            }),
        }
    }

    fn check(&self, header: UploadHeader) -> Result<Announced, Status> {
        let what = header.id.as_ref().map(|id| self.check_what(id, &header)).transpose()?;
        let limit = self.config.max_object_bytes;
        if header.size == 0 || header.size > limit {
            let size = header.size;
            let text = format!("object of {size} bytes: expected 1 to {limit} (--max-object)");
            return Err(self.count("too_large", Status::invalid_argument(text)));
        }
        let level = SymbolLevel::of_wire(header.level());
        let kept = match (header.kept, <[u8; 32]>::try_from(header.kept_sha256)) {
            (0, _) => None,
            (bytes, Ok(sha256)) if bytes <= header.size && what.is_some() => {
                Some(Beginning { bytes, sha256 })
            }
            _ => return Err(Status::invalid_argument("what is left out is not described")),
        };
        Ok(Announced { what, size: header.size, path: header.path, level, kept })
    }

    fn check_what(
        &self,
        id: &v1::ObjectId,
        header: &UploadHeader,
    ) -> Result<(ObjectId, Format), Status> {
        let id = ObjectId::try_from(id).map_err(|e| Status::invalid_argument(e.to_string()))?;
        if !self.catalog.can_hold(&id) {
            return Err(Status::invalid_argument(Unacceptable::IdTooLong.to_string()));
        }
        let format = Format::of_wire(header.format())
            .ok_or_else(|| Status::invalid_argument("unknown object format"))?;
        let fits = check_format(id.kind, format);
        fits.map_err(|error| self.refuse(Some(&id), &header.path, &error))?;
        Ok((id, format))
    }

    fn refuse(&self, id: Option<&ObjectId>, path: &str, error: &Unacceptable) -> Status {
        if let Some(silent) = self.log.allow() {
            let path: String = path.chars().take(256).collect();
            let object = id.map(ToString::to_string);
            warn!(object, path, %error, silent, "upload failed");
        }
        let status = match error {
            Unacceptable::Io(io) if is_full(io) => Status::resource_exhausted(error.to_string()),
            Unacceptable::Io(_) => Status::unavailable(error.to_string()),
            _ => Status::invalid_argument(error.to_string()),
        };
        self.count(error.reason(), status)
    }

    fn count(&self, reason: &'static str, status: Status) -> Status {
        self.metrics.objects_failed.get_or_create(&ReasonLabel { reason }).inc();
        status
    }
}

#[tonic::async_trait]
impl ObjectService for Objects {
    async fn prepare(
        &self,
        request: Request<PrepareUploadRequest>,
    ) -> Result<Response<PrepareUploadResponse>, Status> {
        let header = request.into_inner().header;
        let header = header.ok_or_else(|| Status::invalid_argument("a header is missing"))?;
        let announced = self.check(header)?;
        if self.is_needless(&announced).await? {
            let answer = PrepareUploadResponse { duplicate: true, ..Default::default() };
            return Ok(Response::new(answer));
        }
        let Some(key) = announced.key() else {
            return Ok(Response::new(PrepareUploadResponse::default()));
        };
        let partials = self.partials.clone();
        let found = self.pool.run(move || partials.find(key)).await.map_err(internal)?;
        // It is not worth a failure: then all is sent.
        let found = found.ok().flatten();
        let missing = announced.size.saturating_sub(found.map_or(0, |found| found.bytes));
        // An upload reserves its space once more: what is free now may not be then.
        drop(self.reserve(&announced, missing)?);
        self.require_room(&announced, missing).await?;
        let answer = found.map(|Beginning { bytes, sha256 }| PrepareUploadResponse {
            duplicate: false,
            kept: bytes,
            kept_sha256: sha256.to_vec(),
        });
        Ok(Response::new(answer.unwrap_or_default()))
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        // After a new release all hosts upload at the same time. One that waits costs next to nothing;
        // one that is refused is asked again only when its lease is over.
        let turn = timeout(self.config.upload_wait, self.uploads.acquire());
        let Ok(Ok(_permit)) = turn.await else {
            let text = "too many uploads are running; try again later";
            return Err(self.count("busy", Status::resource_exhausted(text)));
        };
        let mut requests = request.into_inner();
        let header = match self.next(&mut requests).await? {
            Some(Message::Header(header)) => header,
            Some(Message::Chunk(_) | Message::Packed(_)) | None => {
                return Err(Status::invalid_argument("the first request must be a header"));
            }
        };
        let announced = self.check(header)?;
        if let Some((id, format)) = &announced.what
            && self.is_needless(&announced).await?
        {
            let kept = Kept { id: id.clone(), format: *format, new: false };
            return Ok(Response::new(kept.answer()));
        }
        let uploading = announced.id().map(|id| self.wants.uploading(id));
        let incoming = self.receive(&mut requests, &announced).await?;
        let kept = self.keep(incoming, &announced).await?;
        drop(uploading);
        if self.catalog.contains(&kept.id) {
            self.wants.stored(&kept.id);
        }
        if kept.new {
            self.conversions.add(&kept.id);
            self.metrics.objects_received.inc();
            info!(object = %kept.id, bytes = announced.size, "object stored");
        }
        Ok(Response::new(kept.answer()))
    }

    async fn list(
        &self,
        request: Request<ListObjectsRequest>,
    ) -> Result<Response<ListObjectsResponse>, Status> {
        let (catalog, wants, lookups) =
            (self.catalog.clone(), self.wants.clone(), self.lookups.clone());
        let request = request.into_inner();
        let list = move || list::list(&catalog, &wants, &lookups, &request);
        Ok(Response::new(self.pool.run(list).await.map_err(internal)?))
    }
}

// === impl Announced ===

impl Announced {
    fn id(&self) -> Option<&ObjectId> {
        self.what.as_ref().map(|(id, _)| id)
    }

    /// Under which it can go on; it cannot without an id.
    fn key(&self) -> Option<Key> {
        self.what.as_ref().map(|(id, format)| Key::new(id, *format, self.size))
    }
}

// === impl Kept ===

impl Kept {
    fn answer(&self) -> UploadResponse {
        UploadResponse {
            duplicate: !self.new,
            id: Some((&self.id).into()),
            format: self.format.to_wire().into(),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn internal(error: crate::cpu_pool::JobPanicked) -> Status {
    Status::internal(error.to_string())
}
