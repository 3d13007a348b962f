//! A collector that misbehaves on command, on a real port.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use fleetprof_proto::{
    batch::{self, Limits},
    ids::{BatchId, ObjectId},
    v1::{
        self,
        ingest_service_server::{IngestService, IngestServiceServer},
        object_service_server::{ObjectService, ObjectServiceServer},
        push_request, push_response,
    },
};
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{TcpListenerStream, UnboundedReceiverStream},
};
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};

use super::port::Port;

/// What the collector does with the next batch.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// Store and acknowledge.
    Ack,
    /// Store, and acknowledge later: see [`Collector::answer_held`].
    Hold,
    /// Store, and never answer.
    Forget,
    /// Store, and end the stream with this code before answering.
    StoreAndFail(Code),
    /// End the stream with this code and store nothing.
    Fail(Code),
    /// End the stream regularly and store nothing.
    End,
    Reject(&'static str),
    /// Store, acknowledge twice, and acknowledge a batch nobody sent.
    Babble,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    /// What the next batches get; then [`Plan::Ack`].
    pub(super) plans: VecDeque<Plan>,
    /// What the next calls get instead of a stream.
    pub(super) refuse_calls: VecDeque<Code>,
    pub(super) hellos: Vec<v1::Hello>,
    /// Everything received, in order.
    pub(super) received: Vec<BatchId>,
    /// Samples by batch: what is in durable storage.
    pub(super) stored: BTreeMap<BatchId, u64>,
    held: Vec<(BatchId, Responses)>,
    /// The stream that is open, or was open last.
    stream: Option<Responses>,
    pub(super) objects: BTreeMap<ObjectId, (v1::UploadHeader, Vec<u8>)>,
    pub(super) uploads_begun: usize,
    /// Answer uploads at once as duplicates.
    pub(super) has_all_objects: bool,
    pub(super) fail_uploads: bool,
    /// What every question before an upload is answered with.
    pub(super) prepare: Preparation,
    /// The answer to a Hello says that offers are taken.
    pub(super) takes_offers: bool,
    /// The newest format that it says it takes.
    pub(super) batch_format: u32,
    /// Of what was received, in order.
    pub(super) formats: Vec<u32>,
    pub(super) offers: Vec<v1::ObjectOffer>,
}

/// What the collector says before an upload.
#[derive(Clone, Debug, Default)]
pub(super) enum Preparation {
    /// It is of a version that does not know the question.
    #[default]
    Unknown,
    Refuse(Code),
    /// It has these first bytes.
    Kept(Vec<u8>),
}

type Responses = mpsc::UnboundedSender<Result<v1::PushResponse, Status>>;

/// See the module's documentation. Stops when dropped, like a killed process.
pub(super) struct Collector {
    pub(super) address: SocketAddr,
    pub(super) books: Arc<Mutex<Books>>,
    server: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Service {
    books: Arc<Mutex<Books>>,
}

impl Collector {
    pub(super) fn start() -> Self {
        Self::start_at(&Port::reserve(), Arc::default())
    }

    /// At a known address, with what an earlier one stored.
    pub(super) fn start_at(port: &Port, books: Arc<Mutex<Books>>) -> Self {
        let (listener, address) = (port.listen(), port.address);
        let service = Service { books: Arc::clone(&books) };
        let server = Server::builder()
            .add_service(IngestServiceServer::new(service.clone()))
            .add_service(ObjectServiceServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.unwrap() });
        Self { address, books, server: Some(server) }
    }

    /// Like a SIGKILL; nothing listens any more when it returns.
    pub(super) async fn kill(mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let aborted = server.await;
            assert!(aborted.unwrap_err().is_cancelled());
        }
    }

    pub(super) fn plan(&self, plans: impl IntoIterator<Item = Plan>) {
        self.books.lock().unwrap().plans.extend(plans);
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Books) -> T) -> T {
        look(&mut self.books.lock().unwrap())
    }

    pub(super) fn held(&self) -> usize {
        self.look(|books| books.held.len())
    }

    /// Acknowledges what was held back, the last one first.
    pub(super) fn answer_held(&self) {
        let held = self.look(|books| std::mem::take(&mut books.held));
        for (id, responses) in held.into_iter().rev() {
            let _stream_may_be_gone = responses.send(Ok(ack(id, false)));
        }
    }

    /// Says that it is busy on the stream that is open.
    pub(super) fn busy(&self) {
        let message = Some(push_response::Message::Busy(v1::Busy {}));
        let stream = self.look(|books| books.stream.clone());
        let _stream_may_be_gone =
            stream.map(|stream| stream.send(Ok(v1::PushResponse { message })));
    }

    pub(super) fn want(&self, objects: &[ObjectId]) {
        let objects = objects.iter().map(Into::into).collect();
        let want = push_response::Message::WantObjects(v1::WantObjects { objects });
        let response = v1::PushResponse { message: Some(want) };
        self.look(|books| books.stream.as_ref().unwrap().send(Ok(response)).unwrap());
    }

    pub(super) fn stored_samples(&self) -> u64 {
        self.look(|books| books.stored.values().sum())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
        // Connections are tasks of their own in hyper: end their streams, too.
        self.look(|books| {
            books.held.clear();
            if let Some(stream) = books.stream.take() {
                let _stream_may_be_gone = stream.send(Err(Status::unavailable("killed")));
            }
        });
    }
}

fn ack(id: BatchId, duplicate: bool) -> v1::PushResponse {
    let instance = id.instance.as_bytes().to_vec();
    let ack = v1::Ack { instance, sequence: id.sequence, duplicate };
    v1::PushResponse { message: Some(push_response::Message::Ack(ack)) }
}

