//! Programs under gdb's control, instruction by instruction: states that samples seldom meet.
//!
//! arm64 programs run in qemu's user mode, and gdb speaks to that.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    rc::Rc,
};

use anyhow::{Context as _, Result, ensure};
use fleetprof_abi::Architecture;

use crate::{
    build::{Kind, Program, Variant, is_here},
    capture::{Capture, Mapping, Memory, TrueFrame, TruePlace},
    elf::code_segments,
    judge::drop_guesses,
};

/// Longest time for one program.
const MOST_SECONDS: &str = "120";

const SCRIPT: &str = include_str!("capture_steps.py");

/// Where to step through a program.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The program.
    pub variant: Variant,
    /// Name, unique together with the program's.
    pub name: &'static str,
    /// Its processor.
    pub architecture: Architecture,
    /// Where to begin, as gdb's `break` takes it; empty: at the first instruction.
    pub start_at: &'static str,
    /// How often to pass there before.
    pub skip: u32,
    /// Instructions to step over.
    pub steps: u32,
    /// How many of them from one capture to the next.
    pub stride: u32,
}

/// Steps through a program, which is built in `folder`. One state of `coarser` is captured of those
/// that are asked for.
///
/// # Errors
/// When gdb or qemu is missing, or says something unexpected.
pub fn capture(steps: &Steps, folder: &Path, coarser: u32) -> Result<Vec<Capture>> {
    let program = steps.variant.build(folder, 1000)?;
    let text = run(steps, &program, folder, coarser)?;
    let known = match steps.architecture {
        Architecture::X86_64 => None,
        Architecture::Aarch64 => Some(mapped_as_linked(&program)?),
    };
    let captures = text.split("capture\n").skip(1);
    captures.map(|text| parse(steps.architecture, text, known.as_ref())).collect()
}

/// Whether all that is needed is on this host.
#[must_use]
pub fn can_run(steps: &Steps) -> bool {
    let needed: &[&str] = match steps.architecture {
        Architecture::X86_64 => &["gdb"],
        Architecture::Aarch64 => &["gdb-multiarch", "qemu-aarch64"],
    };
    needed.iter().chain([&steps.variant.compiler]).all(|command| is_here(command))
}

fn run(steps: &Steps, program: &Program, folder: &Path, coarser: u32) -> Result<String> {
    let dir = tempfile::tempdir_in(folder)?;
    let is_remote = steps.architecture == Architecture::Aarch64;
    let socket = dir.path().join("gdb");
    let script = dir.path().join("script.gdb");
    let python = dir.path().join("steps.py");
    let mut text = "set pagination off\nset confirm off\nset debuginfod enabled off\nset width 0\n\
         set startup-with-shell off\nset disable-randomization off\n\
         handle SIGUSR1 SIGUSR2 SIGHUP SIGWINCH SIGPROF nostop noprint pass\nset backtrace past-main on\nset backtrace past-entry on\n\
         set backtrace limit 2000\nset breakpoint pending on\n"
        .to_owned();
    if steps.name.contains("child") {
        text += "set follow-fork-mode child\n";
    }
    for (name, value) in program.environment {
        text += &format!("set environment {name}={value}\n");
    }
    if is_remote {
        text += &format!("target remote {}\n", socket.display());
    }
    let run_with = match (is_remote, steps.start_at) {
        (true, "") => "stepi",
        (true, _) => "continue",
        (false, "") => "starti",
        (false, _) => "run",
    };
    text += &format!(
        "python start_at, skip, steps, stride = {:?}, {}, {}, {}\n\
         python maps, run_with = {}, {run_with:?}\npython registers = {}\nsource {}\n\
         kill\n",
        steps.start_at,
        steps.skip,
        steps.steps,
        steps.stride * coarser,
        if is_remote { "False" } else { "True" },
        registers(steps.architecture),
        python.display()
    );
    std::fs::write(&script, text)?;
    std::fs::write(&python, SCRIPT)?;
    let mut emulator = if is_remote { Some(Emulator::start(&socket, program)?) } else { None };
    // A program that is stuck shall not stop the tests.
    let mut gdb = Command::new("timeout");
    gdb.args([
        MOST_SECONDS,
        if is_remote { "gdb-multiarch" } else { "gdb" },
        "-nx",
        "-batch",
        "-q",
        "-x",
    ])
    .arg(&script);
    gdb.arg("--args").args(&program.command).stdin(Stdio::null());
    let output = gdb.output().context("gdb cannot be run");
    if let Some(emulator) = &mut emulator {
        emulator.stop();
    }
    let output = output?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "gdb of {} failed, {}: {errors}",
        steps.full_name(),
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.contains("capture\n"), "gdb captured nothing: {errors} {text}");
    Ok(text)
}

