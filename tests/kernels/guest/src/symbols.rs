//! Names of functions, straight from the ELF file and from kallsyms: nothing of the agent is asked.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, ensure};
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};

/// An address that starts no function of the table, for people.
pub(crate) const UNKNOWN: &str = "?";

/// The functions of an executable.
#[derive(Debug)]
pub(crate) struct Symbols {
    /// Start → end and name, by address as linked.
    functions: BTreeMap<u64, (u64, String)>,
    /// File offset, length and address of each segment.
    segments: Vec<(u64, u64, u64)>,
    /// The build ID note's descriptor.
    pub(crate) build_id: Vec<u8>,
}

/// The functions of the running kernel.
#[derive(Debug)]
pub(crate) struct KernelSymbols {
    functions: BTreeMap<u64, String>,
    text: u64,
}

impl Symbols {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = object::File::parse(&*bytes)?;
        let functions =
            file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text).map(|symbol| {
                let end = symbol.address() + symbol.size().max(1);
                (symbol.address(), (end, symbol.name().unwrap_or(UNKNOWN).to_owned()))
            });
        let segments = file.segments().map(|segment| {
            let (offset, length) = segment.file_range();
            (offset, length, segment.address())
        });
        let build_id = file.build_id()?.context("the test program has no build ID")?.to_vec();
        Ok(Self { functions: functions.collect(), segments: segments.collect(), build_id })
    }

    /// The function at a file offset.
    pub(crate) fn name(&self, offset: u64) -> &str {
        let mut segments = self.segments.iter();
        let segment =
            segments.find(|(start, length, _)| (*start..start + length).contains(&offset));
        let Some((start, _, address)) = segment else { return UNKNOWN };
        let address = address + (offset - start);
        match self.functions.range(..=address).next_back() {
            Some((_, (end, name))) if address < *end => name,
            _ => UNKNOWN,
        }
    }
}

impl KernelSymbols {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
        let mut functions = BTreeMap::new();
        let (mut start, mut code) = (None, None);
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let address = u64::from_str_radix(address, 16)?;
            if name == "_text" {
                start = Some(address);
            } else if name == "_stext" {
                code = Some(address);
            } else if matches!(kind, "t" | "T") {
                functions.insert(address, name.to_owned());
            }
        }
        // Where only code is listed, arm64's `_text` is not: it lies before the code.
        let text = start.or(code).context("/proc/kallsyms has neither _text nor _stext")?;
        ensure!(text != 0, "/proc/kallsyms shows no addresses");
        Ok(Self { functions, text })
    }

    /// The function at an offset from `_text`, or from `_stext` where that is not listed.
    pub(crate) fn name(&self, offset: u64) -> &str {
        let address = self.text.wrapping_add(offset);
        self.functions.range(..=address).next_back().map_or(UNKNOWN, |(_, name)| name)
    }
}
