//! `QueryService`: gRPC in front of [`Queries`].

use std::pin::Pin;

use fleetprof_proto::v1::{
    self, LabelsRequest, LabelsResponse, ProfileChunk, ProfileRequest, SeriesRequest,
    SeriesResponse, ServicesRequest, ServicesResponse, StatusRequest, StatusResponse,
    SymbolsRequest, SymbolsResponse, TopRequest, TopResponse, query_service_server::QueryService,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{
    Plan, Profile, Queries, QueryError,
    history::{self, Asked},
    labels,
    profile::Labels,
    series, services, status, symbols, top,
};
use crate::metrics::Method;

/// Largest piece of a profile in one message, bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Labels that a series may be split by.
const MAX_GROUP_BY: usize = 16;

/// The service.
#[derive(Clone)]
pub struct QueryApi {
    queries: Queries,
}

// === impl QueryApi ===

impl QueryApi {
    /// gRPC in front of `queries`.
    pub fn new(queries: Queries) -> Self {
        Self { queries }
    }
}

#[tonic::async_trait]
impl QueryService for QueryApi {
    type ProfileStream = Pin<Box<dyn Stream<Item = Result<ProfileChunk, Status>> + Send>>;

    async fn services(
        &self,
        request: Request<ServicesRequest>,
    ) -> Result<Response<ServicesResponse>, Status> {
        let plan = Plan::try_from(request.into_inner().query)?.widened();
        let query = move |parts: &_, cancel: &_| services::run(parts, &plan, cancel);
        Ok(Response::new(self.queries.run(Method::Services, query).await?))
    }

    async fn labels(
        &self,
        request: Request<LabelsRequest>,
    ) -> Result<Response<LabelsResponse>, Status> {
        let LabelsRequest { query, name } = request.into_inner();
        let plan = Plan::try_from(query)?.widened();
        let query = move |parts: &_, cancel: &_| labels::run(parts, &plan, &name, cancel);
        Ok(Response::new(self.queries.run(Method::Labels, query).await?))
    }

    async fn series(
        &self,
        request: Request<SeriesRequest>,
    ) -> Result<Response<SeriesResponse>, Status> {
        let SeriesRequest { query, group_by, step_nanos, function } = request.into_inner();
        let plan = Plan::try_from(query)?;
        if group_by.len() > MAX_GROUP_BY {
            let text = format!("{} labels to group by: at most {MAX_GROUP_BY}", group_by.len());
            return Err(QueryError::Invalid(text).into());
        }
        let query = move |parts: &_, cancel: &_| match function.as_str() {
            "" => series::run(parts, &plan, &group_by, step_nanos, cancel),
            function => {
                let asked = Asked { function, group_by: &group_by, step: step_nanos };
                history::run(parts, &plan, &asked, cancel)
            }
        };
        Ok(Response::new(self.queries.run(Method::Series, query).await?))
    }

    async fn profile(
        &self,
        request: Request<ProfileRequest>,
    ) -> Result<Response<Self::ProfileStream>, Status> {
        let ProfileRequest { query, without_labels } = request.into_inner();
        let kept = if without_labels { Labels::None } else { Labels::All };
        let profile = self.queries.profile(Plan::try_from(query)?, kept).await?;
        let chunks = chunks(profile).into_iter().map(Ok);
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn top(&self, request: Request<TopRequest>) -> Result<Response<TopResponse>, Status> {
        let mut request = request.into_inner();
        let plan = Plan::try_from(request.query.take())?.widened();
        let query = move |parts: &_, cancel: &_| top::run(parts, &plan, &request, cancel);
        Ok(Response::new(self.queries.run(Method::Top, query).await?))
    }

    async fn symbols(
        &self,
        request: Request<SymbolsRequest>,
    ) -> Result<Response<SymbolsResponse>, Status> {
        let plan = Plan::try_from(request.into_inner().query)?.widened();
        let query = move |parts: &_, cancel: &_| symbols::run(parts, &plan, cancel);
        Ok(Response::new(self.queries.run(Method::Symbols, query).await?))
    }

    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let query = |parts: &_, cancel: &_| status::run(parts, cancel);
        Ok(Response::new(self.queries.run(Method::Status, query).await?))
    }
}

/// Pieces to be concatenated; the last one has the coverage.
fn chunks(profile: Profile) -> Vec<ProfileChunk> {
    let mut chunks: Vec<_> = profile
        .pprof_gz
        .chunks(CHUNK_BYTES)
        .map(|chunk| ProfileChunk { pprof_gz: chunk.to_vec(), coverage: None })
        .collect();
    let coverage: v1::Coverage = profile.coverage;
    match chunks.last_mut() {
        Some(last) => last.coverage = Some(coverage),
        None => chunks.push(ProfileChunk { pprof_gz: Vec::new(), coverage: Some(coverage) }),
    }
    chunks
}
