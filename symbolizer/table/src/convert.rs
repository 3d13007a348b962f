//! From files to a table.

use object::Object;

use crate::{
    assemble::{self, About, Counts},
    builder::Builder,
    code::Code,
    dwarf::{self, Companions, SplitFile},
    elf::Elf,
    error::{ConvertError, Limits},
    format::SourceSet,
    mini,
    plt::StubNames,
    symbols::Symbols,
};

/// The files of one object. At least one of the first two is needed.
#[derive(Default)]
pub struct Inputs<'a, 'f> {
    /// The binary as it runs, stripped or not. Only it tells how file offsets become addresses.
    pub binary: Option<&'a [u8]>,
    /// A separate file with its debug information and symbols.
    pub debug: Option<&'a [u8]>,
    /// The file that `.gnu_debugaltlink` of the debug information names, made by dwz.
    pub shared: Option<&'a [u8]>,
    /// A `.dwp` file with the split units.
    pub package: Option<&'a [u8]>,
    /// Gives the `.dwo` file of a split unit that is not in the package.
    pub split: Option<&'f mut SplitFile<'f>>,
    /// Sources of another kind, such as a language's own tables. Where debug information says
    /// something, that counts.
    pub others: Vec<&'f mut dyn Source>,
    /// Leave debug information out, as after it broke a limit: the table says that it is incomplete.
    pub without_debug_info: bool,
}

/// Something that knows functions by address, beside debug information and symbol tables.
pub trait Source {
    /// Adds what it knows.
    ///
    /// # Errors
    /// When a limit is passed, or the source is damaged beyond use.
    fn add(&mut self, builder: &mut Builder) -> Result<(), ConvertError>;
}

/// A new table, and what happened on the way.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The table; see [`crate::Table`].
    pub table: Vec<u8>,
    /// What it was made from.
    pub report: Report,
}

/// What a table was made from, and what had to be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The kinds of sources that were there.
    pub sources: SourceSet,
    /// Units of debug information.
    pub units: u64,
    /// Units that are damaged, and were used as far as they can be read.
    pub damaged_units: u64,
    /// What is wrong with the first of them.
    pub first_damage: Option<String>,
    /// Split units whose file was not given.
    pub missing_units: u64,
    /// Functions and inlined calls whose addresses are damaged.
    pub damaged_entries: u64,
    /// Inlined calls that are nested too deep.
    pub too_deep: u64,
    /// Names that were longer than the limit, and were cut.
    pub cut_names: u64,
    /// Symbols of code.
    pub symbols: u64,
    /// What is in the table.
    pub counts: Counts,
}

// === impl Report ===

impl Report {
    pub(crate) fn damaged_unit(&mut self, why: &dyn std::fmt::Display) {
        self.damaged_units += 1;
        self.first_damage.get_or_insert_with(|| why.to_string());
    }
}

