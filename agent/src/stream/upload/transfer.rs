//! One upload: a thread that may block reads and packs chunks, a pump paces them, the call sends them.
//!
//! Before that the collector is asked what it needs: nothing is sent that it has, that has no room, or that
//! came before an earlier upload broke off, here or on another host, if this file begins the same.
//!
//! At most three chunks are in memory here, whatever the size of the object.
//!
//! A server cannot tell a call that was cancelled from one that ended (tonic shows both as the end of
//! the stream): an object is whole when it has the announced size. So the last chunk leaves only once
//! the reader has seen the end of the object, and a failed upload is always short.

use std::{
    io::{self, Read, SeekFrom},
    sync::atomic::AtomicU64,
    thread,
    time::Duration,
};

use fleetprof_proto::{
    chunk::pack,
    v1::{self, object_service_client::ObjectServiceClient},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, transport::Channel};

use super::{ReadSeek, Upload, UploadError, refused};
use crate::stream::shared::add;

/// A quarter of what the protocol allows: smaller steps pace more evenly.
const CHUNK_BYTES: usize = 256 << 10;
/// Pause after each chunk that is only compared: it shall not take a whole CPU.
const COMPARING_PAUSE: Duration = Duration::from_millis(1);

/// What an upload is about.
pub(super) struct Transfer<'a> {
    pub(super) rate: &'a mut Rate,
    pub(super) stall: Duration,
    pub(super) sent_bytes: &'a AtomicU64,
}

/// The first bytes of an object, which the collector has.
struct Kept {
    bytes: u64,
    sha256: Vec<u8>,
}

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

/// Uploads one object. Answers how many of its bytes were sent; `None` when the collector has it.
pub(super) async fn transfer(
    mut client: ObjectServiceClient<Channel>,
    upload: Upload,
    way: Transfer<'_>,
) -> Result<Option<u64>, UploadError> {
    let Transfer { rate, stall, sent_bytes } = way;
    let Upload { id, format, size, path, level, reader, companions: _ } = upload;
    let header = v1::UploadHeader {
        id: Some((&id).into()),
        format: format.into(),
        size,
        path,
        level: level.unwrap_or_default().into(),
        ..v1::UploadHeader::default()
    };
    let prepared = prepare(&mut client, header.clone(), stall).await?;
    if prepared.duplicate {
        return Ok(None);
    }
    let kept = Kept { bytes: prepared.kept, sha256: prepared.kept_sha256 };
    // A thread that may block; what is compared is bounded by what was sent once.
    let compared = spawn_blocking(move || go_to_end_of(reader, &kept).map(|it| (it, kept)));
    let compared = timeout(stall, compared).await.map_err(|_| UploadError::Stalled(stall))?;
    let ((reader, left_out), kept) = compared.map_err(io::Error::other)??;
    let header = if left_out == 0 {
        header
    } else {
        v1::UploadHeader { kept: left_out, kept_sha256: kept.sha256, ..header }
    };
    let rest = size.saturating_sub(left_out);
    let (chunk_sender, chunks) = mpsc::channel(1);
    // Ends by itself when `chunks` is dropped: at its next chunk at the latest.
    spawn_blocking(move || read_chunks(reader, rest, &chunk_sender));
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
    let response = response.map_err(refused)?.into_inner();
    Ok((!response.duplicate).then_some(rest))
}

/// Asks what of an object the collector needs. One that does not know the question gets everything.
async fn prepare(
    client: &mut ObjectServiceClient<Channel>,
    header: v1::UploadHeader,
    stall: Duration,
) -> Result<v1::PrepareUploadResponse, UploadError> {
    let request = v1::PrepareUploadRequest { header: Some(header) };
    let answer = timeout(stall, client.prepare(request)).await;
    match answer.map_err(|_| UploadError::Stalled(stall))? {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if status.code() == Code::Unimplemented => {
            Ok(v1::PrepareUploadResponse::default())
        }
        Err(status) => Err(refused(status)),
    }
}

/// Reads as much as the collector has. If it is the same, goes on behind it, else at the start again;
/// answers where that is.
fn go_to_end_of(
    mut reader: Box<dyn ReadSeek>,
    kept: &Kept,
) -> io::Result<(Box<dyn ReadSeek>, u64)> {
    let (mut hasher, mut left) = (Sha256::new(), kept.bytes);
    while left > 0 {
        let chunk = read_up_to(&mut reader, left.min(CHUNK_BYTES as u64))?;
        if chunk.is_empty() {
            break;
        }
        hasher.update(&chunk);
        left -= chunk.len() as u64;
        thread::sleep(COMPARING_PAUSE);
    }
    let is_same = left == 0 && kept.sha256 == hasher.finalize().as_slice();
    if kept.bytes > 0 && !is_same {
        reader.seek(SeekFrom::Start(0))?;
        return Ok((reader, 0));
    }
    Ok((reader, kept.bytes))
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
    mut reader: Box<dyn ReadSeek>,
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
