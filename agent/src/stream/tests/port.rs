//! A port that stays ours while nothing listens on it, so that tests running beside do not get it.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

pub(super) struct Port {
    pub(super) address: SocketAddr,
    /// Bound, never listening: connections are refused until someone else listens.
    _guard: TcpSocket,
}

impl Port {
    pub(super) fn reserve() -> Self {
        let guard = bound("127.0.0.1:0".parse().unwrap());
        Self { address: guard.local_addr().unwrap(), _guard: guard }
    }

    pub(super) fn listen(&self) -> TcpListener {
        bound(self.address).listen(128).unwrap()
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
