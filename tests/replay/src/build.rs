//! The programs of `programs/`, built in as many ways as there are compilers and options.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// A program and a way to build it.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Name, unique.
    pub name: &'static str,
    /// Compiler.
    pub compiler: &'static str,
    /// Sources, in `programs/`.
    pub sources: &'static [&'static str],
    /// Options.
    pub options: &'static [&'static str],
    /// What is special.
    pub kind: Kind,
}

/// What is done with a program besides compiling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// Symbols and debug information are removed.
    Stripped,
    /// Linked with `library.c`, through a linkage table.
    Linked,
    /// The same, and every call looks for the function anew.
    Resolving,
    /// Loads `library.c`.
    Loading,
    /// Not compiled: a program of the host.
    System,
}

const MIX: &[&str] = &["mix.c"];
const THROW: &[&str] = &["throw.cpp"];
const ASSEMBLY: &[&str] = &["assembly.c", "odd.S"];

const fn plain(
    name: &'static str,
    compiler: &'static str,
    sources: &'static [&'static str],
    options: &'static [&'static str],
) -> Variant {
    Variant { name, compiler, sources, options, kind: Kind::Plain }
}

const fn special(
    name: &'static str,
    compiler: &'static str,
    sources: &'static [&'static str],
    options: &'static [&'static str],
    kind: Kind,
) -> Variant {
    Variant { name, compiler, sources, options, kind }
}

/// All of them.
pub const VARIANTS: &[Variant] = &[
    plain("gcc-O0", "gcc", MIX, &["-O0"]),
    plain("gcc-O1", "gcc", MIX, &["-O1"]),
    plain("gcc-O2", "gcc", MIX, &["-O2", "-fomit-frame-pointer"]),
    plain("gcc-O3", "gcc", MIX, &["-O3", "-fomit-frame-pointer"]),
    plain("gcc-Os", "gcc", MIX, &["-Os"]),
    plain("gcc-frame-pointers", "gcc", MIX, &["-O2", "-fno-omit-frame-pointer"]),
    plain("gcc-lto", "gcc", MIX, &["-O2", "-flto"]),
    plain("gcc-cet", "gcc", MIX, &["-O2", "-fcf-protection=full"]),
    plain("gcc-avx2", "gcc", MIX, &["-O3", "-mavx2"]),
    plain("gcc-no-plt", "gcc", MIX, &["-O2", "-fno-plt"]),
    plain("gcc-no-pie", "gcc", MIX, &["-O2", "-no-pie", "-fno-pie"]),
    plain("gcc-static", "gcc", MIX, &["-O2", "-static"]),
    plain("gcc-static-pie", "gcc", MIX, &["-O2", "-static-pie"]),
    plain(
        "gcc-stack-protector",
        "gcc",
        MIX,
        &["-O2", "-fstack-protector-all", "-fstack-clash-protection"],
    ),
    plain("gcc-no-shrink-wrap", "gcc", MIX, &["-O2", "-fno-shrink-wrap", "-fno-ipa-ra"]),
    plain(
        "gcc-no-outgoing",
        "gcc",
        MIX,
        &["-O2", "-mno-accumulate-outgoing-args", "-mno-red-zone"],
    ),
    plain(
        "gcc-debug-frame",
        "gcc",
        MIX,
        &["-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
    ),
    special("gcc-stripped", "gcc", MIX, &["-O2"], Kind::Stripped),
    plain("clang-O0", "clang", MIX, &["-O0"]),
    plain("clang-O2", "clang", MIX, &["-O2", "-fomit-frame-pointer"]),
    plain("clang-O3", "clang", MIX, &["-O3"]),
    plain("clang-Os", "clang", MIX, &["-Os"]),
    plain("clang-Oz", "clang", MIX, &["-Oz"]),
    plain("clang-avx2", "clang", MIX, &["-O3", "-mavx2"]),
    plain("clang-no-pie", "clang", MIX, &["-O2", "-no-pie"]),
    plain("clang-static", "clang", MIX, &["-O2", "-static"]),
    special("clang-stripped", "clang", MIX, &["-O2"], Kind::Stripped),
    plain("musl", "musl-gcc", MIX, &["-O2"]),
    plain("musl-static", "musl-gcc", MIX, &["-O2", "-static"]),
    plain("deep-gcc", "gcc", &["deep.c"], &["-O2"]),
    plain("deep-clang", "clang", &["deep.c"], &["-O2"]),
    plain("signals-gcc", "gcc", &["signals.c"], &["-O2"]),
    plain("signals-clang", "clang", &["signals.c"], &["-O2"]),
    plain("signals-static", "gcc", &["signals.c"], &["-O2", "-static"]),
    plain("signals-musl", "musl-gcc", &["signals.c"], &["-O2", "-static"]),
    plain("vfork-gcc", "gcc", &["vfork.c"], &["-O2"]),
    plain("vfork-musl", "musl-gcc", &["vfork.c"], &["-O2", "-static"]),
    plain("vdso", "gcc", &["vdso.c"], &["-O2"]),
    plain("threads-gcc", "gcc", &["threads.c"], &["-O2", "-pthread"]),
    plain("threads-musl", "musl-gcc", &["threads.c"], &["-O2", "-static"]),
    plain("assembly-gcc", "gcc", ASSEMBLY, &["-O2"]),
    plain("assembly-clang", "clang", ASSEMBLY, &["-O3"]),
    plain("throw-gcc", "g++", THROW, &["-O2"]),
    plain("throw-static", "g++", THROW, &["-O2", "-static"]),
    plain("throw-clang", "clang++", THROW, &["-O2"]),
    special("linked", "gcc", &["linked.c"], &["-O2", "-Wl,-z,lazy"], Kind::Linked),
    special(
        "linked-cet",
        "gcc",
        &["linked.c"],
        &["-O2", "-Wl,-z,lazy", "-fcf-protection=full", "-Wl,-z,ibtplt"],
        Kind::Linked,
    ),
    special("linked-now", "gcc", &["linked.c"], &["-O2", "-Wl,-z,now"], Kind::Linked),
    special("resolving", "gcc", &["linked.c"], &["-O2", "-Wl,-z,lazy"], Kind::Resolving),
    special("loaded", "gcc", &["loaded.c"], &["-O2"], Kind::Loading),
    plain("rust", "rustc", &["closures.rs"], &["-Copt-level=3"]),
    plain("rust-debug", "rustc", &["closures.rs"], &["-Copt-level=0"]),
    special(
        "openssl-sha256",
        "openssl",
        &[],
        &["speed", "-seconds", "1", "-bytes", "1024", "sha256"],
        Kind::System,
    ),
    special(
        "openssl-aes",
        "openssl",
        &[],
        &["speed", "-seconds", "1", "-bytes", "1024", "-evp", "aes-128-gcm"],
        Kind::System,
    ),
    special(
        "openssl-ecdsa",
        "openssl",
        &[],
        &["speed", "-seconds", "1", "ecdsap256"],
        Kind::System,
    ),
    special("openssl-rsa", "openssl", &[], &["speed", "-seconds", "1", "rsa2048"], Kind::System),
];

/// A program that can be run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Program and arguments; the CPU time comes first of these.
    pub command: Vec<String>,
    /// Environment.
    pub environment: &'static [(&'static str, &'static str)],
    /// Samples per second of CPU time: no multiple of anything that programs do.
    pub hertz: &'static str,
}

