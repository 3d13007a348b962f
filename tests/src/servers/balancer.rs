//! HAProxy as a load balancer that knows nothing of HTTP/2: connections in, connections to collectors out.

use std::{fs, path::Path, time::Duration};

use crate::{http, machine, process, process::Running, wait};

/// How long a start may take.
const START: Duration = Duration::from_secs(20);
/// Where it is when it is missing.
const REMEDY: &str = "run scripts/setup.sh test (Debian: haproxy)";

/// A load balancer before some ports of this host. Asks `/readyz` of each four times a second.
#[derive(Debug)]
pub struct Balancer {
    port: u16,
    _running: Running,
}

// === impl Balancer ===

impl Balancer {
    /// Starts one with its files in `dir`, and waits until somebody behind it is ready.
    ///
    /// # Panics
    /// When `haproxy` is missing, or nobody is ready in time (with the tail of its log).
    pub fn start(dir: &Path, backends: &[u16]) -> Self {
        let port = machine::free_port();
        let servers = backends.iter().map(|backend| {
            format!("  server c{backend} 127.0.0.1:{backend} check inter 250ms fall 2 rise 1 on-marked-down shutdown-sessions\n")
        });
        let config = format!(
            "global\n  maxconn 4096\n  nbthread 1\ndefaults\n  mode tcp\n  balance leastconn\n  option redispatch\n  \
             timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  timeout check 2s\n\
             listen collectors\n  bind 127.0.0.1:{port}\n  option httpchk GET /readyz\n{}",
            servers.collect::<String>()
        );
        let file = dir.join("haproxy.cfg");
        fs::write(&file, config).expect("a configuration");
        let mut command = process::command(machine::tool("haproxy", REMEDY));
        command.arg("-db").arg("-f").arg(&file);
        let mut running =
            Running::daemon("the load balancer (haproxy)", &mut command, &dir.join("haproxy.log"));
        let ready = wait::within(START, || {
            running.check_alive();
            (http::status(port, "/readyz") == Some(200)).then_some(())
        });
        assert!(ready.is_some(), "nobody is ready behind the load balancer:\n{}", running.tail());
        Self { port, _running: running }
    }

    /// Address for agents and clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
