//! The messages of a stream as they come in, and a bound on the memory that they take until they are whole.
//!
//! In: the bytes of requests. Out: one message at a time, whose buffer goes with it. tonic's own reader keeps a
//! buffer as large as the largest message for as long as a stream lives: of thousands of agents that say something
//! once a minute, that is the most of a collector's memory. So [`Bounded`] takes the bytes away before tonic sees
//! them, and the stream's session reads them itself.
//!
//! A stream for whose bytes there is no room ends. It cannot wait for room: the others that hold it may be waiting
//! for the same.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Extensions, Request};
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// Bytes of each message that are not counted. Most batches are smaller: their agents never meet the bound.
const FREE_BYTES: usize = 64 << 10;
/// What gRPC puts before each message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;
/// Memory that is taken for a message because of its announced length alone.
const FIRST_BYTES: usize = 128 << 10;

/// A service whose streams together receive a bounded number of bytes at a time.
#[derive(Clone)]
pub struct Bounded<S> {
    inner: S,
    all: Arc<All>,
}

/// The messages of a stream. Dropped, what was received of the next one is forgotten.
pub(super) struct Messages {
    body: Body,
    all: Arc<All>,
    /// What has come and was not looked at yet.
    rest: Bytes,
    head: Vec<u8>,
    message: Option<Part>,
}

/// Of a message that is not whole yet.
struct Part {
    bytes: BytesMut,
    /// Of the whole message.
    length: usize,
    /// Bytes that `all` has, too.
    counted: usize,
}

struct All {
    bytes: AtomicUsize,
    limits: ReceiveLimits,
}

/// How much is received.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveLimits {
    /// Bytes of all streams' unfinished messages together.
    pub all_bytes: usize,
    /// Bytes of one message.
    pub message_bytes: usize,
}

/// From [`Bounded`] to the session.
#[derive(Clone)]
struct Handed(Arc<Mutex<Option<Messages>>>);

// === impl Bounded ===

impl<S> Bounded<S> {
    /// Streams of `inner` receive so much at a time together.
    pub fn new(inner: S, limits: ReceiveLimits) -> Self {
        Self { inner, all: Arc::new(All { bytes: AtomicUsize::new(0), limits }) }
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
        let (mut parts, body) = request.into_parts();
        let messages = Messages::new(body, Arc::clone(&self.all));
        parts.extensions.insert(Handed(Arc::new(Mutex::new(Some(messages)))));
        self.inner.call(Request::from_parts(parts, Body::empty()))
    }
}

// === impl Messages ===

impl Messages {
    fn new(body: Body, all: Arc<All>) -> Self {
        Self { body, all, rest: Bytes::new(), head: Vec::new(), message: None }
    }

    /// Those of a request that came through [`Bounded`].
    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
        let handed = extensions.get::<Handed>()?;
        handed.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The next message; `None` after the last. What has come of it is kept when this is dropped.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no message, or too much.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(bytes) = self.whole()? {
                let message = M::decode(bytes);
                let bad = |error| Status::internal(format!("a request cannot be read: {error}"));
                return message.map(Some).map_err(bad);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(status)) => return Err(status),
                None if self.head.is_empty() && self.message.is_none() => return Ok(None),
                None => return Err(Status::internal("the stream ended within a request")),
            }
        }
    }

    /// Takes from what has come; the message, when it is whole.
    fn whole(&mut self) -> Result<Option<Bytes>, Status> {
        if self.message.is_none() {
            let missing = HEAD_BYTES - self.head.len();
            self.head.extend(take(&mut self.rest, missing));
            if self.head.len() < HEAD_BYTES {
                return Ok(None);
            }
            let length = self.length()?;
            self.head = Vec::new();
            let bytes = BytesMut::with_capacity(length.min(FIRST_BYTES));
            self.message = Some(Part { bytes, length, counted: 0 });
        }
        let Some(part) = &mut self.message else { return Ok(None) };
        let more = take(&mut self.rest, part.length - part.bytes.len());
        self.all.add(part, more.len())?;
        part.bytes.extend_from_slice(&more);
        if part.bytes.len() < part.length {
            return Ok(None);
        }
        self.all.forget(part);
        Ok(self.message.take().map(|part| part.bytes.freeze()))
    }

    /// What the head says.
    fn length(&self) -> Result<usize, Status> {
        let mut head = self.head.as_slice();
        if head.get_u8() != 0 {
            return Err(Status::unimplemented("compressed requests are not taken"));
        }
        let (length, most) = (head.get_u32() as usize, self.all.limits.message_bytes);
        if length > most {
            let what = format!("a request of {length} bytes is over the limit of {most}");
            return Err(Status::out_of_range(what));
        }
        Ok(length)
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        if let Some(part) = &mut self.message {
            self.all.forget(part);
        }
    }
}

/// At most so many of the first bytes. What is left of nothing keeps no memory.
fn take(rest: &mut Bytes, most: usize) -> Bytes {
    if rest.len() <= most { std::mem::take(rest) } else { rest.split_to(most) }
}

// === impl All ===

