//! The HTTP side: one request for one file of one server.
//!
//! The protocol is `GET /buildid/ID/debuginfo` and `…/executable`; 404 means that the server does not
//! have it. Servers are configured by whoever runs the collector, and are not trusted all the same:
//! redirects, times and sizes are bounded, and what comes is verified by whoever reads it.

use std::{
    error::Error,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fleetprof_proto::ids::BuildId;
use reqwest::{StatusCode, Url, header::HeaderMap, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use thiserror::Error;
use tracing::warn;

use super::plan::{after, backoff};
use crate::config::DebuginfodConfig;

const MAX_REDIRECTS: usize = 5;

/// Size of the file, in answers that come in pieces.
const SIZE_HEADER: &str = "x-debuginfod-size";

/// Which file of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    DebugInfo,
    Executable,
}

/// All servers, in the order in which they are asked.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    servers: Vec<Server>,
    pause: Duration,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    url: Url,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// In a row.
    failures: u32,
    /// It is left alone until then.
    away_until: Option<Instant>,
}

/// An answer with a file.
#[derive(Debug)]
pub(super) struct Found {
    response: reqwest::Response,
    /// What the server says of its size, bytes.
    pub(super) size: Option<u64>,
}

/// A client that cannot be made: a defect of this build, or no TLS.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Of the HTTP library.
    #[error("cannot make an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// Of the TLS library.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a server gave no file, in words.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct ServerFault(String);

// === impl Client ===

impl Client {
    pub(super) fn new(config: &DebuginfodConfig) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .user_agent(concat!("fleetprof-collector/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::custom(follow))
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.stall_timeout)
            .timeout(config.max_time)
            .build()?;
        let server = |url: &Url| Server { url: url.clone(), health: Mutex::default() };
        let servers = config.servers.iter().map(server).collect();
        Ok(Self { http, servers, pause: config.failure_pause })
    }

    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Whether any server is worth asking.
    pub(super) fn can_ask(&self, now: Instant) -> bool {
        self.servers.iter().any(|server| !server.is_away(now))
    }

    /// Asks for a file; `None` when the server does not have it.
    pub(super) async fn ask(
        &self,
        server: &Server,
        build_id: &BuildId,
        what: What,
    ) -> Result<Option<Found>, ServerFault> {
        let answer = self.http.get(server.address(build_id, what)).send().await;
        let response = answer.map_err(|error| ServerFault(in_words(error)))?;
        match response.status() {
            StatusCode::OK => {
                let size = response.content_length().or_else(|| stated_size(response.headers()));
                Ok(Some(Found { response, size }))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status => Err(ServerFault(format!("it answers {status}"))),
        }
    }

    /// Leaves a server alone for a while, longer each time; `None`: it works.
    pub(super) fn note(&self, server: &Server, fault: Option<&ServerFault>, now: Instant) {
        let mut health = server.health();
        let Some(_) = fault else {
            *health = Health::default();
            return;
        };
        // Requests that ran at the same time failed for the same reason.
        if health.away_until.is_none_or(|until| until <= now) {
            health.away_until = Some(after(now, backoff(self.pause, health.failures)));
            health.failures = health.failures.saturating_add(1);
        }
    }
}

/// Trusts whom the system trusts. Without any certificates only `http` works.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(%error, "some of the system's certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let before = attempt.previous();
    let was_secret = before.last().is_some_and(|url| url.scheme() == "https");
    if before.len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else if was_secret && attempt.url().scheme() != "https" {
        attempt.error("it leads from https to http")
    } else {
        attempt.follow()
    }
}

fn stated_size(headers: &HeaderMap) -> Option<u64> {
    headers.get(SIZE_HEADER)?.to_str().ok()?.trim().parse().ok()
}

/// The error with its causes; the address may have a password in it, and is named elsewhere.
fn in_words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

// === impl Server ===

impl Server {
    /// For people: without a password that the address may have.
    pub(super) fn name(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub(super) fn is_away(&self, now: Instant) -> bool {
        self.health().away_until.is_some_and(|until| until > now)
    }

    fn address(&self, build_id: &BuildId, what: What) -> Url {
        let mut url = self.url.clone();
        let before = url.path().trim_end_matches('/');
        let path = format!("{before}/buildid/{build_id}/{}", what.as_str());
        url.set_path(&path);
        url
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Found ===

impl Found {
    /// The next bytes; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<bytes::Bytes>, ServerFault> {
        self.response.chunk().await.map_err(|error| ServerFault(in_words(error)))
    }
}

// === impl What ===

impl What {
    /// As the protocol calls it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::DebugInfo => "debuginfo",
            Self::Executable => "executable",
        }
    }
}

#[cfg(test)]
mod tests;
