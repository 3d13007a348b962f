//! A stand-in for the collector that keeps what a real agent sends: batches to replay.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fleetprof_proto::v1::{
    Ack, PushRequest, PushResponse, SealedBatch,
    ingest_service_server::{IngestService, IngestServiceServer},
    push_request, push_response,
};
use fleetprof_tests::{
    agent::{Agent, Options},
    machine,
    programs::{Burning, Program},
    wait,
};
use prost::Message as _;
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Real batches, and what they took on the wire.
#[derive(Debug)]
pub(crate) struct Captured {
    /// As the agent sealed them.
    pub(crate) batches: Vec<SealedBatch>,
    /// Bytes of each as a gRPC message.
    pub(crate) wire_bytes: Vec<f64>,
    /// Span of each, seconds.
    pub(crate) window: f64,
}

#[derive(Clone, Debug, Default)]
struct Keeper(Arc<Mutex<Vec<SealedBatch>>>);

/// Lets a real agent watch programs in several languages and keeps its batches, without the first:
/// that one is not a whole window.
pub(crate) fn capture(rate: u32, window: Duration, count: usize) -> Captured {
    let runtime = Runtime::new().expect("a runtime");
    let keeper = Keeper::default();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
    let server = Server::builder().add_service(IngestServiceServer::new(keeper.clone()));
    runtime.spawn(async move { server.serve(address).await });
    let dir = tempfile::tempdir().expect("a temporary folder");
    let programs = [
        Program::C,
        Program::Cpp,
        Program::Rust,
        Program::Go,
        Program::Syscalls,
        Program::Deep,
        Program::Storm,
    ];
    let _load = programs.map(|program| Burning::start(program, 1));
    let mut options =
        Options::new(&format!("http://{address}"), dir.path()).at(rate).without_uploads();
    options.window = window;
    let agent = Agent::start(&options);
    let enough = window * u32::try_from(count + 4).expect("few batches");
    wait::until("the agent's batches", enough, || (keeper.len() > count).then_some(()));
    agent.stop();
    let batches = keeper.0.lock().unwrap_or_else(PoisonError::into_inner)[1..=count].to_vec();
    let wire_bytes = batches.iter().map(|batch| batch.encoded_len() as f64).collect();
    Captured { batches, wire_bytes, window: window.as_secs_f64() }
}

// === impl Keeper ===

impl Keeper {
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[tonic::async_trait]
impl IngestService for Keeper {
    type PushStream = ReceiverStream<Result<PushResponse, Status>>;

    async fn push(
        &self,
        request: Request<Streaming<PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let (answers, stream) = mpsc::channel(16);
        let kept = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut requests = request.into_inner();
            while let Some(Ok(request)) = requests.next().await {
                let Some(push_request::Message::Batch(batch)) = request.message else { continue };
                let ack = Ack {
                    instance: batch.instance.clone(),
                    sequence: batch.sequence,
                    duplicate: false,
                };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
                let answer = PushResponse { message: Some(push_response::Message::Ack(ack)) };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
