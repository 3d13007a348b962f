//! What a person at a terminal sees that a pipe does not get.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    process::{Child, Command, Stdio},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{
    collector::{Answers, MockCollector},
    fixtures,
    run::command,
};

/// A terminal of 40 columns: what is written to `screen` can be read from `seen`.
struct Terminal {
    seen: File,
    screen: File,
}

// === impl Terminal ===

impl Terminal {
    fn new() -> Self {
        let seen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&seen).expect("granted");
        unlockpt(&seen).expect("unlocked");
        let size = Winsize { ws_row: 24, ws_col: 40, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&seen, size).expect("sized");
        let path = ptsname(&seen, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let screen = OpenOptions::new().read(true).write(true).open(path).expect("opened");
        Self { seen: seen.into(), screen }
    }

    fn stdio(&self) -> Stdio {
        self.screen.try_clone().expect("cloned").into()
    }

    /// Runs with standard output on the terminal, standard error closed.
    fn run(self, mut command: Command) -> (Option<i32>, String) {
        let child = command.stdout(self.stdio()).stderr(Stdio::null()).spawn();
        // The command holds copies of the terminal that would keep it open.
        drop(command);
        self.end(child.expect("the binary runs"))
    }

    /// Everything that is seen until the program ends, and its exit status.
    fn end(self, mut child: Child) -> (Option<i32>, String) {
        let Self { mut seen, screen } = self;
        drop(screen);
        let mut text = Vec::new();
        // A terminal that nobody has open any more ends with an error on Linux; what was read stays.
        let _ = seen.read_to_end(&mut text);
        let code = child.wait().expect("it ends").code();
        (code, String::from_utf8(text).expect("UTF-8"))
    }

    /// Reads until a text has been seen.
    fn wait_for(&mut self, text: &str) {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut bytes = [0; 64];
            let read = self.seen.read(&mut bytes).expect("the terminal is open");
            seen.extend_from_slice(&bytes[..read]);
        }
    }
}

/// Check that a table fits the terminal and that its header is bold.
#[test]
fn tables_fit_the_terminal() {
    let mut answers = fixtures::answers();
    answers.services.services[0].service = "a-service-with-a-long-name".to_owned();
    let collector = MockCollector::start(answers);
    let (code, seen) = Terminal::new().run(command(Some(&collector.url()), &["services"]));
    assert_eq!(code, Some(0));
    assert_eq!(
        seen.replace("\r\n", "\n"),
        "\u{1b}[1mCORES  SHARE  CPU TIME  SAMPLES  SERVICE\u{1b}[0m\n\
         1.500  75.0%    15.0 s      750  a-serv…\n\
         0.500  25.0%    5.00 s      250  payment\n"
    );
}

/// Check that NO_COLOR and a dumb terminal turn style off.
#[test]
fn style_can_be_turned_off() {
    let collector = MockCollector::start(fixtures::answers());
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = command(Some(&collector.url()), &["services"]);
        command.env(name, value);
        let (code, seen) = Terminal::new().run(command);
        assert_eq!(code, Some(0));
        assert!(!seen.contains('\u{1b}'), "{seen:?}");
    }
}

/// Check that a profile is not poured over a terminal.
#[test]
fn a_profile_is_not_written_to_a_terminal() {
    let collector = MockCollector::start(fixtures::answers());
    let (code, seen) = Terminal::new().run(command(Some(&collector.url()), &["pprof", "-o", "-"]));
    assert_eq!((code, seen.as_str()), (Some(2), ""));
    assert_eq!(collector.asked(), []);
}

/// Check that a wait is shown, and that nothing of it is left when it is over.
#[test]
fn a_long_wait_is_shown() {
    let collector = MockCollector::start(Answers { hold: true, ..fixtures::answers() });
    let mut terminal = Terminal::new();
    let mut command = command(Some(&collector.url()), &["labels", "-o", "json"]);
    let child = command.stdout(Stdio::null()).stderr(terminal.stdio()).spawn();
    drop(command);
    terminal.wait_for(&format!("⠋ asking {}", collector.url()));
    collector.release();
    let (code, seen) = terminal.end(child.expect("the binary runs"));
    assert_eq!(code, Some(0));
    assert!(seen.ends_with("\r\u{1b}[2K"), "{seen:?}");
}
