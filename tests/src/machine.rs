//! What the tests need of this machine: root, tools, free ports, and to have it for themselves.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

static TURN: Mutex<()> = Mutex::new(());

/// This machine, for one test at a time: two that load it together would spoil each other's numbers.
#[must_use]
pub struct Machine {
    _turn: MutexGuard<'static, ()>,
}

/// Waits for the machine and checks that the test may use it.
///
/// # Panics
/// When not root.
pub fn machine() -> Machine {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    require_root();
    Machine { _turn: turn }
}

/// Checks that this process may load eBPF programs.
///
/// # Panics
/// When not root: a test that skips itself proves nothing.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "the end-to-end tests load eBPF programs: run them as root, for example with `sudo make test`"
    );
}

/// A program on `PATH`, or in one of the usual folders that are not on everybody's.
///
/// # Panics
/// When it is missing, with `remedy`.
pub fn tool(name: &str, remedy: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("`{name}` is missing: {remedy}"))
}

/// A program on `PATH` or in one of the usual folders, if it is there.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/go/bin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// First line of what a tool says about its version.
///
/// # Panics
/// When it cannot be started.
pub fn version(tool: &Path, argument: &str) -> String {
    let output = Command::new(tool).arg(argument).output().expect("the tool was found");
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

/// A TCP port of the loopback interface that was free a moment ago.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Several at once, all different.
///
/// # Panics
/// When the kernel has none.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listener = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // None is given back before all are there.
    std::array::from_fn::<_, N, _>(|_| listener())
        .map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}

/// Keeps a port from being given to anybody else while nobody listens there; whoever asks for this very
/// port still gets it.
///
/// # Panics
/// When it is not free.
pub fn hold_port(port: u16) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&held, true).expect("a socket can be shared");
    bind(&held, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("the port is free");
    held
}

/// Now, in nanoseconds since the Unix epoch.
///
/// # Panics
/// When the clock stands before 1970.
pub fn unix_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(now.as_nanos()).expect("a clock before 2262")
}

/// Logical processors online.
///
/// # Panics
/// When the kernel does not say.
pub fn cpus() -> usize {
    std::thread::available_parallelism().expect("the number of processors").get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_ports_are_different() {
        let mut ports = free_ports::<50>();
        ports.sort_unstable();
        assert!(ports.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn a_port_that_is_held_is_given_to_nobody_and_can_be_listened_on() {
        let port = free_port();
        let _held = hold_port(port);
        assert!((0..100).all(|_| free_port() != port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is ours");
    }
}