#[tonic::async_trait]
impl IngestService for Service {
    type PushStream = Pin<Box<dyn Stream<Item = Result<v1::PushResponse, Status>> + Send>>;

    async fn push(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        {
            let mut books = self.books.lock().unwrap();
            if let Some(code) = books.refuse_calls.pop_front() {
                return Err(Status::new(code, "as planned"));
            }
            books.stream = Some(sender.clone());
        }
        let service = self.clone();
        tokio::spawn(async move { service.serve(request.into_inner(), sender).await });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}

impl Service {
    async fn serve(&self, mut requests: Streaming<v1::PushRequest>, responses: Responses) {
        while let Some(Ok(request)) = requests.next().await {
            match request.message.unwrap() {
                push_request::Message::Hello(hello) => {
                    let mut books = self.books.lock().unwrap();
                    books.hellos.push(hello);
                    if books.takes_offers {
                        let batch_format = books.batch_format;
                        let welcome = v1::Welcome { takes_offers: true, batch_format };
                        let message = Some(push_response::Message::Welcome(welcome));
                        let _stream_may_be_gone = responses.send(Ok(v1::PushResponse { message }));
                    }
                }
                push_request::Message::OfferObjects(offers) => {
                    self.books.lock().unwrap().offers.extend(offers.objects);
                }
                push_request::Message::Batch(sealed) => {
                    if !self.take(&sealed, &responses) {
                        // Only this clone: the one in the books would keep the stream open.
                        self.books.lock().unwrap().stream = None;
                        return;
                    }
                }
            }
        }
    }

    /// Whether the stream goes on.
    fn take(&self, sealed: &v1::SealedBatch, responses: &Responses) -> bool {
        let (id, batch) = batch::open(sealed, Limits::default()).unwrap();
        let mut books = self.books.lock().unwrap();
        books.received.push(id);
        books.formats.push(sealed.format);
        let plan = books.plans.pop_front().unwrap_or(Plan::Ack);
        let stores = !matches!(plan, Plan::Fail(_) | Plan::End | Plan::Reject(_));
        let known = stores && books.stored.insert(id, batch.sample_total()).is_some();
        let send = |response| {
            let _stream_may_be_gone = responses.send(response);
        };
        match plan {
            Plan::Ack => send(Ok(ack(id, known))),
            Plan::Hold => books.held.push((id, responses.clone())),
            Plan::Forget => {}
            Plan::StoreAndFail(code) | Plan::Fail(code) => {
                send(Err(Status::new(code, "as planned")));
                return false;
            }
            Plan::End => return false,
            Plan::Reject(reason) => {
                let instance = id.instance.as_bytes().to_vec();
                let reason = reason.into();
                let reject = v1::Reject { instance, sequence: id.sequence, reason };
                let reject = push_response::Message::Reject(reject);
                send(Ok(v1::PushResponse { message: Some(reject) }));
            }
            Plan::Babble => {
                send(Ok(ack(BatchId { sequence: 1 << 40, ..id }, false)));
                send(Ok(ack(id, false)));
                send(Ok(ack(id, true)));
            }
        }
        true
    }
}

#[tonic::async_trait]
impl ObjectService for Service {
    async fn list(
        &self,
        _: Request<v1::ListObjectsRequest>,
    ) -> Result<Response<v1::ListObjectsResponse>, Status> {
        Err(Status::unimplemented("agents do not list objects"))
    }

    async fn prepare(
        &self,
        _: Request<v1::PrepareUploadRequest>,
    ) -> Result<Response<v1::PrepareUploadResponse>, Status> {
        match self.books.lock().unwrap().prepare.clone() {
            Preparation::Unknown => Err(Status::unimplemented("of a later version")),
            Preparation::Refuse(code) => Err(Status::new(code, "as planned")),
            Preparation::Kept(bytes) => Ok(Response::new(v1::PrepareUploadResponse {
                duplicate: false,
                kept: bytes.len() as u64,
                kept_sha256: Sha256::digest(&bytes).to_vec(),
            })),
        }
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadRequest>>,
    ) -> Result<Response<v1::UploadResponse>, Status> {
        {
            let mut books = self.books.lock().unwrap();
            books.uploads_begun += 1;
            if books.fail_uploads {
                return Err(Status::unavailable("disk full"));
            }
            if books.has_all_objects {
                let known = v1::UploadResponse { duplicate: true, ..Default::default() };
                return Ok(Response::new(known));
            }
        }
        let mut requests = request.into_inner();
        let (mut header, mut content) = (None, Vec::new());
        while let Some(request) = requests.next().await {
            match request?.message.unwrap() {
                v1::upload_request::Message::Header(first) => header = Some(first),
                v1::upload_request::Message::Chunk(chunk) => content.extend(chunk),
                v1::upload_request::Message::Packed(chunk) => {
                    content.extend(fleetprof_proto::chunk::unpack(&chunk).unwrap());
                }
            }
        }
        let header: v1::UploadHeader = header.unwrap();
        if let Preparation::Kept(bytes) = &self.books.lock().unwrap().prepare
            && header.kept > 0
        {
            assert_eq!(header.kept_sha256, Sha256::digest(bytes).as_slice());
            content.splice(..0, bytes.iter().copied());
        }
        if header.size != content.len() as u64 {
            return Err(Status::invalid_argument("another size than announced"));
        }
        let id = ObjectId::try_from(header.id.as_ref().unwrap()).unwrap();
        self.books.lock().unwrap().objects.insert(id, (header, content));
        Ok(Response::new(v1::UploadResponse::default()))
    }
}
