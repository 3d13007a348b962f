//! Small ELF files: what compilers and assemblers make of the sources in `programs/`, what tools make
//! of that, and headers by hand for machines whose compilers are not here.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use fleetprof_symtab::{Inputs, convert};
use fleetprof_unwind::{Limits, build};

use crate::Seeds;

/// Name, source, and what the compiler is told besides. Sections are packed: pages would be most of
/// the file.
const BUILDS: &[(&str, &str, &[&str])] = &[
    ("static", "frames.c", &["-static"]),
    ("stripped", "frames.c", &["-static", "-s", "-Wl,--build-id=none"]),
    ("pointers", "frames.c", &["-static", "-fno-omit-frame-pointer", "-O1"]),
    ("library", "frames.c", &["-shared", "-fPIC", "-DCALLS"]),
    ("library-cet", "frames.c", &["-shared", "-fPIC", "-DCALLS", "-fcf-protection"]),
    ("library-now", "frames.c", &["-shared", "-fPIC", "-DCALLS", "-Wl,-z,now", "-fno-plt"]),
    ("relocatable", "frames.c", &["-c"]),
    ("rules", "rules.S", &["-static"]),
    ("debug-frame", "rules.S", &["-static", "-DDEBUG_FRAME"]),
    (
        "debug-frame-zlib",
        "rules.S",
        &["-static", "-DDEBUG_FRAME", "-Wl,--compress-debug-sections=zlib"],
    ),
    (
        "debug-frame-gnu",
        "rules.S",
        &["-static", "-DDEBUG_FRAME", "-Wl,--compress-debug-sections=zlib-gnu"],
    ),
    ("notes", "notes.S", &["-static", "-Wl,--build-id=none"]),
    ("shared-debug", "notes.S", &["-static", "-Wl,--build-id=none", "-DSHARED"]),
];

/// The same for what names code: debug information of several versions and forms, linkage stubs, Go's
/// function table.
const NAMED: &[(&str, &str, &[&str])] = &[
    ("dwarf-5", "frames.c", &["-static", "-g"]),
    ("dwarf-4", "frames.c", &["-static", "-g", "-gdwarf-4"]),
    ("dwarf-2", "frames.c", &["-static", "-g", "-gdwarf-2", "-gstrict-dwarf"]),
    ("dwarf-zlib", "frames.c", &["-static", "-g", "-gz=zlib"]),
    ("library", "frames.c", &["-shared", "-fPIC", "-DCALLS", "-g"]),
    ("symbols", "frames.c", &["-static"]),
    ("stripped", "frames.c", &["-shared", "-fPIC", "-DCALLS", "-s"]),
    ("go", "go.S", &["-static", "-s"]),
];

/// What all have in common.
const PACKED: &[&str] = &[
    "-O2",
    "-nostdlib",
    "-ffreestanding",
    "-fno-ident",
    "-fno-stack-protector",
    "-Wl,-z,noseparate-code",
    "-Wl,-z,norelro",
    "-Wl,-z,max-page-size=4096",
];

/// The binaries, and the tables that are made of them.
pub(crate) fn seeds() -> Result<Seeds> {
    with_folder(in_folder)
}

/// Binaries with names.
pub(crate) fn with_symbols() -> Result<Seeds> {
    with_folder(|folder| {
        fs::write(folder.join("table"), crate::go::table(0xf1, 1))?;
        let include = format!("-Wa,-I{}", folder.display());
        let make = |(name, source, options): &(&str, &str, &[&str])| {
            let options = [options, &[include.as_str()][..]].concat();
            let path = compile("cc", folder, name, source, &options)?;
            Ok(((*name).to_owned(), fs::read(path)?))
        };
        NAMED.iter().map(make).collect()
    })
}

/// The symbol tables of these.
pub(crate) fn symbol_tables() -> Result<Seeds> {
    let table = |(name, bytes): (String, Vec<u8>)| {
        let inputs = Inputs { binary: Some(&bytes), ..Inputs::default() };
        Ok((name, convert(inputs, fleetprof_symtab::fuzz_limits())?.table))
    };
    with_symbols()?.into_iter().map(table).collect()
}