/// Makes the table of an object. A file without any symbols has one, too: it says so.
///
/// # Errors
/// When a file cannot be read, belongs to another build, or is more than the limits allow.
pub fn convert(inputs: Inputs<'_, '_>, limits: Limits) -> Result<Converted, ConvertError> {
    let parse = |bytes: Option<_>, what| bytes.map(|bytes| Elf::parse(bytes, what)).transpose();
    let binary = parse(inputs.binary, "the binary")?;
    let debug = parse(inputs.debug, "the debug file")?;
    let package = parse(inputs.package, "the package of split units")?;
    let main = binary.as_ref().or(debug.as_ref()).ok_or(ConvertError::NoCode)?;
    main.require_linked()?;
    let mut with_dwarf = [&debug, &binary].into_iter().flatten().find(|elf| elf.has_dwarf());
    let shared = parse(inputs.shared, "the shared debug file")?;
    check_builds(binary.as_ref(), debug.as_ref(), with_dwarf, shared.as_ref())?;

    let code = Code::new(main.code()).ok_or(ConvertError::NoCode)?;
    let mut builder = Builder::new(code, limits);
    let mut report = Report::default();
    if inputs.without_debug_info && with_dwarf.take().is_some() {
        report.sources.add(SourceSet::INCOMPLETE);
    }

    let budget = &mut builder.budget;
    let packed = match &binary {
        Some(elf) => elf.section(".gnu_debugdata", budget)?,
        None => Default::default(),
    };
    let mini = if packed.is_empty() { None } else { Some(mini::unpack(&packed, budget)?) };
    let mini = mini.as_deref().map(|bytes| Elf::parse(bytes, ".gnu_debugdata")).transpose()?;
    let stubs = binary.as_ref().map(|elf| StubNames::read(elf, budget)).transpose()?;
    let mut found = Vec::new();
    // The table that says most comes last: it counts where two name the same place.
    for (elf, dynamic, kind) in [
        (&binary, true, SourceSet::DYNSYM),
        (&mini, false, SourceSet::MINI_DEBUG_INFO),
        (&binary, false, SourceSet::SYMTAB),
        (&debug, false, SourceSet::SYMTAB),
    ] {
        if let Some(elf) = elf
            && elf.symbols(dynamic, &builder.code, &mut found, &mut builder.budget)? > 0
        {
            report.sources.add(kind);
        }
    }
    if let Some(stubs) = &stubs
        && stubs.symbols(&builder.code, &mut found) > 0
    {
        report.sources.add(SourceSet::PLT);
    }
    report.symbols = found.len() as u64;
    let symbols = Symbols::new(found, &builder.code);
    builder.budget.look()?;

    if let Some(elf) = with_dwarf {
        report.sources.add(SourceSet::DWARF);
        let links = elf.file.gnu_debugaltlink().ok().flatten().is_some();
        match (links, shared.is_some()) {
            (true, true) => report.sources.add(SourceSet::SHARED_DWARF),
            (true, false) => report.sources.add(SourceSet::INCOMPLETE),
            _ => {}
        }
        let mut none = |_: &dwarf::SplitUnit<'_>| None;
        let split = inputs.split.unwrap_or(&mut none);
        let shared = shared.filter(|_| links);
        let companions = Companions { shared, package, split };
        dwarf::read(elf, companions, &symbols, &mut builder, &mut report)?;
    }
    let before = builder.runs.rows();
    for source in inputs.others {
        builder.forget_nodes();
        source.add(&mut builder)?;
        builder.end_run();
    }
    if builder.runs.rows() > before {
        report.sources.add(SourceSet::OTHER);
    }
    if report.missing_units > 0 {
        report.sources.add(SourceSet::INCOMPLETE);
    }
    if report.damaged_units + report.damaged_entries > 0 {
        report.sources.add(SourceSet::DAMAGED);
    }
    report.cut_names = builder.texts.cut();
    let segments = binary.as_ref().map(Elf::segments).unwrap_or_default();
    let (machine, build_id) = (main.machine(), main.build_id());
    let about = About { machine, build_id, segments: &segments, sources: report.sources };
    let (table, counts) = assemble::assemble(builder, &symbols, &about)?;
    report.counts = counts;
    Ok(Converted { table, report })
}

/// Files belong together when their build IDs are equal; one without a build ID is believed.
fn check_builds(
    binary: Option<&Elf<'_>>,
    debug: Option<&Elf<'_>>,
    with_dwarf: Option<&Elf<'_>>,
    shared: Option<&Elf<'_>>,
) -> Result<(), ConvertError> {
    let differ = |a: &[u8], b: &[u8]| !a.is_empty() && !b.is_empty() && a != b;
    if let (Some(binary), Some(debug)) = (binary, debug)
        && differ(binary.build_id(), debug.build_id())
    {
        return Err(ConvertError::Mismatch { what: "the debug file" });
    }
    if let (Some(main), Some(shared)) = (with_dwarf, shared)
        && let Ok(Some((_, wanted))) = main.file.gnu_debugaltlink()
        && differ(wanted, shared.build_id())
    {
        return Err(ConvertError::Mismatch { what: "the shared debug file" });
    }
    Ok(())
}