/// Names of the registers by DWARF number, as Python writes it.
fn registers(architecture: Architecture) -> String {
    let names: Vec<String> = match architecture {
        Architecture::X86_64 => {
            let named = ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"];
            let numbered = (8..16).map(|number| format!("r{number}"));
            named.into_iter().map(str::to_owned).chain(numbered).collect()
        }
        Architecture::Aarch64 => {
            (0..31).map(|number| format!("x{number}")).chain(["sp".to_owned()]).collect()
        }
    };
    let pairs = names.iter().enumerate().map(|(number, name)| format!("{number}: {name:?}"));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

impl Steps {
    /// Name, unique.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.variant.name, self.name)
    }
}

fn parse(architecture: Architecture, text: &str, known: Option<&Rc<[Mapping]>>) -> Result<Capture> {
    let mut mappings = Vec::new();
    let (registers, stack, truth) = (Vec::new(), Vec::new(), Vec::new());
    let mappings_unknown: Rc<[Mapping]> = Rc::from([]);
    let mut capture =
        Capture { architecture, registers, ip: 0, stack, mappings: mappings_unknown, truth };
    for line in text.lines() {
        let mut words = line.split(' ');
        let key = words.next().unwrap_or_default();
        let mut number = || {
            let word = words.next().context("a number is missing")?;
            u64::from_str_radix(word, 16).with_context(|| line.to_owned())
        };
        match key {
            "ip" => capture.ip = number()?,
            "register" => capture.registers.push((u8::try_from(number()?)?, number()?)),
            "map" => {
                let (start, end, position) = (number()?, number()?, number()?);
                let path = words.collect::<Vec<_>>().join(" ");
                mappings.push(Mapping { start, end, position, path: path.into() });
            }
            "memory" => {
                let base = number()?;
                let bytes = bytes(words.next().unwrap_or_default())?;
                capture.stack.push(Memory { base, bytes });
            }
            "frame" => {
                let (address, exact) = (number()?, number()? == 1);
                let function = words.collect::<Vec<_>>().join(" ");
                let place = TruePlace::Address(address, exact);
                capture.truth.push(TrueFrame { place, function });
            }
            // What gdb says besides.
            _ => {}
        }
    }
    mappings.extend(known.into_iter().flat_map(|known| known.iter().cloned()));
    capture.mappings = mappings.into();
    drop_guesses(&mut capture);
    Ok(capture)
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}

/// A program that is not moved: its code is where its file says.
fn mapped_as_linked(program: &Program) -> Result<Rc<[Mapping]>> {
    let path = program.command.first().context("a program")?;
    let file = std::fs::read(path)?;
    let segments = code_segments(&file).map(|(position, address, size)| Mapping {
        start: address,
        end: address.saturating_add(size),
        position,
        path: path.as_str().into(),
    });
    Ok(segments.collect())
}

/// A program of another processor, stopped before its first instruction.
struct Emulator(Child);

impl Emulator {
    fn start(socket: &Path, program: &Program) -> Result<Self> {
        let mut command = Command::new("qemu-aarch64");
        // Without the vector extension whose registers in signal frames gdb 13 does not understand.
        command.args(["-cpu", "cortex-a72", "-g"]).arg(socket).args(&program.command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context("qemu-aarch64 cannot be run")?;
        // It listens before it runs anything; there is no other sign of that.
        while !socket.exists() {
            let status = child.try_wait()?;
            ensure!(status.is_none(), "qemu-aarch64 ended with {status:?}");
            std::thread::yield_now();
        }
        Ok(Self(child))
    }

    fn stop(&mut self) {
        // It has usually ended with gdb's `kill`.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const fn steps(
    variant: Variant,
    name: &'static str,
    start_at: &'static str,
    skip: u32,
    steps: u32,
    stride: u32,
) -> Steps {
    Steps { variant, name, architecture: Architecture::X86_64, start_at, skip, steps, stride }
}

const fn native(
    name: &'static str,
    compiler: &'static str,
    sources: &'static [&'static str],
    options: &'static [&'static str],
    kind: Kind,
) -> Variant {
    Variant { name, compiler, sources, options, kind }
}

const fn arm64(
    name: &'static str,
    sources: &'static [&'static str],
    options: &'static [&'static str],
    start_at: &'static str,
    skip: u32,
    count: u32,
) -> Steps {
    let compiler = "aarch64-linux-gnu-gcc";
    let variant = native(name, compiler, sources, options, Kind::Plain);
    let steps = steps(variant, "steps", start_at, skip, count, 1);
    Steps { architecture: Architecture::Aarch64, ..steps }
}

const LINKED: &[&str] = &["linked.c"];
const LAZY: &[&str] = &["-O2", "-Wl,-z,lazy"];