fn with_folder(make: impl FnOnce(&Path) -> Result<Seeds>) -> Result<Seeds> {
    let folder = std::env::temp_dir().join(format!("fleetprof-seeds-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let made = make(&folder);
    fs::remove_dir_all(&folder)?;
    made
}

fn in_folder(folder: &Path) -> Result<Seeds> {
    let mut seeds = Seeds::new();
    for (name, source, options) in BUILDS {
        let path = compile("cc", folder, name, source, options)?;
        seeds.push(((*name).to_owned(), fs::read(path)?));
    }
    for (name, options) in [("arm64", &["-static"][..]), ("arm64-library", &["-shared", "-DCALLS"])]
    {
        // Not on every machine; the corpus has them.
        if let Ok(path) = compile("aarch64-linux-gnu-gcc", folder, name, "frames.c", options) {
            seeds.push((name.to_owned(), fs::read(path)?));
        }
    }
    let tables: Seeds = seeds.iter().filter_map(|(name, bytes)| table(name, bytes)).collect();
    let sectionless = seeds.iter().map(|(name, bytes)| {
        let mut bytes = bytes.clone();
        // e_shoff: only the segments are left to tell what there is.
        bytes[40..48].fill(0);
        (format!("{name}-sectionless"), bytes)
    });
    let sectionless: Seeds = sectionless.collect();
    seeds.extend(tables);
    seeds.extend(sectionless);
    seeds.extend(by_hand());
    Ok(seeds)
}

fn compile(
    compiler: &str,
    folder: &Path,
    name: &str,
    source: &str,
    options: &[&str],
) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/seeds/programs").join(source);
    let path = folder.join(name);
    let mut command = Command::new(compiler);
    command.args(PACKED).args(options).arg(&source).arg(OsStr::new("-o")).arg(&path);
    let output = command.output().with_context(|| format!("{compiler} does not run"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{compiler} cannot make {name}: {errors}");
    Ok(path)
}

fn table(name: &str, binary: &[u8]) -> Option<(String, Vec<u8>)> {
    let table = build(&binary, None, &Limits::default()).ok()?;
    Some((format!("{name}-table"), table.encode()))
}

/// A header, a segment of notes, and a note with a build ID; of 32 bits and of the other byte order.
fn by_hand() -> Seeds {
    [(1, 1), (1, 2), (2, 2)]
        .map(|(class, order)| (format!("class-{class}-order-{order}"), header(class, order)))
        .to_vec()
}

fn header(class: u8, order: u8) -> Vec<u8> {
    let put = |bytes: &mut Vec<u8>, value: u64, len: usize| match order {
        1 => bytes.extend(&value.to_le_bytes()[..len]),
        _ => bytes.extend(&value.to_be_bytes()[8 - len..]),
    };
    let (word, header, segment) = if class == 1 { (4, 52, 32) } else { (8, 64, 56) };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Type, machine, version; entry, segments, sections; flags; sizes and numbers.
    let numbers = [(3, 2), (2, 2), (1, 4), (0, word), (header, word), (0, word), (0, 4)];
    numbers.iter().for_each(|(value, len)| put(&mut bytes, *value, *len));
    let numbers = [header, segment, 1, 64, 0, 0];
    numbers.iter().for_each(|value| put(&mut bytes, *value, 2));
    let at = header + segment;
    let notes = 12 + 4 + 20;
    // PT_NOTE: in 64 bits the flags come second, in 32 bits second to last.
    put(&mut bytes, 4, 4);
    let place = [at, at, at, notes, notes];
    if class == 1 {
        place.iter().for_each(|value| put(&mut bytes, *value, word));
        put(&mut bytes, 4, 4);
    } else {
        put(&mut bytes, 4, 4);
        place.iter().for_each(|value| put(&mut bytes, *value, word));
    }
    put(&mut bytes, 4, word);
    for value in [4, 20, 3] {
        put(&mut bytes, value, 4);
    }
    bytes.extend(b"GNU\0");
    bytes.extend([0xab; 20]);
    bytes
}
