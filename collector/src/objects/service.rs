//! `ObjectService`: receives binaries and kernel symbols.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use fleetprof_proto::{
    ids::ObjectId,
    v1::{
        UploadHeader, UploadRequest, UploadResponse, object_service_server::ObjectService,
        upload_request::Message,
    },
};
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{
    catalog::{Catalog, Format, Reservation},
    conversions::Conversions,
    receive::{Incoming, Unacceptable, check_format},
    wants::Wants,
};
use crate::{
    config::ObjectsConfig,
    cpu_pool::CpuPool,
    log_limit::LogLimit,
    metrics::{Metrics, ReasonLabel},
};

/// Largest chunk accepted, bytes.
const MAX_CHUNK_BYTES: usize = 1 << 20;

/// The service. Cloning shares it.
#[derive(Clone)]
pub struct Objects {
    catalog: Catalog,
    conversions: Conversions,
    wants: Wants,
    config: Arc<ObjectsConfig>,
    scratch: Arc<PathBuf>,
    uploads: Arc<Semaphore>,
    /// Writes and checks.
    pool: CpuPool,
    metrics: Metrics,
    log: Arc<LogLimit>,
}

/// A header that is in order.
struct Announced {
    id: ObjectId,
    format: Format,
    size: u64,
    path: String,
}

// === impl Objects ===

impl Objects {
    /// The service over a catalog; temporary files are made in `scratch`.
    pub fn new(
        catalog: Catalog,
        conversions: Conversions,
        wants: Wants,
        config: ObjectsConfig,
        scratch: PathBuf,
        pool: CpuPool,
        metrics: Metrics,
    ) -> Self {
        let uploads = Arc::new(Semaphore::new(config.max_uploads));
        let (config, scratch) = (Arc::new(config), Arc::new(scratch));
        let log = Arc::default();
        Self { catalog, conversions, wants, config, scratch, uploads, pool, metrics, log }
    }

    /// Largest message that is read at all, bytes.
    pub fn max_message_bytes(&self) -> usize {
        MAX_CHUNK_BYTES + (64 << 10)
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
        let id = header.id.as_ref().ok_or_else(|| Status::invalid_argument("no object id"))?;
        let id = ObjectId::try_from(id).map_err(|e| Status::invalid_argument(e.to_string()))?;
        if !self.catalog.can_hold(&id) {
            return Err(Status::invalid_argument("the build ID is too long to be kept"));
        }
        let format = Format::of_wire(header.format())
            .ok_or_else(|| Status::invalid_argument("unknown object format"))?;
        check_format(id.kind, format).map_err(|error| self.refuse(&id, &header.path, &error))?;
        let limit = self.config.max_object_bytes;
        if header.size == 0 || header.size > limit {
            let size = header.size;
            let text = format!("object of {size} bytes: expected 1 to {limit} (--max-object)");
            return Err(self.count("too_large", Status::invalid_argument(text)));
        }
        Ok(Announced { id, format, size: header.size, path: header.path })
    }

    async fn require_room(&self, announced: &Announced) -> Result<(), Status> {
        let (catalog, size) = (self.catalog.clone(), announced.size);
        let room = self.pool.run(move || catalog.has_room(size)).await.map_err(internal)?;
        match room {
            Ok(true) => Ok(()),
            Ok(false) => {
                let text = "the collector's disk has too little space for objects";
                Err(self.count("disk", Status::resource_exhausted(text)))
            }
            Err(error) => Err(self.refuse(&announced.id, &announced.path, &error.into())),
        }
    }

    async fn receive(
        &self,
        requests: &mut Streaming<UploadRequest>,
        announced: &Announced,
    ) -> Result<Incoming, Status> {
        let (scratch, size) = (self.scratch.clone(), announced.size);
        let refuse = |error: Unacceptable| self.refuse(&announced.id, &announced.path, &error);
        let created = self.pool.run(move || Incoming::create(&scratch, size)).await;
        let mut incoming = created.map_err(internal)?.map_err(|error| refuse(error.into()))?;
        while let Some(message) = self.next(requests).await? {
            let Message::Chunk(chunk) = message else {
                return Err(Status::invalid_argument("a second header in one upload"));
            };
            if chunk.len() > MAX_CHUNK_BYTES {
                let text = format!("chunk of {} bytes: at most {MAX_CHUNK_BYTES}", chunk.len());
                return Err(Status::invalid_argument(text));
            }
            let chunk = Bytes::from(chunk);
            let write = move || incoming.write(&chunk).map(|()| incoming);
            incoming = self.pool.run(write).await.map_err(internal)?.map_err(refuse)?;
        }
        Ok(incoming)
    }

    async fn keep(
        &self,
        incoming: Incoming,
        announced: &Announced,
        reservation: Reservation,
    ) -> Result<bool, Status> {
        let (catalog, id, format) = (self.catalog.clone(), announced.id.clone(), announced.format);
        let keep = move || -> Result<bool, Unacceptable> {
            incoming.finish(&id, format)?;
            Ok(catalog.adopt(&id, format, incoming.path(), &reservation)?)
        };
        let kept = self.pool.run(keep).await.map_err(internal)?;
        kept.map_err(|error| self.refuse(&announced.id, &announced.path, &error))
    }

    fn refuse(&self, id: &ObjectId, path: &str, error: &Unacceptable) -> Status {
        if let Some(silent) = self.log.allow() {
            let path: String = path.chars().take(256).collect();
            warn!(object = %id, path, %error, silent, "upload failed");
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
    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let Ok(_permit) = self.uploads.try_acquire() else {
            let text = "too many uploads are running; try again later";
            return Err(self.count("busy", Status::resource_exhausted(text)));
        };
        let mut requests = request.into_inner();
        let header = match self.next(&mut requests).await? {
            Some(Message::Header(header)) => header,
            Some(Message::Chunk(_)) | None => {
                return Err(Status::invalid_argument("the first request must be a header"));
            }
        };
        let announced = self.check(header)?;
        if self.catalog.contains(&announced.id) {
            return Ok(Response::new(UploadResponse { duplicate: true }));
        }
        let uploading = self.wants.uploading(&announced.id);
        let Some(reservation) = self.catalog.reserve(announced.size) else {
            let text = "the quota for objects is used up (--object-quota)";
            return Err(self.count("quota", Status::resource_exhausted(text)));
        };
        self.require_room(&announced).await?;
        let incoming = self.receive(&mut requests, &announced).await?;
        let new = self.keep(incoming, &announced, reservation).await?;
        uploading.stored();
        if new {
            self.conversions.add(&announced.id);
            self.metrics.objects_received.inc();
            info!(object = %announced.id, bytes = announced.size, "object stored");
        }
        Ok(Response::new(UploadResponse { duplicate: !new }))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn internal(error: crate::cpu_pool::JobPanicked) -> Status {
    Status::internal(error.to_string())
}
