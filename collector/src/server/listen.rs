//! One port for everything: HTTP/1.1 and HTTP/2 (also as gRPC, without TLS), told apart by how a
//! connection begins. Idle and dead connections cost little and end.

use std::{io, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long a client may take to send the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent HTTP/2 peer is asked for a sign of life, and how long it has to give it: an
/// agent whose host lost power must not stay "connected".
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests on one HTTP/2 connection at a time.
const MAX_REQUESTS: u32 = 256;
/// Bytes of a request that come before somebody reads them, which is memory of each agent whose batches wait.
const REQUEST_WINDOW: u32 = 64 << 10;
/// Pause after the system refuses a connection, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When and how serving ends.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    /// Fires when no new connections are to be accepted.
    pub stop: CancellationToken,
    /// How long requests may take to finish after that.
    pub patience: Duration,
}

pub(super) async fn serve(
    listener: TcpListener,
    router: axum::Router,
    max_connections: usize,
    ends: Ends,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let builder = builder();
    loop {
        let next = tokio::select! {
            next = accept(&listener, &slots) => next,
            () = ends.stop.cancelled() => break,
        };
        let (stream, slot) = match next {
            Ok(next) => next,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(error, "connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    drop(router);
    if timeout(ends.patience, graceful.shutdown()).await.is_err() {
        warn!("some requests did not finish in time");
    }
}

/// The next connection, when there is room for one: until then, the kernel queues them.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(REQUEST_WINDOW)
        .max_concurrent_streams(MAX_REQUESTS);
    builder
}
