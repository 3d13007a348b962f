//! What a peer says first. A server of HTTP/2 must begin with a SETTINGS frame (RFC 9113, 3.4): who
//! never did is no collector, however the connection ends. What an error says does not tell: it
//! depends on who hangs up first.
//!
//! In: connections. Out: the same connections, and a [`Greeting`]. Changes no byte.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tonic::transport::Uri;
use tower::{BoxError, Service, ServiceExt as _, service_fn};

/// Bytes that tell: the head of a frame.
const HEAD_BYTES: usize = 9;
/// The type of a SETTINGS frame, and the length of each setting in it.
const SETTINGS: u8 = 4;
const SETTING_BYTES: u32 = 6;

/// How a peer begins; what tells more is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Greeting {
    /// Not at all.
    Silence,
    /// In a language that is not known here.
    Foreign,
    /// As a web server that does not know HTTP/2.
    Http1,
    /// As a collector does.
    Http2,
}

/// The best greeting on any connection of a client. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicU8>);

/// A connection that is listened to.
struct Overheard {
    stream: TcpStream,
    /// The first bytes that came.
    head: Vec<u8>,
    heard: Heard,
}

// === impl Greeting ===

impl Greeting {
    const ALL: [Self; 4] = [Self::Silence, Self::Foreign, Self::Http1, Self::Http2];

    /// What the first bytes of a peer are, as far as they came.
    fn of(head: &[u8]) -> Self {
        if head.is_empty() {
            return Self::Silence;
        }
        if head.starts_with(b"HTTP/") {
            return Self::Http1;
        }
        let Some([l2, l1, l0, kind, flags, stream @ ..]) = head.first_chunk::<HEAD_BYTES>() else {
            return Self::Foreign;
        };
        let length = u32::from_be_bytes([0, *l2, *l1, *l0]);
        // Of the connection as a whole, and no acknowledgement of ours.
        let whole = u32::from_be_bytes(*stream) << 1 == 0 && flags & 1 == 0;
        if *kind == SETTINGS && whole && length.is_multiple_of(SETTING_BYTES) {
            Self::Http2
        } else {
            Self::Foreign
        }
    }

    /// What is wrong with it; `None` for a collector's.
    pub(super) fn complaint(self) -> Option<&'static str> {
        match self {
            Self::Silence => Some("it hangs up without a word"),
            Self::Foreign => Some("it does not speak HTTP/2"),
            Self::Http1 => Some("it speaks HTTP/1 only"),
            Self::Http2 => None,
        }
    }
}

// === impl Heard ===

impl Heard {
    pub(super) fn greeting(&self) -> Greeting {
        let index = usize::from(self.0.load(Ordering::Acquire));
        Greeting::ALL.get(index).copied().unwrap_or(Greeting::Silence)
    }

    /// Connects as `connector` does, and listens.
    pub(super) fn connector(
        &self,
        connector: HttpConnector,
    ) -> impl Service<
        Uri,
        Response = TokioIo<impl AsyncRead + AsyncWrite + Send + Unpin + 'static>,
        Error = BoxError,
        Future: Send,
    > + Send
    + 'static {
        let heard = self.clone();
        service_fn(move |uri: Uri| {
            let (connector, heard) = (connector.clone(), heard.clone());
            async move {
                let stream = connector.oneshot(uri).await.map_err(BoxError::from)?.into_inner();
                Ok(TokioIo::new(Overheard { stream, head: Vec::new(), heard }))
            }
        })
    }

    fn note(&self, greeting: Greeting) {
        self.0.fetch_max(greeting as u8, Ordering::AcqRel);
    }
}

// === impl Overheard ===

impl Overheard {
    fn listen(&mut self, bytes: &[u8]) {
        let missing = HEAD_BYTES.saturating_sub(self.head.len());
        if missing > 0 && !bytes.is_empty() {
            self.head.extend(bytes.iter().take(missing));
            self.heard.note(Greeting::of(&self.head));
        }
    }

    /// After a write that failed nobody reads any more, but what the peer said before it hung up is
    /// there. Asked of the kernel: the runtime may not have noticed yet that there is something.
    fn listen_to_the_rest<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(&written, Poll::Ready(Err(_))) {
            let mut bytes = [0; HEAD_BYTES];
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            // An error here means that there is nothing to hear; the caller has the one that counts.
            let peeked = recv(&self.stream, &mut bytes, flags).map_or(0, |(_, length)| length);
            self.listen(&bytes[..peeked.min(HEAD_BYTES)]);
        }
        written
    }
}

impl AsyncRead for Overheard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.listen(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.listen_to_the_rest(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.listen_to_the_rest(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
