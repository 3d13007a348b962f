//! The way back to one agent.
//!
//! A client that does not read its answers holds a stream, and what its batches took of the memory
//! for ingest is long given back; but a stream that waits for it for ever would also hold up the end
//! of the collector.

use std::time::Duration;

use fleetprof_proto::v1::PushResponse;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How long a client may leave an answer unread.
#[derive(Clone, Copy, Debug)]
struct Patience {
    usually: Duration,
    /// Once the collector stops.
    at_the_end: Duration,
}

const PATIENCE: Patience =
    Patience { usually: Duration::from_secs(60), at_the_end: Duration::from_secs(2) };

/// Where answers go.
pub(super) struct Answers {
    sender: mpsc::Sender<Result<PushResponse, Status>>,
    stop: CancellationToken,
    patience: Patience,
}

// === impl Answers ===

impl Answers {
    /// `stop`: the collector is to end.
    pub(super) fn new(
        sender: mpsc::Sender<Result<PushResponse, Status>>,
        stop: CancellationToken,
    ) -> Self {
        Self { sender, stop, patience: PATIENCE }
    }

    /// Sends one answer, or the error that ends the stream.
    ///
    /// # Errors
    /// When the client is gone, or does not read.
    pub(super) async fn send(&self, answer: Result<PushResponse, Status>) -> Result<(), Status> {
        let Patience { usually, at_the_end } = self.patience;
        let stopping = async {
            self.stop.cancelled().await;
            sleep(at_the_end).await;
        };
        tokio::select! {
            biased;
            sent = self.sender.send(answer) => {
                sent.map_err(|_| Status::cancelled("the client does not read its answers any more"))
            }
            () = stopping => {
                Err(Status::unavailable("the collector stops, and the client does not read its answers"))
            }
            () = sleep(usually) => {
                Err(Status::deadline_exceeded(format!("the client has read no answer for {usually:?}")))
            }
        }
    }

    /// The client reads nothing any more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;
    use tonic::Code;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);

    /// Sends to a reader that does not read; a send that waits for ever is a failure, too.
    async fn send_in_vain(answers: &Answers) -> Status {
        let sent = timeout(Duration::from_secs(30), answers.send(Ok(PushResponse::default())));
        sent.await.expect("patience ends").expect_err("nobody reads")
    }

    type Reader = mpsc::Receiver<Result<PushResponse, Status>>;

    /// Answers with room for one, which is taken.
    async fn full(patience: Patience) -> (Answers, Reader, CancellationToken) {
        let (sender, reader) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let answers = Answers { patience, ..Answers::new(sender, stop.clone()) };
        answers.send(Ok(PushResponse::default())).await.expect("there is room");
        (answers, reader, stop)
    }

    // Check the patience with a client that does not read.
    #[tokio::test]
    async fn a_client_that_does_not_read_ends_its_stream() {
        let (answers, _reader, _stop) = full(Patience { usually: SHORT, at_the_end: LONG }).await;
        let status = send_in_vain(&answers).await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.message().contains("20ms"), "{status}");
    }

    // Check that the collector's end does not wait for it.
    #[tokio::test]
    async fn a_client_that_does_not_read_does_not_hold_up_the_end() {
        let (answers, _reader, stop) = full(Patience { usually: LONG, at_the_end: SHORT }).await;
        stop.cancel();
        let status = send_in_vain(&answers).await;
        assert_eq!(status.code(), Code::Unavailable);
    }

    // Check that one that reads late, also at the end, gets its answers.
    #[tokio::test]
    async fn a_client_that_reads_late_gets_its_answers() {
        let (answers, mut reader, stop) = full(Patience { usually: LONG, at_the_end: LONG }).await;
        stop.cancel();
        let late = async {
            sleep(SHORT).await;
            reader.recv().await.expect("the first answer").expect("no error");
            reader.recv().await.expect("the second answer")
        };
        let (sent, read) = tokio::join!(answers.send(Ok(PushResponse::default())), late);
        sent.expect("it was read");
        read.expect("no error");
    }

    // Check a client that is gone.
    #[tokio::test]
    async fn a_client_that_is_gone_ends_its_stream() {
        let (answers, reader, _stop) = full(PATIENCE).await;
        drop(reader);
        let status = answers.send(Ok(PushResponse::default())).await.expect_err("it is gone");
        assert_eq!(status.code(), Code::Cancelled);
    }
}
