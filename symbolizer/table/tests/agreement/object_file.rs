//! An object as an independent reader sees it.

use std::{collections::HashMap, fs, path::Path};

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};

/// What is asked about an object.
pub(crate) struct ObjectFile {
    /// Its code sections: address, size, and whether compilers made it.
    code: Vec<(u64, u64, bool)>,
    /// Address and size of each name's places.
    places: HashMap<String, Vec<(u64, u64)>>,
}

// === impl ObjectFile ===

impl ObjectFile {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("readable");
        let file = object::File::parse(&*bytes).expect("an object file");
        let code = file.sections().filter(|section| match section.flags() {
            SectionFlags::Elf { sh_flags, .. } => sh_flags.contains(elf::SHF_EXECINSTR),
            _ => false,
        });
        let code = code.map(|section| {
            let name = section.name().unwrap_or_default();
            let by_linker = [".plt", ".iplt", ".init", ".fini"];
            let compiled = !by_linker.iter().any(|start| name.starts_with(start));
            (section.address(), section.size(), compiled)
        });
        let code = code.collect();
        let mut places: HashMap<String, Vec<_>> = HashMap::new();
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            let name = symbol.name().unwrap_or_default().to_owned();
            places.entry(name).or_default().push((symbol.address(), symbol.size()));
        }
        Self { code, places }
    }

    /// Addresses spread evenly over the code: at most about `most`, all of it if it is smaller.
    pub(crate) fn addresses(&self, most: usize) -> Vec<u64> {
        let bytes: u64 = self.code.iter().map(|(_, size, _)| size).sum();
        // Odd, so that it meets every kind of alignment.
        let step = (bytes / most as u64).max(1) | 1;
        let all = self.code.iter().flat_map(|(start, size, _)| {
            (*start..start + size).step_by(usize::try_from(step).expect("small"))
        });
        all.collect()
    }

    /// Whether an address is in what compilers made, not in the linker's stubs.
    pub(crate) fn is_compiled(&self, address: u64) -> bool {
        self.section(address).is_some_and(|(_, _, compiled)| *compiled)
    }

    fn section(&self, address: u64) -> Option<&(u64, u64, bool)> {
        self.code.iter().find(|(start, size, _)| address.wrapping_sub(*start) < *size)
    }

    /// Whether a symbol is in the same section as an address.
    pub(crate) fn same_section(&self, name: &str, address: u64) -> bool {
        let section = self.section(address);
        let inside =
            |at: u64| section.is_some_and(|(start, size, _)| at.wrapping_sub(*start) < *size);
        self.places.get(name).is_some_and(|places| places.iter().any(|(at, _)| inside(*at)))
    }

    /// Whether there is a symbol of this name, and nothing says where it ends.
    pub(crate) fn is_without_size(&self, name: &str) -> bool {
        self.places.get(name).is_some_and(|places| places.iter().all(|(_, size)| *size == 0))
    }

    /// Whether a symbol's size reaches to an address.
    pub(crate) fn covers(&self, name: &str, address: u64) -> bool {
        let reaches = |(at, size): &(u64, u64)| address.wrapping_sub(*at) < *size;
        self.places.get(name).is_some_and(|places| places.iter().any(reaches))
    }
}
