//! PostgreSQL: a cluster of its own in a temporary folder.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    machine,
    process::{self, Running},
    wait,
};

/// How long a start may take, recovery after a crash included.
const START: Duration = Duration::from_secs(60);
/// How long the end of a crash may take.
const CRASH: Duration = Duration::from_secs(20);
const USER: &str = "fleetprof";
const REMEDY: &str = "install Debian's `postgresql`, as scripts/setup.sh test does";

/// A PostgreSQL server that asks nobody for a password.
#[derive(Debug)]
pub struct Postgres {
    // Before its folder, which goes when it has ended.
    running: Option<Running>,
    dir: TempDir,
    port: u16,
    programs: PathBuf,
    owner: Option<Account>,
}

/// It refuses to run as root.
#[derive(Clone, Copy, Debug)]
struct Account {
    uid: u32,
    gid: u32,
}

// === impl Postgres ===

impl Postgres {
    /// Makes a cluster and starts it. As root it runs as `postgres`, or as `nobody`.
    ///
    /// # Panics
    /// When it is not installed, or not ready in time (with the tail of its log).
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("fleetprof-tests-postgres-").tempdir();
        let dir = dir.expect("a temporary folder");
        let owner = rustix::process::geteuid().is_root().then(Account::find);
        if let Some(Account { uid, gid }) = owner {
            chown(dir.path(), Some(uid), Some(gid)).expect("root gives its files away");
        }
        let port = machine::free_port();
        let mut postgres = Self { running: None, dir, port, programs: programs(), owner };
        let mut init = postgres.command("initdb");
        init.args(["--username", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        init.args(["--no-instructions", "-D"]).arg(postgres.data());
        process::run(&mut init, START).success("initdb");
        postgres.launch();
        postgres.wait_ready();
        postgres
    }

    /// Starts it again, on the same port with the same data, and does not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c"]);
        command.arg(format!("unix_socket_directories={}", self.dir.path().display()));
        let log = self.dir.path().join("postgres.log");
        self.running = Some(Running::daemon("the catalog (postgres)", &mut command, &log));
    }

    /// Waits until it takes connections.
    ///
    /// # Panics
    /// When it does not in time, or the process ends, with the tail of its log.
    pub fn wait_ready(&mut self) {
        let port = self.port;
        let (ready, arguments) = (self.programs.join("pg_isready"), ["-q", "-h", "127.0.0.1"]);
        let Some(running) = &mut self.running else { panic!("the catalog is not running") };
        let is_ready = wait::within(START, || {
            running.check_alive();
            // Cheaper than a program, and mostly enough.
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
            let mut command = Command::new(&ready);
            command.args(arguments).args(["-U", USER, "-p", &port.to_string()]);
            command.status().is_ok_and(|status| status.success()).then_some(())
        });
        if is_ready.is_none() {
            panic!("the catalog was not ready after {START:?}:\n{}", running.tail());
        }
    }

    /// Ends it as a crash does: at once, nothing written, and the next start recovers from its log. Not
    /// SIGKILL, which would leave its sessions to themselves for a moment, and their memory in the way of the
    /// next start.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.signal(Signal::QUIT);
            running.wait(CRASH);
        }
    }

    /// A database, as the collector's `--catalog` wants it. There is one from the start, empty.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    /// A database more, empty.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn database(&self, name: &str) -> String {
        let mut command = self.command("createdb");
        command.args(["-h", "127.0.0.1", "-U", USER, "-p", &self.port.to_string(), name]);
        process::run(&mut command, START).success("createdb");
        format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs SQL in the first database and gives what it answers, columns separated by `|`.
    ///
    /// # Panics
    /// When it fails.
    pub fn query(&self, sql: &str) -> String {
        let mut command = self.command("psql");
        command.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql]);
        process::run(&mut command, START).success("psql")
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// One of its programs, as its owner; it dies with the thread that starts it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(Account { uid, gid }) = self.owner {
            command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string()]);
            command.arg("--clear-groups");
        }
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.programs.join(program));
        command.process_group(0).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    /// In order: its sessions end with it, and leave the folder alone.
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            running.signal(Signal::QUIT);
            wait::within(CRASH, || running.ended());
        }
    }
}

// === impl Account ===

impl Account {
    /// `postgres`, which comes with the package, else `nobody`.
    fn find() -> Self {
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let of = |name: &str| {
            let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2).map(str::parse);
            Some(Self { uid: fields.next()?.ok()?, gid: fields.next()?.ok()? })
        };
        of("postgres").or_else(|| of("nobody")).unwrap_or(Self { uid: 65534, gid: 65534 })
    }
}

/// Another of the server's programs, such as `pgbench`.
///
/// # Panics
/// When PostgreSQL is not installed.
pub(crate) fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// The folder with the server's programs: the newest version of Debian's, else that of `initdb` on `PATH`.
fn programs() -> PathBuf {
    let is_it = |dir: &Path| {
        ["initdb", "postgres", "pg_isready"].iter().all(|name| dir.join(name).is_file())
    };
    let version = |dir: &PathBuf| -> Option<u32> {
        dir.parent()?.file_name()?.to_str()?.split('.').next()?.parse().ok()
    };
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|entry| entry.path().join("bin")).filter(|dir| is_it(dir));
    let path = env::var_os("PATH").unwrap_or_default();
    debian
        .max_by_key(version)
        .or_else(|| env::split_paths(&path).find(|dir| is_it(dir)))
        .unwrap_or_else(|| panic!("PostgreSQL is missing: {REMEDY}"))
}