/// Whether a command is on this host.
#[must_use]
pub fn is_here(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(command).is_file())
}

// === impl Variant ===

impl Variant {
    /// How it is built.
    #[must_use]
    pub fn about(&self) -> String {
        let words =
            [self.compiler].into_iter().chain(self.options.iter().chain(self.sources).copied());
        let kind = match self.kind {
            Kind::Plain | Kind::System => "",
            Kind::Stripped => ", stripped",
            Kind::Linked => ", linked with library.c",
            Kind::Resolving => ", linked with library.c, LD_BIND_NOT=1",
            Kind::Loading => ", loads library.c",
        };
        words.collect::<Vec<_>>().join(" ") + kind
    }

    /// Builds it into `folder`, to run for `milliseconds` of CPU time.
    ///
    /// # Errors
    /// When the compiler refuses.
    pub fn build(&self, folder: &Path, milliseconds: u32) -> Result<Program> {
        if self.kind == Kind::System {
            let command = std::iter::once(&self.compiler).chain(self.options);
            let command = command.map(|&part| part.to_owned()).collect();
            return Ok(Program { command, environment: &[], hertz: "299" });
        }
        let out = folder.join(self.name);
        let mut compiler = Command::new(self.compiler);
        compiler.args(self.options).args(self.sources.iter().map(|source| path_of(source)));
        compiler.arg("-o").arg(&out);
        let library = folder.join(format!("lib{}.so", self.name));
        match self.kind {
            Kind::Linked | Kind::Resolving => {
                self.build_library(&library)?;
                compiler.arg(&library);
            }
            Kind::Loading => self.build_library(&library)?,
            Kind::Stripped => drop(compiler.arg("-s")),
            Kind::Plain | Kind::System => {}
        }
        run(&mut compiler)?;
        let mut command = vec![out.display().to_string(), milliseconds.to_string()];
        if self.kind == Kind::Loading {
            command.push(library.display().to_string());
        }
        let resolving: &[_] = &[("LD_BIND_NOT", "1")];
        let environment = if self.kind == Kind::Resolving { resolving } else { &[] };
        Ok(Program { command, environment, hertz: "1999" })
    }

    fn build_library(&self, library: &Path) -> Result<()> {
        let mut compiler = Command::new(self.compiler);
        compiler.args(self.options).args(["-shared", "-fPIC"]).arg(path_of("library.c"));
        run(compiler.arg("-o").arg(library))
    }
}

fn path_of(source: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(source)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {text}");
    Ok(())
}
