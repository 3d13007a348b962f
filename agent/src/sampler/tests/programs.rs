//! Programs built from source, and what is inside them.

use std::{
    io::{BufRead as _, BufReader},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A folder with the test programs, removed at the end.
pub(crate) struct Programs {
    dir: tempfile::TempDir,
}

/// A running program, killed at the end.
pub(crate) struct Running {
    child: Child,
    /// Address of `main`; 0 for the program without one.
    pub(crate) main: u64,
}

impl Programs {
    pub(crate) fn build() -> Self {
        let this = Self { dir: tempfile::tempdir().unwrap() };
        // The folder's name may not be what the kernel shows as the thread's name.
        std::fs::write(this.path("busy.c"), include_str!("busy.c")).unwrap();
        std::fs::write(this.path("bare.c"), include_str!("bare.c")).unwrap();
        std::fs::write(this.path("plugin.c"), "int plugin(void) { return 1; }\n").unwrap();
        let frames = ["-O2", "-fomit-frame-pointer"];
        this.compile("busy", &[&frames[..], &["-Wl,--build-id=sha1", "busy.c"]].concat());
        this.compile("bare", &[&frames[..], &["-static", "-nostdlib", "bare.c"]].concat());
        this.compile("plugin.so", &["-shared", "-fPIC", "-Wl,--build-id=sha1", "plugin.c"]);
        this
    }

    fn compile(&self, output: &str, options: &[&str]) {
        let status = Command::new("cc")
            .current_dir(self.dir.path())
            .args(["-o", output])
            .args(options)
            .status()
            .unwrap();
        assert!(status.success(), "cc {output}");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts `busy` and waits until it is in `main`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut child =
            Command::new(self.path("busy")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let main = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).unwrap();
        Running { child, main }
    }

    pub(crate) fn start_bare(&self) -> Running {
        Running { child: Command::new(self.path("bare")).spawn().unwrap(), main: 0 }
    }

    /// Where a function of the running `busy` is.
    pub(crate) fn function(&self, running: &Running, name: &str) -> Range<u64> {
        let table = output(Command::new("nm").arg("-S").arg(self.path("busy")));
        let find = |name: &str| {
            table.lines().find_map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let [address, size, _, symbol] = fields[..] else { return None };
                let number = |text| u64::from_str_radix(text, 16).unwrap();
                (symbol == name).then(|| (number(address), number(size)))
            })
        };
        let (main, _) = find("main").unwrap();
        let (address, size) = find(name).unwrap();
        let start = address + (running.main - main);
        start..start + size
    }

    /// The build ID of a file as `readelf` sees it.
    pub(crate) fn build_id(path: &Path) -> Vec<u8> {
        let notes = output(Command::new("readelf").arg("-n").arg(path));
        let (_, id) = notes.split_once("Build ID: ").unwrap();
        let id = id.split_whitespace().next().unwrap().as_bytes();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        id.chunks(2).map(byte).collect()
    }
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}
