//! The programs of `tests/programs`, built in as many ways as there are compilers and options.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::llvm;

/// A program and a way to build it.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    name: &'static str,
    compiler: &'static str,
    options: &'static [&'static str],
    kind: Kind,
}

/// What is done with a program besides compiling it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// dwz gathers what units have in common in the same file.
    Dwz,
    /// The split units are put into a package by this tool, and deleted.
    Package(&'static str),
    /// Sections are compressed.
    Compressed(&'static str),
}

/// A program that was built.
pub(crate) struct Built {
    pub(crate) name: String,
    /// What LLVM reads.
    pub(crate) truth: PathBuf,
    /// What we read.
    pub(crate) binary: PathBuf,
    pub(crate) debug: Option<PathBuf>,
    pub(crate) shared: Option<PathBuf>,
    pub(crate) package: Option<PathBuf>,
}

const fn plain(
    name: &'static str,
    compiler: &'static str,
    options: &'static [&'static str],
) -> Variant {
    Variant { name, compiler, options, kind: Kind::Plain }
}

const fn special(
    name: &'static str,
    compiler: &'static str,
    options: &'static [&'static str],
    kind: Kind,
) -> Variant {
    Variant { name, compiler, options, kind }
}

/// C.
pub(crate) const C: &[Variant] = &[
    plain("c-gcc-O0-dwarf5", "gcc", &["-O0", "-g", "-gdwarf-5"]),
    plain("c-gcc-O2-dwarf5", "gcc", &["-O2", "-g", "-gdwarf-5"]),
    plain("c-gcc-O2-dwarf4", "gcc", &["-O2", "-g", "-gdwarf-4"]),
    plain("c-gcc-O3-dwarf3", "gcc", &["-O3", "-g", "-gdwarf-3", "-gstrict-dwarf"]),
    plain("c-gcc-O3-dwarf2", "gcc", &["-O3", "-g", "-gdwarf-2", "-gstrict-dwarf"]),
    plain("c-gcc-lto", "gcc", &["-O2", "-g", "-flto"]),
    plain("c-gcc-fixed", "gcc", &["-O2", "-g", "-no-pie", "-ffunction-sections"]),
    plain("c-gcc-dwarf64", "gcc", &["-O2", "-g", "-gdwarf64"]),
    plain("c-gcc-no-debug", "gcc", &["-O2"]),
    plain("c-gcc-g1", "gcc", &["-O2", "-g1"]),
    plain("c-gcc-split4", "gcc", &["-O2", "-g", "-gdwarf-4", "-gsplit-dwarf"]),
    plain("c-gcc-split5", "gcc", &["-O2", "-g", "-gdwarf-5", "-gsplit-dwarf"]),
    special("c-gcc-dwz", "gcc", &["-O2", "-g", "-gdwarf-4"], Kind::Dwz),
    special("c-gcc-dwz5", "gcc", &["-O2", "-g", "-gdwarf-5"], Kind::Dwz),
    special("c-gcc-zlib", "gcc", &["-O2", "-g"], Kind::Compressed("zlib")),
    special("c-gcc-zlib-gnu", "gcc", &["-O2", "-g"], Kind::Compressed("zlib-gnu")),
    plain("c-clang-O0-dwarf4", "clang", &["-O0", "-g", "-gdwarf-4"]),
    plain("c-clang-O2-dwarf5", "clang", &["-O2", "-g", "-gdwarf-5"]),
    plain("c-clang-O3-dwarf4", "clang", &["-O3", "-g", "-gdwarf-4"]),
    plain("c-clang-lto", "clang", &["-O2", "-g", "-flto", "-fuse-ld=lld"]),
    plain(
        "c-clang-icf",
        "clang",
        &["-O2", "-g", "-ffunction-sections", "-fuse-ld=lld", "-Wl,--icf=all", "-Wl,--gc-sections"],
    ),
    plain("c-clang-split5", "clang", &["-O2", "-g", "-gdwarf-5", "-gsplit-dwarf"]),
    special(
        "c-clang-package5",
        "clang",
        &["-O2", "-g", "-gdwarf-5", "-gsplit-dwarf", "-fno-split-dwarf-inlining"],
        Kind::Package("llvm-dwp"),
    ),
    special(
        "c-clang-package4",
        "clang",
        &["-O2", "-g", "-gdwarf-4", "-gsplit-dwarf", "-fno-split-dwarf-inlining"],
        Kind::Package("llvm-dwp"),
    ),
];

