//! One upload: a thread that may block reads and packs chunks, a pump paces them, the call sends them.
//!
//! At most three chunks are in memory here, whatever the size of the object.
//!
//! A server cannot tell a call that was cancelled from one that ended (tonic shows both as the end of
//! the stream): an object is whole when it has the announced size. So the last chunk leaves only once
//! the reader has seen the end of the object, and a failed upload is always short.

use std::{
    io::{self, Read},
    sync::atomic::AtomicU64,
    time::Duration,
};

use fleetprof_proto::{
    chunk::pack,
    ids::ObjectId,
    v1::{self, object_service_client::ObjectServiceClient},
};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{Upload, UploadError, collector};
use crate::stream::{client::Fault, shared::add};

/// A quarter of what the protocol allows: smaller steps pace more evenly.
const CHUNK_BYTES: usize = 256 << 10;

/// Spreads bytes over time.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: u64,
    next: Option<Instant>,
}

// === impl Rate ===

impl Rate {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), next: None }
    }

    /// When `bytes` may be sent, if they are asked for at `now`. Time that was not used is not saved up.
    fn slot(&mut self, bytes: usize, now: Instant) -> Instant {
        let start = self.next.map_or(now, |next| next.max(now));
        let nanos = (bytes as u128 * 1_000_000_000) / u128::from(self.bytes_per_second);
        self.next = Some(start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        start
    }
}

/// Uploads one object.
pub(super) async fn transfer(
    mut client: ObjectServiceClient<Channel>,
    id: &ObjectId,
    upload: Upload,
    rate: &mut Rate,
    stall: Duration,
    sent_bytes: &AtomicU64,
) -> Result<v1::UploadResponse, UploadError> {
    let header = v1::UploadHeader {
        id: Some(id.into()),
        format: upload.format.into(),
        size: upload.size,
        path: upload.path,
    };
    let (chunk_sender, chunks) = mpsc::channel(1);
    let (size, reader) = (upload.size, upload.reader);
    // Ends by itself when `chunks` is dropped: at its next chunk at the latest.
    spawn_blocking(move || read_chunks(reader, size, &chunk_sender));
    let (requests, receiver) = mpsc::channel(1);
    let pump = Pump { chunks, requests, stall, sent_bytes };
    let mut pump = Box::pin(pump.run(v1::upload_request::Message::Header(header), rate));
    let mut call = Box::pin(client.upload(ReceiverStream::new(receiver)));
    let response = tokio::select! {
        biased;
        pumped = &mut pump => {
            pumped?;
            timeout(stall, call).await.map_err(|_| UploadError::Stalled(stall))?
        }
        response = &mut call => response,
    };
    response.map(tonic::Response::into_inner).map_err(|status| collector(&Fault::from(status)))
}

struct Pump<'a> {
    chunks: mpsc::Receiver<Result<Vec<u8>, UploadError>>,
    requests: mpsc::Sender<v1::UploadRequest>,
    stall: Duration,
    sent_bytes: &'a AtomicU64,
}

// === impl Pump ===

impl Pump<'_> {
    /// Sends the header and all chunks. Ends without an error, but also without an end, when the
    /// call has ended: its status says more.
    async fn run(
        mut self,
        header: v1::upload_request::Message,
        rate: &mut Rate,
    ) -> Result<(), UploadError> {
        self.send(header).await?;
        while let Some(chunk) = self.chunk().await? {
            sleep_until(rate.slot(chunk.len(), Instant::now())).await;
            let bytes = chunk.len() as u64;
            if bytes == 0 {
                // Of an empty object: the look past its end was all there was to do.
                continue;
            }
            self.send(v1::upload_request::Message::Packed(chunk)).await?;
            add(self.sent_bytes, bytes);
        }
        Ok(())
    }

    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, UploadError> {
        let chunk = timeout(self.stall, self.chunks.recv()).await;
        chunk.map_err(|_| UploadError::Stalled(self.stall))?.transpose()
    }

    async fn send(&self, message: v1::upload_request::Message) -> Result<(), UploadError> {
        let request = v1::UploadRequest { message: Some(message) };
        match timeout(self.stall, self.requests.send(request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => Err(UploadError::Stalled(self.stall)),
        }
    }
}

/// Reads `size` bytes in chunks and packs them. The last one, or an error, comes after a look past the end.
fn read_chunks(
    mut reader: Box<dyn Read + Send>,
    size: u64,
    chunks: &mpsc::Sender<Result<Vec<u8>, UploadError>>,
) {
    let mut remaining = size;
    loop {
        let want = remaining.min(CHUNK_BYTES as u64);
        remaining -= want;
        let chunk = read_exactly(&mut reader, want, remaining == 0);
        let chunk = chunk.and_then(|chunk| chunk.ok_or(UploadError::Size(size)));
        let chunk = chunk.and_then(|chunk| match chunk.as_slice() {
            [] => Ok(chunk),
            bytes => Ok(pack(bytes)?),
        });
        let failed = chunk.is_err();
        if chunks.blocking_send(chunk).is_err() || failed || remaining == 0 {
            return;
        }
    }
}

/// `None` when there are fewer bytes, or more after the last ones.
fn read_exactly(
    reader: &mut dyn Read,
    want: u64,
    last: bool,
) -> Result<Option<Vec<u8>>, UploadError> {
    let chunk = read_up_to(reader, want)?;
    let whole = chunk.len() as u64 == want && (!last || read_up_to(reader, 1)?.is_empty());
    Ok(whole.then_some(chunk))
}

fn read_up_to(reader: &mut dyn Read, want: u64) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::new();
    reader.take(want).read_to_end(&mut chunk)?;
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_time_and_idle_time_is_not_saved_up() {
        let mut rate = Rate::new(1000);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(rate.slot(500, start), start);
        assert_eq!(rate.slot(500, start), at(500));
        assert_eq!(rate.slot(1, at(5000)), at(5000));
        assert_eq!(rate.slot(1, at(5000)), at(5001));
    }
}
