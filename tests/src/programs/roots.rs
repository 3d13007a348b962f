//! Programs without frame pointers, as most programs are: by language, compiler, optimization and
//! linkage. What is asked of their stacks is only that they reach a root.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::build::{self, Compilers, Set};

/// A way to build one of `../replay/programs`; its name is the `comm` of its threads.
struct Variant {
    name: &'static str,
    compiler: &'static str,
    source: &'static str,
    options: &'static [&'static str],
}

const fn variant(
    name: &'static str,
    compiler: &'static str,
    source: &'static str,
    options: &'static [&'static str],
) -> Variant {
    Variant { name, compiler, source, options }
}

/// Given to every C and C++ compiler.
const ALWAYS: [&str; 2] = ["-fomit-frame-pointer", "-pthread"];

const VARIANTS: &[Variant] = &[
    variant("r-gcc-o2", "gcc", "mix.c", &["-O2"]),
    variant("r-gcc-o3-s", "gcc", "mix.c", &["-O3", "-s"]),
    variant("r-gcc-static", "gcc", "mix.c", &["-O2", "-static"]),
    variant("r-gcc-static-s", "gcc", "mix.c", &["-O3", "-static", "-s"]),
    variant("r-clang-o2-s", "clang", "mix.c", &["-O2", "-s"]),
    variant("r-clang-o3", "clang", "mix.c", &["-O3"]),
    variant("r-clang-static", "clang", "mix.c", &["-O2", "-static"]),
    variant("r-cpp-o2", "g++", "throw.cpp", &["-O2"]),
    variant("r-cpp-o3-s", "g++", "throw.cpp", &["-O3", "-s"]),
    variant("r-cpp-static-s", "g++", "throw.cpp", &["-O2", "-static", "-s"]),
    variant("r-cpp-clang", "clang++", "throw.cpp", &["-O2"]),
    variant("r-threads", "gcc", "threads.c", &["-O2"]),
    variant("r-threads-stat", "gcc", "threads.c", &["-O2", "-static", "-s"]),
    variant("r-threads-clan", "clang", "threads.c", &["-O3", "-s"]),
    variant("r-signals", "gcc", "signals.c", &["-O2"]),
    variant("r-signals-stat", "gcc", "signals.c", &["-O3", "-static", "-s"]),
    variant("r-signals-clan", "clang", "signals.c", &["-O2", "-s"]),
    variant("r-deep", "gcc", "deep.c", &["-O2", "-DDEPTH=500"]),
    variant("r-deep-clang-s", "clang", "deep.c", &["-O3", "-s", "-DDEPTH=500"]),
    variant("r-rust-o3", "rustc", "collections.rs", &["-Copt-level=3"]),
    variant("r-rust-o2-s", "rustc", "collections.rs", &["-Copt-level=2", "-Cstrip=symbols"]),
    variant(
        LINKED,
        "gcc",
        "mix.c",
        &["-O2", "-g", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables"],
    ),
    variant("r-go", "go", "goroutines.go", &[]),
    variant("r-go-s", "go", "goroutines.go", &["-ldflags=-s -w"]),
];

/// File name of the program whose processes live 20 ms each.
pub const BRIEF: &str = "brief";

/// File name of the program whose own functions are described in its debug file only.
pub const LINKED: &str = "r-debug-link";

/// The folder of all, built if need be, and their names.
///
/// # Panics
/// When a compiler is missing or refuses.
pub fn rooted() -> (PathBuf, Vec<&'static str>) {
    let folder = build::folder(Set::Rooted).to_owned();
    (folder, VARIANTS.iter().map(|variant| variant.name).collect())
}

/// The program whose own functions are described in its debug file only, and that file.
///
/// # Panics
/// As [`rooted`].
pub fn linked() -> (PathBuf, PathBuf) {
    let folder = build::folder(Set::Rooted);
    (folder.join(LINKED), folder.join(debug_name(LINKED)))
}

/// A storm of processes that live 20 ms each, built without frame pointers.
///
/// # Panics
/// As [`rooted`].
pub fn brief() -> PathBuf {
    build::folder(Set::Rooted).join(BRIEF)
}

pub(super) fn compile(compilers: &Compilers, sources: &Path, storm: &Path, out: &Path) {
    for variant in VARIANTS {
        let mut command = Command::new(compilers.path(variant.compiler));
        match variant.compiler {
            "go" => {
                Compilers::go_environment(&mut command).args(["build", "-o"]);
                command.arg(out.join(variant.name)).args(variant.options);
                command.arg(sources.join(variant.source)).current_dir(out);
                build::run(&mut command);
                continue;
            }
            "rustc" => drop(command.args(["--edition=2024", "-Cforce-frame-pointers=no"])),
            _ => drop(command.args(ALWAYS)),
        }
        command.args(variant.options).arg(sources.join(variant.source));
        build::run(command.arg("-o").arg(out.join(variant.name)));
    }
    split_off(compilers, &out.join(LINKED), &out.join(debug_name(LINKED)));
    let mut command = Command::new(compilers.path("gcc"));
    command.args(ALWAYS).arg("-O2").arg(storm).arg("-o").arg(out.join(BRIEF));
    build::run(&mut command);
}

fn debug_name(program: &str) -> String {
    format!("{program}.debug")
}

/// Moves the debug information of a program into a file of its own, as distributions do.
fn split_off(compilers: &Compilers, program: &Path, debug: &Path) {
    let objcopy = || Command::new(compilers.path("objcopy"));
    build::run(objcopy().arg("--only-keep-debug").args([program, debug]));
    let link = format!("--add-gnu-debuglink={}", debug.display());
    build::run(objcopy().args(["--strip-all", &link]).arg(program));
}
