//! What Go binaries say about their own code, stripped or not: functions, files, lines, inlined calls.
//!
//! In: the bytes of an ELF file. Out: rows of a symbol table. The function table ([`FunctionTable`]) has
//! a section of its own; where the text starts and where inlined calls are described stands in the
//! runtime's description of the module, which is found by what it points at.

mod function;
mod module;

use fleetprof_gopclntab::FunctionTable;
use fleetprof_symtab::{Builder, ConvertError, Source};
use object::{Object, ObjectSection};

use function::FunctionRows;
use module::Module;

/// The functions of a Go binary.
#[derive(Debug)]
pub(crate) struct GoFunctions<'a> {
    table: FunctionTable<'a>,
    module: Module<'a>,
}

// === impl GoFunctions ===

impl<'a> GoFunctions<'a> {
    /// `None` when it is no Go binary, or one that cannot be read.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        let file = object::File::parse(bytes).ok()?;
        let names = [".gopclntab", ".data.rel.ro.gopclntab"];
        let section = names.into_iter().find_map(|name| file.section_by_name(name))?;
        let table = FunctionTable::parse(section.data().ok()?);
        let table = table.inspect_err(|error| tracing::debug!(%error, "no names of Go")).ok()?;
        let module = Module::find(&file, section.address(), &table)?;
        Some(Self { table, module })
    }
}

impl Source for GoFunctions<'_> {
    fn add(&mut self, builder: &mut Builder) -> Result<(), ConvertError> {
        let mut rows = FunctionRows::new(&self.table, &self.module);
        for (_, function) in self.table.functions() {
            builder.step(1)?;
            rows.add(&function, builder)?;
        }
        Ok(())
    }
}