/// C++.
pub(crate) const CPP: &[Variant] = &[
    plain("cpp-gcc-O0-dwarf4", "g++", &["-O0", "-g", "-gdwarf-4"]),
    plain("cpp-gcc-O2-dwarf5", "g++", &["-O2", "-g", "-gdwarf-5"]),
    plain("cpp-gcc-O3-dwarf4", "g++", &["-O3", "-g", "-gdwarf-4"]),
    plain("cpp-gcc-lto", "g++", &["-O2", "-g", "-flto"]),
    plain("cpp-gcc-split5", "g++", &["-O2", "-g", "-gdwarf-5", "-gsplit-dwarf"]),
    plain("cpp-gcc-types", "g++", &["-O2", "-g", "-fdebug-types-section"]),
    special("cpp-gcc-dwz", "g++", &["-O2", "-g", "-gdwarf-4"], Kind::Dwz),
    plain("cpp-clang-O0-dwarf5", "clang++", &["-O0", "-g", "-gdwarf-5"]),
    plain("cpp-clang-O2-dwarf4", "clang++", &["-O2", "-g", "-gdwarf-4"]),
    plain("cpp-clang-O3-dwarf5", "clang++", &["-O3", "-g", "-gdwarf-5"]),
    plain("cpp-clang-lto", "clang++", &["-O2", "-g", "-flto", "-fuse-ld=lld"]),
    plain("cpp-clang-split4", "clang++", &["-O2", "-g", "-gdwarf-4", "-gsplit-dwarf"]),
];

/// Rust.
pub(crate) const RUST: &[Variant] = &[
    plain("rust-O0", "rustc", &["-g", "--edition=2024"]),
    plain("rust-O3", "rustc", &["-g", "-O", "--edition=2024"]),
    plain(
        "rust-v0-dwarf5",
        "rustc",
        &["-g", "-O", "--edition=2024", "-Csymbol-mangling-version=v0", "-Cdwarf-version=5"],
    ),
    plain("rust-lines", "rustc", &["-Cdebuginfo=line-tables-only", "-O", "--edition=2024"]),
    plain("rust-split", "rustc", &["-g", "-O", "--edition=2024", "-Csplit-debuginfo=unpacked"]),
];

/// Builds variants; of C++ and Rust, whose compilers take long, only some unless all are asked for.
pub(crate) fn build(variants: &[Variant]) -> Vec<Built> {
    let all = std::env::var_os("FLEETPROF_AGREEMENT_ALL").is_some();
    let wanted =
        |variant: &&Variant| all || QUICK.iter().any(|quick| variant.name.starts_with(quick));
    variants.iter().filter(wanted).map(build_one).collect()
}

/// Beginnings of the names of what is always built.
const QUICK: &[&str] =
    &["c-", "cpp-gcc-O2", "cpp-gcc-dwz", "cpp-clang-O3", "cpp-clang-lto", "rust-O3", "rust-v0"];

fn build_one(variant: &Variant) -> Built {
    let directory = fresh_directory(variant.name);
    let binary = directory.join(variant.name);
    compile(variant, &directory, &binary);
    let mut built = Built::plain(variant.name, binary.clone());
    match variant.kind {
        Kind::Plain => {}
        Kind::Dwz => {
            let original = directory.join("original");
            fs::copy(&binary, &original).expect("copied");
            run(&directory, "dwz", [&binary]);
            assert_ne!(
                fs::read(&binary).expect("readable"),
                fs::read(&original).expect("readable")
            );
        }
        Kind::Package(tool) => {
            let package = directory.join(format!("{}.dwp", variant.name));
            let tool = llvm::tool(tool);
            run(
                &directory,
                &tool,
                [OsStr::new("-e"), binary.as_ref(), OsStr::new("-o"), package.as_ref()],
            );
            remove_split_units(&directory);
            built.package = Some(package);
        }
        Kind::Compressed(how) => {
            // LLVM does not know the oldest way any more.
            built.truth = directory.join("original");
            fs::copy(&binary, &built.truth).expect("copied");
            let option = format!("--compress-debug-sections={how}");
            run(&directory, "objcopy", [OsStr::new(&option), binary.as_ref()]);
        }
    }
    built
}

