//! The address of a collector: text in, a URI that can be connected to out.

use std::{fmt, str::FromStr};

use thiserror::Error;
use tonic::transport::Uri;

/// `http://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CollectorUrl(Uri);

/// Text that is not the address of a collector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum UrlError {
    #[error("it is empty; write http://HOST:7171")]
    Empty,
    #[error("it is not a URL; write http://HOST:7171")]
    Malformed,
    #[error("it has no scheme; write http://{0}")]
    NoScheme(String),
    #[error("https is not supported by this version; write http://HOST:7171")]
    Tls,
    #[error("the scheme {0:?} is not supported; write http://HOST:7171")]
    Scheme(String),
    #[error("user names and passwords are not supported; write http://HOST:7171")]
    Credentials,
    #[error("it has a path; a collector's address is only http://{0}")]
    Path(String),
}

// === impl CollectorUrl ===

impl CollectorUrl {
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for CollectorUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(UrlError::Tls),
            Some(other) => return Err(UrlError::Scheme(other.to_owned())),
            None if text.starts_with('/') => return Err(UrlError::Malformed),
            None => return Err(UrlError::NoScheme(text.to_owned())),
        }
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        // The parser takes any digits for a port.
        let has_port = authority.as_str().len() > authority.host().len();
        if authority.host().is_empty() || has_port && authority.port_u16().is_none() {
            return Err(UrlError::Malformed);
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(UrlError::Path(authority.to_string()));
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0.authority().map_or("", |authority| authority.as_str()))
    }
}

#[cfg(test)]
mod tests;
