//! Bounds the memory for messages that are on their way in.
//!
//! In: requests, whose bytes are counted as they come. Out: the same requests; their sessions say when a message is whole,
//! and its bytes count no more (from there on they are the session's to account for). A stream for whose bytes there is no
//! room ends. It cannot wait for room: the others that hold it may be waiting for the same.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// Bytes of each message that are not counted. Most batches are smaller: their agents never meet the bound.
const FREE_BYTES: usize = 64 << 10;

/// A service whose streams together receive a bounded number of bytes at a time.
#[derive(Clone)]
pub struct Bounded<S> {
    inner: S,
    all: Arc<All>,
}

/// What has been received of a stream's next message. Dropped, it is forgotten.
#[derive(Clone)]
pub(super) struct Received(Arc<Part>);

struct All {
    bytes: AtomicUsize,
    max_bytes: usize,
}

struct Part {
    bytes: AtomicUsize,
    /// Those of them that `all` has, too.
    counted: AtomicUsize,
    all: Arc<All>,
}

/// The bytes of a stream, counted.
struct Counted {
    inner: Body,
    received: Received,
}

// === impl Bounded ===

impl<S> Bounded<S> {
    /// Streams of `inner` receive `max_bytes` at a time together.
    pub fn new(inner: S, max_bytes: usize) -> Self {
        Self { inner, all: Arc::new(All { bytes: AtomicUsize::new(0), max_bytes }) }
    }
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Bounded<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (bytes, counted) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let received = Received(Arc::new(Part { bytes, counted, all: Arc::clone(&self.all) }));
        let (mut parts, inner) = request.into_parts();
        parts.extensions.insert(received.clone());
        let body = Body::new(Counted { inner, received });
        self.inner.call(Request::from_parts(parts, body))
    }
}

// === impl Received ===

impl Received {
    /// The message is whole. What came of the next one with its last bytes is not counted: a frame of HTTP/2 at most.
    pub(super) fn is_whole(&self) {
        self.0.clear();
    }

    fn add(&self, bytes: usize) -> Result<(), Status> {
        let Part { bytes: all_bytes, counted, all } = &*self.0;
        // Only the stream's own task changes these two.
        let so_far = all_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let more = so_far.saturating_sub(FREE_BYTES).min(bytes);
        counted.fetch_add(more, Ordering::Relaxed);
        let before = all.bytes.fetch_add(more, Ordering::Relaxed);
        if more == 0 || before.saturating_add(more) <= all.max_bytes {
            return Ok(());
        }
        self.0.clear();
        Err(Status::resource_exhausted(
            "the collector receives too much at a time (--queue-memory); send again later",
        ))
    }
}

// === impl Part ===

impl Part {
    fn clear(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        let counted = self.counted.swap(0, Ordering::Relaxed);
        self.all.bytes.fetch_sub(counted, Ordering::Relaxed);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.clear();
    }
}

// === impl Counted ===

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            return Poll::Pending;
        };
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
            && let Err(status) = self.received.add(bytes.len())
        {
            self.inner = Body::empty();
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