/// Without the timer: under gdb its signals may come faster than instructions are stepped over.
const SIGNALS: &[&str] = &["-O2", "-DWITHOUT_TIMER"];
const SIGNALS_STATIC: &[&str] = &["-O2", "-static", "-DWITHOUT_TIMER"];

/// All of them.
pub const STEPS: &[Steps] = &[
    steps(native("linked", "gcc", LINKED, LAZY, Kind::Linked), "plt", "calls", 0, 1500, 1),
    steps(
        native(
            "linked-cet",
            "gcc",
            LINKED,
            &["-O2", "-Wl,-z,lazy", "-fcf-protection=full", "-Wl,-z,ibtplt"],
            Kind::Linked,
        ),
        "plt",
        "calls",
        0,
        300,
        1,
    ),
    steps(
        native("linked-now", "gcc", LINKED, &["-O2", "-Wl,-z,now"], Kind::Linked),
        "start",
        "",
        0,
        4000,
        9,
    ),
    steps(native("vfork", "gcc", &["vfork.c"], &["-O2"], Kind::Plain), "parent", "vfork", 0, 60, 1),
    steps(
        native("vfork", "gcc", &["vfork.c"], &["-O2"], Kind::Plain),
        "child",
        "in_child",
        0,
        40,
        1,
    ),
    steps(
        native("signals", "gcc", &["signals.c"], SIGNALS, Kind::Plain),
        "handlers",
        "inner",
        1,
        60,
        1,
    ),
    steps(
        native("signals", "gcc", &["signals.c"], SIGNALS, Kind::Plain),
        "alternate",
        "outer",
        1,
        60,
        1,
    ),
    steps(
        native("signals-static", "gcc", &["signals.c"], SIGNALS_STATIC, Kind::Plain),
        "handlers",
        "inner",
        1,
        60,
        1,
    ),
    steps(native("vdso", "gcc", &["vdso.c"], &["-O2"], Kind::Plain), "clock", "clocks", 0, 300, 1),
    steps(
        native("throw", "g++", &["throw.cpp"], &["-O2"], Kind::Plain),
        "unwinding",
        "_Unwind_RaiseException",
        0,
        6000,
        11,
    ),
    steps(
        native("avx2", "gcc", &["mix.c"], &["-O3", "-mavx2"], Kind::Plain),
        "aligned",
        "aligned",
        0,
        700,
        1,
    ),
    steps(
        native("avx2", "gcc", &["mix.c"], &["-O3", "-mavx2"], Kind::Plain),
        "vectors",
        "vectors",
        0,
        500,
        1,
    ),
    steps(
        native("avx2-clang", "clang", &["mix.c"], &["-O3", "-mavx2"], Kind::Plain),
        "aligned",
        "aligned",
        0,
        700,
        1,
    ),
    steps(
        native("O0", "gcc", &["mix.c"], &["-O0"], Kind::Plain),
        "variable",
        "variable",
        0,
        700,
        1,
    ),
    steps(native("Os", "gcc", &["mix.c"], &["-Os"], Kind::Plain), "text", "text", 0, 3000, 3),
    steps(
        native("assembly", "gcc", &["assembly.c", "odd.S"], &["-O2"], Kind::Plain),
        "odd",
        "odd_rbx",
        0,
        900,
        1,
    ),
    steps(
        native("threads", "gcc", &["threads.c"], &["-O2", "-pthread"], Kind::Plain),
        "worker",
        "run",
        0,
        120,
        1,
    ),
    arm64("arm64-O0", &["mix.c"], &["-O0", "-static"], "choose", 3, 900),
    arm64("arm64-O2", &["mix.c"], &["-O2", "-static"], "choose", 2, 900),
    arm64("arm64-O3", &["mix.c"], &["-O3", "-static", "-fomit-frame-pointer"], "sorted", 0, 900),
    arm64("arm64-Os", &["mix.c"], &["-Os", "-static"], "text", 0, 900),
    arm64("arm64-arguments", &["mix.c"], &["-O2", "-static"], "arguments", 0, 400),
    arm64("arm64-recursion", &["mix.c"], &["-O2", "-static"], "recurse", 40, 200),
    arm64(
        "arm64-debug-frame",
        &["mix.c"],
        &["-O2", "-static", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
        "aligned",
        0,
        300,
    ),
    arm64("arm64-signals", &["signals.c"], &["-O2", "-static", "-DWITHOUT_TIMER"], "inner", 1, 60),
    arm64(
        "arm64-alternate",
        &["signals.c"],
        &["-O2", "-static", "-DWITHOUT_TIMER"],
        "outer",
        1,
        60,
    ),
    arm64("arm64-start", &["mix.c"], &["-O2", "-static"], "", 0, 600),
];