impl All {
    fn add(&self, part: &mut Part, bytes: usize) -> Result<(), Status> {
        let so_far = part.bytes.len().saturating_add(bytes);
        let more = so_far.saturating_sub(FREE_BYTES).min(bytes);
        part.counted = part.counted.saturating_add(more);
        let before = self.bytes.fetch_add(more, Ordering::Relaxed);
        if more == 0 || before.saturating_add(more) <= self.limits.all_bytes {
            return Ok(());
        }
        Err(Status::resource_exhausted(
            "the collector receives too much at a time (--queue-memory); send again later",
        ))
    }

    fn forget(&self, part: &mut Part) {
        self.bytes.fetch_sub(std::mem::take(&mut part.counted), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use fleetprof_proto::v1::{Hello, PushRequest, push_request};
    use http_body_util::StreamBody;
    use tokio::{sync::mpsc, time::timeout};
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;

    type Sender = mpsc::UnboundedSender<Result<http_body::Frame<Bytes>, Status>>;

    const LIMITS: ReceiveLimits = ReceiveLimits { all_bytes: 300 << 10, message_bytes: 250 << 10 };

    fn all() -> Arc<All> {
        Arc::new(All { bytes: AtomicUsize::new(0), limits: LIMITS })
    }

    fn stream(all: &Arc<All>) -> (Sender, Messages) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let body = Body::new(StreamBody::new(UnboundedReceiverStream::new(receiver)));
        (sender, Messages::new(body, Arc::clone(all)))
    }

    fn request(host: &str) -> PushRequest {
        let hello = Hello { host: host.to_owned(), ..Hello::default() };
        PushRequest { message: Some(push_request::Message::Hello(hello)) }
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        [&[0], &length[..], message].concat()
    }

    fn send(sender: &Sender, bytes: &[u8]) {
        let frame = http_body::Frame::data(Bytes::copy_from_slice(bytes));
        sender.send(Ok(frame)).expect("read");
    }

    /// What is there now.
    async fn now(messages: &mut Messages) -> Option<Result<Option<PushRequest>, Status>> {
        timeout(std::time::Duration::from_millis(20), messages.next()).await.ok()
    }

    /// Check that messages come out as they were sent, however their bytes were cut, also when reading was
    /// given up in between, and that nothing of them stays counted.
    #[tokio::test]
    async fn messages_come_whole() {
        let sent: Vec<_> =
            ["", "a", &"b".repeat(200 << 10), "c"].iter().map(|host| request(host)).collect();
        let bytes: Vec<u8> = sent.iter().flat_map(|it| framed(&it.encode_to_vec())).collect();
        for size in [1, 4, 7, 16 << 10, bytes.len()] {
            let all = all();
            let (sender, mut messages) = stream(&all);
            let mut got = Vec::new();
            for chunk in bytes.chunks(size) {
                send(&sender, chunk);
                // Given up at once: what is there by then is taken.
                let mut next = pin!(messages.next::<PushRequest>());
                let polled = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
                if let Poll::Ready(message) = polled {
                    got.extend(message.expect("sound"));
                }
            }
            drop(sender);
            while let Some(message) = messages.next::<PushRequest>().await.expect("sound") {
                got.push(message);
            }
            assert_eq!(got, sent, "{size}");
            assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
        }
    }

    /// Check that what is no message, or too large, or cut off, is refused with its reason.
    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let large = framed(&vec![0; LIMITS.message_bytes + 1]);
        for (bytes, code, why) in [
            (&[1, 0, 0, 0, 0][..], tonic::Code::Unimplemented, "compressed"),
            (&large[..HEAD_BYTES], tonic::Code::OutOfRange, "over the limit of 256000"),
            (&framed(&[0xff])[..], tonic::Code::Internal, "cannot be read"),
            (&[0, 0, 0][..], tonic::Code::Internal, "ended within"),
            (&[0, 0, 0, 0, 9, 1][..], tonic::Code::Internal, "ended within"),
        ] {
            let (sender, mut messages) = stream(&all());
            send(&sender, bytes);
            drop(sender);
            let status = messages.next::<PushRequest>().await.expect_err(why);
            assert_eq!(status.code(), code);
            assert!(status.message().contains(why), "{status}");
        }
    }

    /// Check that streams that hold too much together end, that small messages always come through, and that
    /// there is room again once a stream is gone.
    #[tokio::test]
    async fn unfinished_messages_are_bounded() {
        let all = all();
        let begun = &framed(&vec![0; 240 << 10])[..220 << 10];
        let (first, mut holds) = stream(&all);
        send(&first, begun);
        assert!(now(&mut holds).await.is_none());
        let (second, mut ends) = stream(&all);
        let (third, mut small) = stream(&all);
        send(&second, begun);
        send(&third, &framed(&request("small").encode_to_vec()));
        let status = now(&mut ends).await.expect("answered").expect_err("no room");
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(now(&mut small).await.expect("there").is_ok());
        drop((holds, ends));
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
        let (fourth, mut holds) = stream(&all);
        send(&fourth, begun);
        assert!(now(&mut holds).await.is_none());
    }
}
