//! The collector's gRPC interface, asked without the product's own clients around it.

use fleetprof_proto::v1::{
    self, PushRequest, PushResponse, ingest_service_client::IngestServiceClient, push_request,
    query_service_client::QueryServiceClient,
};
use tokio::runtime::Runtime;
use tokio_stream::StreamExt as _;
use tonic::{Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// A connection to a collector.
#[derive(Debug)]
pub struct Grpc {
    runtime: Runtime,
    channel: Channel,
}

// === impl Grpc ===

impl Grpc {
    /// Connects to the collector on a port of the loopback interface.
    ///
    /// # Panics
    /// When there is none.
    pub fn connect(port: u16) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let endpoint =
            Channel::from_shared(format!("http://127.0.0.1:{port}")).expect("a valid address");
        let channel =
            runtime.block_on(endpoint.connect()).expect("the collector accepts connections");
        Self { runtime, channel }
    }

    /// State of the collector and its agents.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn status(&self) -> v1::StatusResponse {
        let mut client = QueryServiceClient::new(self.channel.clone());
        let answer = self.runtime.block_on(client.status(v1::StatusRequest {}));
        answer.expect("the collector answers").into_inner()
    }

    /// Services by CPU.
    ///
    /// # Errors
    /// What the collector answers.
    pub fn services(&self, query: v1::Query) -> Result<v1::ServicesResponse, Status> {
        let mut client = QueryServiceClient::new(self.channel.clone());
        let request = v1::ServicesRequest { query: Some(query) };
        self.runtime.block_on(client.services(request)).map(tonic::Response::into_inner)
    }

    /// Functions with the most CPU.
    ///
    /// # Errors
    /// What the collector answers.
    pub fn top(&self, query: v1::Query) -> Result<v1::TopResponse, Status> {
        let mut client = QueryServiceClient::new(self.channel.clone());
        let request = v1::TopRequest { query: Some(query), ..v1::TopRequest::default() };
        self.runtime.block_on(client.top(request)).map(tonic::Response::into_inner)
    }

    /// Values of a label; the names of all labels for an empty name.
    ///
    /// # Errors
    /// What the collector answers.
    pub fn labels(&self, query: v1::Query, name: &str) -> Result<v1::LabelsResponse, Status> {
        let mut client = QueryServiceClient::new(self.channel.clone());
        let request = v1::LabelsRequest { query: Some(query), name: name.to_owned() };
        self.runtime.block_on(client.labels(request)).map(tonic::Response::into_inner)
    }

    /// CPU time of a function over time, in one series.
    ///
    /// # Errors
    /// What the collector answers.
    pub fn series(&self, query: v1::Query, function: &str) -> Result<v1::SeriesResponse, Status> {
        let mut client = QueryServiceClient::new(self.channel.clone());
        let function = function.to_owned();
        let request =
            v1::SeriesRequest { query: Some(query), function, ..v1::SeriesRequest::default() };
        self.runtime.block_on(client.series(request)).map(tonic::Response::into_inner)
    }

    /// The merged profile.
    ///
    /// # Errors
    /// What the collector answers.
    pub fn profile(&self, query: v1::Query) -> Result<Vec<u8>, Status> {
        self.download(v1::ProfileRequest { query: Some(query), without_labels: false })
    }

    /// The merged profile for a flame graph: without labels.
    ///
    /// # Errors
    /// What the collector answers.
    pub fn flame_graph(&self, query: v1::Query) -> Result<Vec<u8>, Status> {
        self.download(v1::ProfileRequest { query: Some(query), without_labels: true })
    }

    fn download(&self, request: v1::ProfileRequest) -> Result<Vec<u8>, Status> {
        let mut client =
            QueryServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        self.runtime.block_on(async {
            let mut chunks = client.profile(request).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.next().await {
                bytes.extend(chunk?.pprof_gz);
            }
            Ok(bytes)
        })
    }

    /// Sends requests on one stream and collects the answers until the collector ends it.
    ///
    /// # Errors
    /// How the collector ended the stream.
    pub fn push(&self, requests: Vec<push_request::Message>) -> Result<Vec<PushResponse>, Status> {
        let mut client =
            IngestServiceClient::new(self.channel.clone()).max_encoding_message_size(256 << 20);
        let requests = requests.into_iter().map(|message| PushRequest { message: Some(message) });
        self.runtime.block_on(async {
            let mut answers =
                client.push(tokio_stream::iter(requests.collect::<Vec<_>>())).await?.into_inner();
            let mut seen = Vec::new();
            while let Some(answer) = answers.next().await {
                seen.push(answer?);
            }
            Ok(seen)
        })
    }

    /// The serving status that gRPC's health protocol gives for the whole server: 1 = serving.
    ///
    /// # Panics
    /// When the protocol is not spoken.
    pub fn health(&self) -> i32 {
        let mut client = HealthClient::new(self.channel.clone());
        let request = HealthCheckRequest { service: String::new() };
        let answer = self.runtime.block_on(client.check(request));
        answer.expect("the collector speaks the health protocol").into_inner().status
    }

    /// Names of the services that the reflection protocol lists.
    ///
    /// # Panics
    /// When the protocol is not spoken.
    pub fn reflected_services(&self) -> Vec<String> {
        let mut client = ServerReflectionClient::new(self.channel.clone());
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        self.runtime.block_on(async {
            let answers = client.server_reflection_info(tokio_stream::iter([request])).await;
            let answer =
                answers.expect("the collector speaks reflection").into_inner().next().await;
            let answer = answer.expect("there is an answer").expect("it is not an error");
            match answer.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    list.service.into_iter().map(|service| service.name).collect()
                }
                other => panic!("not a list of services: {other:?}"),
            }
        })
    }
}
