//! A PostgreSQL server of one's own: made for a test process, reached by a socket in a folder of its
//! own, gone with the process, however that ends.
//!
//! Needs nothing but the standard library and `tempfile`, so that the tests of single crates compile
//! this same file (`#[path]`) instead of everything that the end-to-end tests need.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a server may take to start, or to be gone.
const BOUND: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

/// A server, with its data on disk synced as in production.
#[derive(Debug)]
pub struct Postgres {
    /// Programs of the newest PostgreSQL that is installed.
    bin: PathBuf,
    home: TempDir,
    server: Mutex<Option<Child>>,
    databases: AtomicU32,
    /// Closed when this process ends in any way; the janitor then cleans up.
    janitor: Option<(Child, ChildStdin)>,
}

static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);

// === impl Postgres ===

impl Postgres {
    /// The one for all tests of this process; each takes a database of its own.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Makes and starts one.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Self {
        let home = TempDir::with_prefix("fleetprof-postgres-").expect("a temporary folder");
        // PostgreSQL refuses to run as root.
        if is_root() {
            let (user, group) = unprivileged();
            chown(home.path(), Some(user), Some(group)).expect("the folder is ours to give away");
        }
        let postgres = Self {
            bin: programs(),
            janitor: Some(janitor(home.path())),
            home,
            server: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        let mut initdb = postgres.program("initdb");
        initdb.args(["--auth=trust", "--username=fleetprof", "--encoding=UTF8", "--no-locale"]);
        initdb.args(["--no-sync", "--pgdata"]).arg(postgres.data());
        succeed("initdb", &mut initdb);
        postgres.restart();
        postgres
    }

    /// Makes an empty database and gives its URL.
    ///
    /// # Panics
    /// When the server does not make it.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = self.program("createdb");
        createdb.args(["--username=fleetprof", &name, "--host"]).arg(self.home.path());
        succeed("createdb", &mut createdb);
        format!("postgres://fleetprof@localhost/{name}?host={}", self.home.path().display())
    }

    /// Starts the server, after [`Postgres::kill`].
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn restart(&self) {
        let log = self.home.path().join("log");
        let end = Instant::now() + BOUND;
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let running = match server.as_mut() {
                Some(child) => child.try_wait().expect("the child is ours").is_none(),
                None => false,
            };
            // A server that was killed may still have the memory that the next one wants: again.
            if !running {
                *server = Some(self.serve(&log));
            }
            let mut ready = self.program("pg_isready");
            ready.args(["--quiet", "--dbname=postgres", "--host"]).arg(self.home.path());
            if running && ready.status().expect("pg_isready runs").success() {
                return;
            }
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < end, "PostgreSQL does not start:\n{}", said());
            thread::sleep(STEP);
        }
    }

    /// SIGKILL to the server and all of its processes, as when the machine loses power.
    ///
    /// # Panics
    /// When they do not go.
    pub fn kill(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut child) = server.take() else { return };
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let backends = fs::read_to_string(children).unwrap_or_default();
        child.kill().expect("the server is ours to kill");
        child.wait().expect("the server is ours to wait for");
        let mut kill = Command::new("kill");
        // Those that noticed in the meantime are gone: no error.
        kill.arg("-KILL").args(backends.split_whitespace()).stderr(Stdio::null());
        kill.status().expect("kill runs");
        let end = Instant::now() + BOUND;
        for backend in backends.split_whitespace() {
            while Path::new("/proc").join(backend).join("exe").exists() {
                assert!(Instant::now() < end, "a process of PostgreSQL does not go");
                thread::sleep(STEP);
            }
        }
    }

    fn serve(&self, log: &Path) -> Child {
        let file = fs::File::options().create(true).append(true).open(log).expect("a log");
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.home.path());
        for setting in
            ["listen_addresses=", "fsync=on", "shared_buffers=32MB", "max_connections=100"]
        {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle"));
        command.stderr(file).spawn().expect("PostgreSQL can be started")
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        // The folder that tests run in may not be readable for the other user.
        command.current_dir(self.home.path()).env("LC_ALL", "C");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        if let Some((mut janitor, stdin)) = self.janitor.take() {
            drop(stdin);
            if let Err(error) = janitor.wait() {
                eprintln!("waiting for the janitor of PostgreSQL failed: {error}");
            }
        }
    }
}

/// Waits in a process of its own until this one ends, then kills the server and removes its folder. A
/// static is never dropped, and a signal to die with a thread would come when one test ends.
fn janitor(home: &Path) -> (Child, ChildStdin) {
    const SCRIPT: &str = r#"trap '' INT TERM
        cat >/dev/null
        read -r pid 2>/dev/null <"$1/data/postmaster.pid" &&
            grep -qsF "$1" "/proc/$pid/cmdline" && kill -KILL "$pid"
        rm -rf "$1" || { sleep 1; rm -rf "$1"; }"#;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "janitor"]).arg(home).stdin(Stdio::piped());
    let mut child = command.spawn().expect("sh is everywhere");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(b"here\n").expect("the janitor listens");
    (child, stdin)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Number of the user that Debian's package makes, and of its group.
fn unprivileged() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    let fields = users.lines().find_map(|line| line.strip_prefix("postgres:"));
    let fields = fields.expect("the user postgres, which Debian's package postgresql makes");
    let mut numbers = fields.split(':').skip(1).map(|field| field.parse().expect("a number"));
    (numbers.next().expect("a user"), numbers.next().expect("a group"))
}

/// Where the newest installed PostgreSQL has its programs; Debian keeps them off PATH.
fn programs() -> PathBuf {
    let version = |path: &Path| -> Option<u32> {
        path.join("bin/initdb").exists().then_some(path.file_name()?.to_str()?.parse().ok()?)
    };
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let installed = installed.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = installed.filter_map(|path| Some((version(&path)?, path))).max();
    if let Some((_, path)) = newest {
        return path.join("bin");
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&on_path)
        .find(|dir| dir.join("initdb").exists())
        .expect("PostgreSQL (Debian: postgresql); `scripts/setup.sh test` installs it")
}

fn succeed(name: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed ({}):\n{out}{err}", output.status);
}
