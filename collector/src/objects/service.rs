//! `ObjectService`: receives binaries and kernel symbols.

use std::{io, path::PathBuf, sync::Arc};

use fleetprof_proto::{
    chunk::{MAX_CHUNK_BYTES, unpack},
    ids::{ObjectId, ObjectKind},
    v1::{
        self, ListObjectsRequest, ListObjectsResponse, UploadHeader, UploadRequest, UploadResponse,
        object_service_server::ObjectService, upload_request::Message,
    },
};
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{
    catalog::{Catalog, Format, Reservation},
    conversions::Conversions,
    debuginfod::Lookups,
    list,
    receive::{Incoming, Unacceptable, check_format},
    wants::Wants,
};
use crate::{
    config::ObjectsConfig,
    cpu_pool::CpuPool,
    log_limit::LogLimit,
    metrics::{Metrics, ReasonLabel},
};

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
}

/// What became of an upload.
struct Kept {
    id: ObjectId,
    format: Format,
    new: bool,
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
        let lookups = Lookups::default();
        Self { catalog, conversions, wants, lookups, config, scratch, uploads, pool, metrics, log }
    }

    /// The same, which also tells what servers are asked for.
    #[must_use]
    pub fn with_lookups(self, lookups: Lookups) -> Self {
        Self { lookups, ..self }
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
        Ok(Announced { what, size: header.size, path: header.path })
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

    async fn require_room(&self, announced: &Announced) -> Result<(), Status> {
        let (catalog, size) = (self.catalog.clone(), announced.size);
        let room = self.pool.run(move || catalog.has_room(size)).await.map_err(internal)?;
        match room {
            Ok(true) => Ok(()),
            Ok(false) => {
                let text = "the collector's disk has too little space for objects";
                Err(self.count("disk", Status::resource_exhausted(text)))
            }
            Err(error) => Err(self.refuse(announced.id(), &announced.path, &error.into())),
        }
    }

    async fn receive(
        &self,
        requests: &mut Streaming<UploadRequest>,
        announced: &Announced,
    ) -> Result<Incoming, Status> {
        let (scratch, size) = (self.scratch.clone(), announced.size);
        let refuse = |error: Unacceptable| self.refuse(announced.id(), &announced.path, &error);
        let created = self.pool.run(move || Incoming::create(&scratch, size)).await;
        let mut incoming = created.map_err(internal)?.map_err(|error| refuse(error.into()))?;
        while let Some(message) = self.next(requests).await? {
            let (chunk, is_packed) = match message {
                Message::Header(_) => {
                    return Err(Status::invalid_argument("a second header in one upload"));
                }
                Message::Chunk(chunk) => (chunk, false),
                Message::Packed(chunk) => (chunk, true),
            };
            if chunk.len() > MAX_MESSAGE_BYTES {
                let text = format!("chunk of {} bytes: at most {MAX_CHUNK_BYTES}", chunk.len());
                return Err(Status::invalid_argument(text));
            }
            let write = move || {
                let chunk = if is_packed { unpack(&chunk)? } else { chunk };
                incoming.write(&chunk).map(|()| incoming)
            };
            incoming = self.pool.run(write).await.map_err(internal)?.map_err(refuse)?;
        }
        Ok(incoming)
    }

    async fn keep(
        &self,
        incoming: Incoming,
        announced: &Announced,
        mut reservation: Reservation,
    ) -> Result<Kept, Status> {
        let (catalog, path) = (self.catalog.clone(), announced.path.clone());
        let what = announced.what.clone();
        let keep = move || -> Result<Kept, Unacceptable> {
            let replace = what.is_none();
            let (id, format) = match what {
                Some(what) => what,
                None => identify(&incoming)?,
            };
            if !catalog.can_hold(&id) {
                return Err(Unacceptable::IdTooLong);
            }
            reservation.shrink_to(incoming.finish(&id, format)?);
            if replace {
                let level = incoming.identify()?.contents.level();
                if catalog.has_as_good(&id, format, level) {
                    return Ok(Kept { id, format, new: false });
                }
            }
            let new = catalog.adopt(&id, format, incoming.path(), &reservation, replace)?;
            if !matches!(format, Format::Debug | Format::Split) {
                catalog.describe(&id, &path);
            }
            Ok(Kept { id, format, new })
        };
        let kept = self.pool.run(keep).await.map_err(internal)?;
        kept.map_err(|error| self.refuse(announced.id(), &announced.path, &error))
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
        // One that was asked for is taken once; one that is offered may be better than what is there.
        if let Some((id, format)) = &announced.what
            && self.catalog.has_any(id, *format)
        {
            let kept = Kept { id: id.clone(), format: *format, new: false };
            return Ok(Response::new(kept.answer()));
        }
        let uploading = announced.id().map(|id| self.wants.uploading(id));
        if self.catalog.count() >= self.config.max_objects {
            let text = "there are as many objects as may be (--max-objects)";
            return Err(self.count("quota", Status::resource_exhausted(text)));
        }
        let Some(reservation) = self.catalog.reserve(announced.size) else {
            let text = "the quota for objects is used up (--object-quota)";
            return Err(self.count("quota", Status::resource_exhausted(text)));
        };
        self.require_room(&announced).await?;
        let incoming = self.receive(&mut requests, &announced).await?;
        let kept = self.keep(incoming, &announced, reservation).await?;
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

/// What a file is that came without an id.
fn identify(incoming: &Incoming) -> Result<(ObjectId, Format), Unacceptable> {
    let identity = incoming.identify()?;
    let contents = identity.contents;
    if contents.split_units && !contents.code && !contents.debug_info {
        return Err(Unacceptable::WhoseUnits);
    }
    let format = if identity.contents.code { Format::Elf } else { Format::Debug };
    Ok((ObjectId { kind: ObjectKind::File, build_id: identity.build_id().clone() }, format))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn internal(error: crate::cpu_pool::JobPanicked) -> Status {
    Status::internal(error.to_string())
}