/// Programs whose debug information was moved out of them.
pub(crate) fn separate() -> Vec<Built> {
    let directory = fresh_directory("separate");
    let make = |name: &str, variant: Variant| {
        let whole = directory.join(name);
        compile(&variant, &directory, &whole);
        whole
    };
    let c = plain("c", "gcc", &["-O2", "-g", "-gdwarf-4", "-Wl,--build-id"]);
    let cpp = plain("cpp", "g++", &["-O2", "-g", "-gdwarf-4", "-Wl,--build-id"]);
    let (c, cpp) = (make("c", c), make("cpp", cpp));
    let (c_debug, c_stripped) = strip(&c);
    let (cpp_debug, cpp_stripped) = strip(&cpp);
    let separate = Built {
        debug: Some(cpp_debug.clone()),
        binary: cpp_stripped.clone(),
        ..Built::plain("separate-debug", cpp.clone())
    };
    // What two files have in common goes to a third one.
    let shared = directory.join("shared");
    let shared_c = directory.join("c.dwz.debug");
    let shared_cpp = directory.join("cpp.dwz.debug");
    fs::copy(&c_debug, &shared_c).expect("copied");
    fs::copy(&cpp_debug, &shared_cpp).expect("copied");
    let arguments = [OsStr::new("-m"), shared.as_ref(), shared_c.as_ref(), shared_cpp.as_ref()];
    run(&directory, "dwz", arguments);
    let of_dwz = |name: &str, truth: &Path, binary: &Path, debug: PathBuf| Built {
        debug: Some(debug),
        shared: Some(shared.clone()),
        binary: binary.to_owned(),
        ..Built::plain(name, truth.to_owned())
    };
    vec![
        separate,
        of_dwz("dwz-shared-c", &c, &c_stripped, shared_c),
        of_dwz("dwz-shared-cpp", &cpp, &cpp_stripped, shared_cpp),
    ]
}

/// The debug information of a program, and the program without it.
fn strip(whole: &Path) -> (PathBuf, PathBuf) {
    let directory = whole.parent().expect("in a directory");
    let (debug, stripped) = (whole.with_extension("debug"), whole.with_extension("stripped"));
    let command = |option: &str, target: &Path| {
        let arguments = [OsStr::new(option), whole.as_ref(), target.as_ref()];
        run(directory, "objcopy", arguments);
    };
    command("--only-keep-debug", &debug);
    command("--strip-all", &stripped);
    (debug, stripped)
}

/// Compiles each source for itself, as build systems do, and links.
fn compile(variant: &Variant, directory: &Path, target: &Path) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    if variant.compiler == "rustc" {
        let source = sources.join("nested.rs");
        let mut arguments: Vec<&OsStr> = variant.options.iter().map(OsStr::new).collect();
        arguments.extend([source.as_ref(), OsStr::new("-o"), target.as_ref()]);
        return run(directory, "rustc", arguments);
    }
    let names = match variant.compiler {
        "g++" | "clang++" => ["words.cc", "report.cc"],
        _ => ["table.c", "steps.c"],
    };
    let mut objects = Vec::new();
    for name in names {
        let object = directory.join(name).with_extension("o");
        let source = sources.join(name);
        let mut arguments: Vec<&OsStr> = variant.options.iter().map(OsStr::new).collect();
        let rest = [OsStr::new("-c"), source.as_ref(), OsStr::new("-o"), object.as_ref()];
        arguments.retain(|option| !is_for_linking(option));
        arguments.extend(rest);
        run(directory, variant.compiler, arguments);
        objects.push(object);
    }
    let mut arguments: Vec<&OsStr> = variant.options.iter().map(OsStr::new).collect();
    arguments.extend(objects.iter().map(|object| object.as_os_str()));
    arguments.extend([OsStr::new("-o"), target.as_ref()]);
    run(directory, variant.compiler, arguments);
}

fn is_for_linking(option: &OsStr) -> bool {
    option
        .to_str()
        .is_some_and(|option| option.starts_with("-Wl,") || option.starts_with("-fuse-ld"))
}

fn remove_split_units(directory: &Path) {
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.extension() == Some(OsStr::new("dwo")) {
            fs::remove_file(path).expect("removed");
        }
    }
}

/// A directory of the target directory that is empty.
fn fresh_directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agreement").join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

fn run<S: AsRef<OsStr>>(
    directory: &Path,
    tool: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) {
    let tool = tool.as_ref();
    let mut command = Command::new(tool);
    command.current_dir(directory).args(arguments);
    let output = command.output().unwrap_or_else(|error| {
        let packages = "gcc g++ binutils clang lld llvm dwz";
        panic!("cannot run {}: {error}\ninstall it: apt-get install {packages}", tool.display())
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{stderr}");
}

// === impl Built ===

impl Built {
    /// A program that is one file.
    pub(crate) fn plain(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            truth: path.clone(),
            binary: path,
            debug: None,
            shared: None,
            package: None,
        }
    }
}
