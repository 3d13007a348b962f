//! A mock of a collector: answers what a test tells it to and keeps what it was asked. It stores
//! nothing and computes nothing; only the gRPC around it is real.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use fleetprof_proto::v1::{
    LabelsRequest, LabelsResponse, ProfileChunk, ProfileRequest, SeriesRequest, SeriesResponse,
    ServicesRequest, ServicesResponse, StatusRequest, StatusResponse, SymbolsRequest,
    SymbolsResponse, TopRequest, TopResponse,
    query_service_server::{QueryService, QueryServiceServer},
};
use tokio::{
    net::TcpListener,
    runtime,
    sync::{Semaphore, oneshot},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, service::Routes, transport::Server};

/// What the mock answers. Everything is empty until a test fills it.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    pub(crate) services: ServicesResponse,
    pub(crate) labels: LabelsResponse,
    pub(crate) series: SeriesResponse,
    pub(crate) top: TopResponse,
    pub(crate) status: StatusResponse,
    pub(crate) chunks: Vec<ProfileChunk>,
    /// How a profile ends after its chunks, if not well.
    pub(crate) profile_failure: Option<Status>,
    /// What every call ends with, if not well.
    pub(crate) failure: Option<Status>,
    /// Calls wait for [`MockCollector::release`] before they answer.
    pub(crate) hold: bool,
}

/// What the mock was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Services(ServicesRequest),
    Labels(LabelsRequest),
    Series(SeriesRequest),
    Profile(ProfileRequest),
    Top(TopRequest),
    Status,
}

/// A mock that listens; ends when dropped.
pub(crate) struct MockCollector {
    address: SocketAddr,
    asked: Receiver<Asked>,
    gate: Arc<Semaphore>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Service {
    answers: Answers,
    asked: Sender<Asked>,
    gate: Arc<Semaphore>,
}

// === impl MockCollector ===

impl MockCollector {
    /// Listens on a free port of this host.
    pub(crate) fn start(answers: Answers) -> Self {
        let (asked_tx, asked) = mpsc::channel();
        let gate = Arc::new(Semaphore::new(if answers.hold { 0 } else { 1 }));
        let service = Service { answers, asked: asked_tx, gate: Arc::clone(&gate) };
        let routes =
            Routes::new(QueryServiceServer::new(service).max_encoding_message_size(usize::MAX));
        Self::serve(routes, asked, gate)
    }

    /// A gRPC server that is not a collector.
    pub(crate) fn without_services() -> Self {
        Self::serve(Routes::default(), mpsc::channel().1, Arc::new(Semaphore::new(0)))
    }

    fn serve(routes: Routes, asked: Receiver<Asked>, gate: Arc<Semaphore>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (address_tx, address) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                address_tx.send(listener.local_addr().expect("bound")).expect("awaited");
                let incoming = TcpListenerStream::new(listener);
                tokio::select! {
                    served = Server::builder().add_routes(routes).serve_with_incoming(incoming) => {
                        served.expect("served");
                    }
                    // Either way the test is over.
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().expect("the server starts");
        Self { address, asked, gate, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.try_iter().collect()
    }

    /// Waits for the next question.
    pub(crate) fn next_asked(&self) -> Asked {
        self.asked.recv().expect("a question")
    }

    /// Lets calls that are held answer.
    pub(crate) fn release(&self) {
        self.gate.add_permits(1);
    }
}

impl Drop for MockCollector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the mock collector failed");
        }
    }
}

// === impl Service ===

impl Service {
    async fn answer<T>(&self, asked: Asked, answer: T) -> Result<Response<T>, Status> {
        // A test that does not look at the questions has dropped the other end.
        let _ = self.asked.send(asked);
        drop(self.gate.acquire().await.expect("never closed"));
        match &self.answers.failure {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(answer)),
        }
    }
}

#[tonic::async_trait]
impl QueryService for Service {
    type ProfileStream = tokio_stream::Iter<std::vec::IntoIter<Result<ProfileChunk, Status>>>;

    async fn services(
        &self,
        request: Request<ServicesRequest>,
    ) -> Result<Response<ServicesResponse>, Status> {
        self.answer(Asked::Services(request.into_inner()), self.answers.services.clone()).await
    }

    async fn labels(
        &self,
        request: Request<LabelsRequest>,
    ) -> Result<Response<LabelsResponse>, Status> {
        self.answer(Asked::Labels(request.into_inner()), self.answers.labels.clone()).await
    }

    async fn series(
        &self,
        request: Request<SeriesRequest>,
    ) -> Result<Response<SeriesResponse>, Status> {
        self.answer(Asked::Series(request.into_inner()), self.answers.series.clone()).await
    }

    async fn profile(
        &self,
        request: Request<ProfileRequest>,
    ) -> Result<Response<Self::ProfileStream>, Status> {
        let chunks = self.answers.chunks.iter().cloned().map(Ok);
        let end = self.answers.profile_failure.clone().map(Err);
        let stream: Vec<_> = chunks.chain(end).collect();
        self.answer(Asked::Profile(request.into_inner()), tokio_stream::iter(stream)).await
    }

    async fn top(&self, request: Request<TopRequest>) -> Result<Response<TopResponse>, Status> {
        self.answer(Asked::Top(request.into_inner()), self.answers.top.clone()).await
    }

    async fn symbols(
        &self,
        _: Request<SymbolsRequest>,
    ) -> Result<Response<SymbolsResponse>, Status> {
        Err(Status::unimplemented("not part of the mock"))
    }

    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.answer(Asked::Status, self.answers.status.clone()).await
    }
}
