//! The collector's address, checked before anything starts. No I/O.

use thiserror::Error;
use tonic::transport::{Endpoint, Uri};

use crate::stream::Tuning;

/// An address that cannot be a collector's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Not a URL.
    #[error("the collector's URL {url:?} is not one ({reason}); give it as http://HOST:7171")]
    Malformed {
        /// As given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// https.
    #[error(
        "the collector's URL {0:?} asks for TLS, which this version does not speak; \
         give it as http://HOST:7171"
    )]
    Tls(String),
}

/// Checks the address and sets how connections to it behave.
pub(in crate::stream) fn endpoint(url: &str, tuning: &Tuning) -> Result<Endpoint, EndpointError> {
    let malformed =
        |reason: &str| EndpointError::Malformed { url: url.into(), reason: reason.into() };
    let uri: Uri = url.parse().map_err(|error| malformed(&format!("{error}")))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(EndpointError::Tls(url.into())),
        Some(_) => return Err(malformed("its scheme is not http")),
        None => return Err(malformed("it has no scheme")),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(malformed("it has no host"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(malformed("it has a path"));
    }
    let agent = concat!("fleetprof-agent/", env!("CARGO_PKG_VERSION"));
    let endpoint = Endpoint::from(uri)
        .user_agent(agent)
        .map_err(|error| malformed(&error.to_string()))?
        .connect_timeout(tuning.connect_timeout)
        .http2_keep_alive_interval(tuning.keepalive)
        .keep_alive_timeout(tuning.keepalive)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_url_with_a_host_is_taken() {
        for url in ["http://localhost:7171", "http://[::1]:7171/", "http://collector"] {
            assert!(endpoint(url, &Tuning::default()).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_a_collector_is_refused_with_a_remedy() {
        for url in
            ["", "localhost", "localhost:7171", "ftp://host", "http://host/path", "http://h/?q"]
        {
            let error = endpoint(url, &Tuning::default()).unwrap_err();
            assert!(matches!(error, EndpointError::Malformed { .. }), "{url}: {error}");
            assert!(error.to_string().contains("http://HOST:7171"), "{error}");
        }
        let error = endpoint("https://host:7171", &Tuning::default()).unwrap_err();
        assert_eq!(error, EndpointError::Tls("https://host:7171".into()));
    }
}
