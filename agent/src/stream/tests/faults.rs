//! What is there instead of a collector gets its true name.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};
use tonic::Code;

use super::*;
use crate::stream::client::{Cause, endpoint};

/// Tries to open one stream.
async fn cause_at(url: &str) -> Cause {
    let half_a_second = Duration::from_millis(500);
    let tuning = Tuning { connect_timeout: half_a_second, keepalive: half_a_second, ..QUICK };
    let (_phase, phase) = watch::channel(Phase::Run);
    let config = ClientConfig {
        endpoint: endpoint(url, &tuning).unwrap(),
        url: url.into(),
        host: String::new(),
        instance: InstanceId::random(),
        tuning,
    };
    let limits = outbox::OutboxLimits {
        memory_bytes: 0,
        transit_bytes: 0,
        spool_bytes: None,
        spool_after: PATIENCE,
        spool_retry: PATIENCE,
        in_flight_batches: 1,
        in_flight_bytes: 1,
    };
    let shared = Arc::new(Shared::new(limits, Arc::default()));
    let mut client = Client::new(config, shared, None, Arc::default(), Arc::default(), phase);
    let fault = client.connection().await.unwrap_err();
    eprintln!("{url}: {fault:?}");
    assert!(!fault.detail.is_empty());
    fault.cause
}

/// Answers every connection with these bytes once it was spoken to; none = stays silent.
async fn serve(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut peer, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while let Ok(1..) = peer.read(&mut request).await {
                    if let Some(answer) = answer {
                        let _peer_may_be_gone = peer.write_all(answer).await;
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(cause_at(&url).await, Cause::Refused);
}

#[tokio::test]
async fn an_unknown_name_is_not_resolved() {
    assert_eq!(cause_at("http://no-such-host.invalid:7171").await, Cause::Unresolved);
}

#[tokio::test]
async fn a_web_server_does_not_speak_grpc() {
    let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(cause_at(&serve(Some(answer)).await).await, Cause::NotGrpc);
}

#[tokio::test]
async fn another_protocol_is_not_grpc() {
    assert_eq!(cause_at(&serve(Some(b"SSH-2.0-OpenSSH_9.2\r\n")).await).await, Cause::NotGrpc);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    assert_eq!(cause_at(&serve(None).await).await, Cause::Timeout);
}

#[tokio::test]
async fn an_http2_server_without_the_service_is_no_collector() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    assert!(matches!(cause_at(&url).await, Cause::NotCollector | Cause::NotGrpc));

    // A gRPC server of something else.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = tonic::service::Routes::default();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_routes(other);
    tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
    assert_eq!(cause_at(&url).await, Cause::NotCollector);
}

#[tokio::test]
async fn a_collector_says_itself_what_is_wrong() {
    for (code, cause) in [
        (Code::Unavailable, Cause::Busy),
        (Code::ResourceExhausted, Cause::Busy),
        (Code::Unimplemented, Cause::NotCollector),
        (Code::PermissionDenied, Cause::Denied),
        (Code::Unauthenticated, Cause::Denied),
        (Code::Internal, Cause::Other),
    ] {
        let collector = Collector::start();
        collector.look(|books| books.refuse_calls.push_back(code));
        assert_eq!(cause_at(&format!("http://{}", collector.address)).await, cause);
    }
}

/// A connection through this to the collector, which ends or falls silent once the Hello is through.
async fn wire(listener: TcpListener, collector: &Collector, silent: bool) {
    let (mut agent, _) = listener.accept().await.unwrap();
    let mut server = tokio::net::TcpStream::connect(collector.address).await.unwrap();
    let hello = || collector.look(|books| (!books.hellos.is_empty()).then_some(()));
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut agent, &mut server) => panic!("ended too early"),
        () = eventually("hello", hello) => {}
    }
    // The answer to the call is on its way; let it through.
    let relay = tokio::io::copy_bidirectional(&mut agent, &mut server);
    let _still_open = timeout(Duration::from_millis(200), relay).await;
    if silent {
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_first_word_was_the_collector_ending() {
    let collector = Collector::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (cause, ()) = tokio::join!(cause_at(&url), wire(listener, &collector, false));
    assert_eq!(cause, Cause::Ended);
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed_by_pings() {
    let collector = Collector::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::select! {
        // The HTTP/2 layer says no more than that.
        cause = cause_at(&url) => assert_eq!(cause, Cause::Ended),
        () = wire(listener, &collector, true) => {}
    }
}

#[tokio::test]
async fn a_refused_call_is_tried_again() {
    let collector = Collector::start();
    collector.look(|books| books.refuse_calls.extend([Code::Unavailable, Code::Unimplemented]));
    let mut agent = Agent::start(collector.address);
    agent.submit(3, 10);
    agent.until_delivered(3).await;
    assert_eq!(agent.handle.status().connection_faults_total, 2);
}
