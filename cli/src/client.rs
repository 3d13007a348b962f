//! Questions to a collector over gRPC: requests in, answers or a [`ClientError`] out. Every wait is
//! bounded. Shows nothing.

mod error;
mod greeting;
mod url;

use std::{error::Error as StdError, future::Future, io, iter, time::Duration};

use fleetprof_proto::v1::{
    Coverage, LabelsRequest, LabelsResponse, ListObjectsRequest, ListObjectsResponse,
    ProfileRequest, SeriesRequest, SeriesResponse, ServicesRequest, ServicesResponse,
    StatusRequest, StatusResponse, SymbolsRequest, SymbolsResponse, TopRequest, TopResponse,
    UploadRequest, UploadResponse, object_service_client::ObjectServiceClient,
    query_service_client::QueryServiceClient,
};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::{self, error::Elapsed};
use tokio_stream::Stream;
use tonic::{
    Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

pub(crate) use error::ClientError;
use greeting::Heard;
pub(crate) use url::CollectorUrl;

use crate::args::ConnectionArgs;

/// Largest single message accepted, bytes. Far above any real one (a profile comes in chunks, a list
/// of a million functions is about 100 MB); a wrong peer cannot make us allocate without end.
const MAX_MESSAGE_BYTES: usize = 512 << 20;

/// Bytes that a collector may send ahead: the default of 64 KiB makes a profile from another
/// continent crawl.
const WINDOW_BYTES: u32 = 4 << 20;

/// A connection to a collector.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: QueryServiceClient<Channel>,
    objects: ObjectServiceClient<Channel>,
    peer: Peer,
}

/// A profile as it arrives.
#[derive(Debug)]
pub(crate) struct ProfileStream {
    chunks: Streaming<fleetprof_proto::v1::ProfileChunk>,
    coverage: Option<Coverage>,
    peer: Peer,
}

/// Who is asked and how long to wait, for every call and every error.
#[derive(Clone, Debug)]
struct Peer {
    url: CollectorUrl,
    limit: Duration,
    heard: Heard,
}

// === impl Client ===

impl Client {
    /// Connects to the collector of the command line.
    pub(crate) async fn connect(args: &ConnectionArgs) -> Result<Self, ClientError> {
        let url = args.collector.clone();
        let endpoint = Endpoint::from(url.uri().clone())
            .connect_timeout(args.connect_timeout)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .user_agent(concat!("fleetprof/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| ClientError::unreachable(&url, &error))?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(args.connect_timeout));
        let heard = Heard::default();
        let connect = endpoint.connect_with_connector(heard.connector(tcp));
        // The endpoint's own limit leaves out the look-up of the name.
        let channel = match time::timeout(args.connect_timeout, connect).await {
            Ok(Ok(channel)) => channel,
            // It took the connection: nobody there is "refused".
            Ok(Err(error)) if is_reset(&error) => return Err(ClientError::hung_up(&url)),
            Ok(Err(error)) if is_timeout(&error) => {
                return Err(ClientError::connect_timeout(&url, args.connect_timeout));
            }
            Ok(Err(error)) => return Err(ClientError::unreachable(&url, &error)),
            Err(_elapsed) => return Err(ClientError::connect_timeout(&url, args.connect_timeout)),
        };
        let inner =
            QueryServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let objects =
            ObjectServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { inner, objects, peer: Peer { url, limit: args.timeout, heard } })
    }

    /// The address that is asked.
    pub(crate) fn url(&self) -> &CollectorUrl {
        &self.peer.url
    }

    pub(crate) async fn services(
        &self,
        request: ServicesRequest,
    ) -> Result<ServicesResponse, ClientError> {
        self.peer.answer(self.inner.clone().services(request)).await
    }

    pub(crate) async fn labels(
        &self,
        request: LabelsRequest,
    ) -> Result<LabelsResponse, ClientError> {
        self.peer.answer(self.inner.clone().labels(request)).await
    }

    pub(crate) async fn series(
        &self,
        request: SeriesRequest,
    ) -> Result<SeriesResponse, ClientError> {
        self.peer.answer(self.inner.clone().series(request)).await
    }

    pub(crate) async fn top(&self, request: TopRequest) -> Result<TopResponse, ClientError> {
        self.peer.answer(self.inner.clone().top(request)).await
    }

    pub(crate) async fn symbols(
        &self,
        request: SymbolsRequest,
    ) -> Result<SymbolsResponse, ClientError> {
        self.peer.answer(self.inner.clone().symbols(request)).await
    }

    pub(crate) async fn status(&self) -> Result<StatusResponse, ClientError> {
        self.peer.answer(self.inner.clone().status(StatusRequest {})).await
    }

    pub(crate) async fn list_objects(
        &self,
        request: ListObjectsRequest,
    ) -> Result<ListObjectsResponse, ClientError> {
        self.peer.answer(self.objects.clone().list(request)).await
    }

    /// Sends a header and chunks of so many bytes in all, which may take a second for each MiB more
    /// than any other answer.
    pub(crate) async fn upload(
        &self,
        requests: impl Stream<Item = UploadRequest> + Send + 'static,
        bytes: u64,
    ) -> Result<UploadResponse, ClientError> {
        let limit = self.peer.limit.saturating_add(Duration::from_secs(bytes >> 20));
        let peer = Peer { limit, ..self.peer.clone() };
        peer.answer(self.objects.clone().upload(requests)).await
    }

    pub(crate) async fn profile(
        &self,
        request: ProfileRequest,
    ) -> Result<ProfileStream, ClientError> {
        let chunks = self.peer.answer(self.inner.clone().profile(request)).await?;
        Ok(ProfileStream { chunks, coverage: None, peer: self.peer.clone() })
    }
}

// === impl ProfileStream ===

impl ProfileStream {
    /// The next piece of the gzipped pprof; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let Some(chunk) = self.peer.within_limit(self.chunks.message()).await? else {
            return Ok(None);
        };
        if chunk.coverage.is_some() {
            self.coverage = chunk.coverage;
        }
        Ok(Some(chunk.pprof_gz))
    }

    /// What the profile was made from. It comes with the last chunk: a stream that ended without it
    /// was cut short, whatever its status says.
    pub(crate) fn into_coverage(self) -> Result<Coverage, ClientError> {
        self.coverage.ok_or_else(|| ClientError::cut_short(&self.peer.url))
    }
}

/// Whether our own limit ended an attempt. The system's (`ETIMEDOUT`) has a text of its own.
fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    let ours = |io: &io::Error| io.kind() == io::ErrorKind::TimedOut && io.raw_os_error().is_none();
    causes(error).any(|cause| cause.is::<Elapsed>() || cause.downcast_ref().is_some_and(ours))
}

/// Whether the peer hung up before we knew that we were connected.
fn is_reset(error: &(dyn StdError + 'static)) -> bool {
    let reset = |io: &io::Error| io.kind() == io::ErrorKind::ConnectionReset;
    causes(error).any(|cause| cause.downcast_ref().is_some_and(reset))
}

/// An error, its cause, the cause of that, and so on.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}

// === impl Peer ===

impl Peer {
    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        self.within_limit(call).await.map(Response::into_inner)
    }

    async fn within_limit<T>(
        &self,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        match time::timeout(self.limit, call).await {
            Ok(answer) => answer.map_err(|status| {
                ClientError::from_status(&self.url, self.heard.greeting(), &status)
            }),
            Err(_elapsed) => Err(ClientError::no_answer(&self.url, self.limit)),
        }
    }
}
