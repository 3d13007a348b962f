//! Finds out where kernel code lies. Every source may be missing; each is used for what it has.

use std::{collections::BTreeMap, fs, io::Cursor, path::Path, sync::Arc};

use fleetprof_proto::ids::{
    BuildId, ObjectKind,
    elf_identity::{self, NoteIds},
};
use tracing::debug;

use super::{
    KERNEL_PATH, KernelConfig,
    kallsyms::{self, Symbol},
    map::{Code, KernelMap, Source},
};
use crate::object::CodeObject;

/// What one pass over kallsyms gathers.
#[derive(Debug, Default)]
pub(super) struct Found {
    image: Image,
    /// Functions of generated code: address, pseudo module, name.
    generated: Vec<(u64, Vec<u8>, Vec<u8>)>,
    /// Lowest and highest function of modules; used where `/proc/modules` does not list them.
    modules: BTreeMap<Vec<u8>, (u64, u64)>,
    entries: Vec<std::ops::Range<u64>>,
    /// The entry function whose end is the next symbol.
    open_entry: Option<u64>,
}

/// Landmarks of the kernel image; 0 = not seen.
#[derive(Debug, Default)]
struct Image {
    text: u64,
    stext: u64,
    etext: u64,
    einittext: u64,
    end: u64,
}

/// Most pieces of generated code kept.
const MAX_GENERATED: usize = 16 * 1024;

/// Longest piece of generated code: nothing says where the last of them ends.
const MAX_GENERATED_BYTES: u64 = 256 << 10;

/// How far a module's last function may reach.
const LAST_FUNCTION_BYTES: u64 = 64 << 10;

/// Functions through which system calls enter, of x86-64 and arm64. After them, and only after
/// them, the user instruction pointer is that of the next instruction.
const ENTRIES: [&[u8]; 16] = [
    b"entry_SYSCALL_64",
    b"entry_SYSCALL_64_after_hwframe",
    b"entry_SYSCALL_compat",
    b"entry_SYSCALL_compat_after_hwframe",
    b"entry_SYSENTER_compat",
    b"entry_SYSENTER_compat_after_hwframe",
    b"entry_INT80_compat",
    b"asm_int80_emulation",
    b"do_syscall_64",
    b"do_fast_syscall_32",
    b"do_int80_emulation",
    b"ret_from_fork",
    b"ret_from_fork_asm",
    b"el0_svc",
    b"el0_svc_compat",
    b"do_el0_svc",
];

pub(super) fn survey(config: &KernelConfig) -> KernelMap {
    let kallsyms = config.proc_root.join("kallsyms");
    let mut found = Found::default();
    if let Err(error) = kallsyms::for_each(&kallsyms, &mut |symbol| found.add(symbol)) {
        return KernelMap::unavailable(format!("{} cannot be read: {error}", kallsyms.display()));
    }
    let listed = listed_modules(&config.proc_root.join("modules"));
    found.into_map(&listed, &config.sys_root).unwrap_or_else(|| {
        KernelMap::unavailable(format!("{} shows no addresses", kallsyms.display()))
    })
}

// === impl Found ===

impl Found {
    /// The map, `listed` being what is known of modules besides; `None` when there are no addresses.
    pub(super) fn into_map(
        self,
        listed: &[(String, u64, u64)],
        sys_root: &Path,
    ) -> Option<KernelMap> {
        let mut codes = vec![self.image.code(sys_root)?];
        for (name, start, size) in listed {
            codes.push(module(sys_root, name, *start, start.saturating_add(*size), true));
        }
        for (name, (first, last)) in &self.modules {
            if !listed.iter().any(|(listed, ..)| listed.as_bytes() == name) {
                let name = String::from_utf8_lossy(name);
                let end = last.saturating_add(LAST_FUNCTION_BYTES);
                codes.push(module(sys_root, &name, *first, end, false));
            }
        }
        codes.extend(self.generated.iter().map(generated));
        Some(KernelMap::new(codes, self.entries))
    }

    pub(super) fn add(&mut self, symbol: &Symbol<'_>) {
        // Restricted kernels show zero for everything.
        if symbol.address == 0 {
            return;
        }
        if let Some(start) = self.open_entry.filter(|start| symbol.address > *start) {
            self.entries.push(start..symbol.address);
            self.open_entry = None;
        }
        match symbol.module {
            None => self.add_to_image(symbol),
            Some(_) if !symbol.is_function() => {}
            Some(module) if is_generated(module) => {
                if self.generated.len() < MAX_GENERATED {
                    self.generated.push((symbol.address, module.to_vec(), symbol.name.to_vec()));
                }
            }
            Some(module) => {
                // Allocates once per module, not once per symbol.
                match self.modules.get_mut(module) {
                    Some((first, last)) => {
                        *first = (*first).min(symbol.address);
                        *last = (*last).max(symbol.address);
                    }
                    None => {
                        self.modules.insert(module.to_vec(), (symbol.address, symbol.address));
                    }
                }
            }
        }
    }

    fn add_to_image(&mut self, symbol: &Symbol<'_>) {
        let image = &mut self.image;
        match symbol.name {
            b"_text" => image.text = symbol.address,
            b"_stext" => image.stext = symbol.address,
            b"_etext" => image.etext = symbol.address,
            b"_einittext" => image.einittext = symbol.address,
            b"_end" => image.end = symbol.address,
            name if ENTRIES.contains(&name) => self.open_entry = Some(symbol.address),
            _ => {}
        }
    }
}

// === impl Image ===

impl Image {
    /// `None` when there are no addresses.
    fn code(&self, sys_root: &Path) -> Option<Code> {
        let start = [self.text, self.stext].into_iter().find(|address| *address != 0)?;
        let end = self.end.max(self.etext).max(self.einittext);
        if end <= start {
            return None;
        }
        let notes = read_notes(&sys_root.join("kernel/notes"));
        let build_id = notes.as_deref().and_then(|notes| NoteIds::of_notes(notes).gnu);
        // Without `_text` offsets would be relative to something else than on other hosts.
        let build_id = build_id.filter(|_| self.text != 0);
        let object = Arc::new(CodeObject::new(ObjectKind::Kernel, build_id, KERNEL_PATH.into()));
        Some(Code { start, end, base: start, object, source: Source::Kallsyms { module: None } })
    }
}

/// Name, load address and size of the modules; those with hidden addresses are left out.
fn listed_modules(path: &Path) -> Vec<(String, u64, u64)> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            // A kernel without modules has no such file.
            debug!(%error, path = %path.display(), "no list of kernel modules");
            return Vec::new();
        }
    };
    text.lines().filter_map(module_line).collect()
}

/// `nf_tables 372736 123 nft_ct,nft_nat, Live 0xffffffffc0a5e000 (OE)`
pub(super) fn module_line(line: &str) -> Option<(String, u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next()?;
    let size = words.next()?.parse().ok()?;
    let address = words.nth(3)?.strip_prefix("0x")?;
    let address = u64::from_str_radix(address, 16).ok().filter(|address| *address != 0)?;
    Some((name.to_owned(), address, size))
}

fn module(sys_root: &Path, name: &str, start: u64, end: u64, base_is_known: bool) -> Code {
    // The name comes from the kernel, and still must not lead elsewhere.
    let safe = !name.contains('/') && !name.starts_with('.');
    let notes = safe
        .then(|| sys_root.join(format!("module/{name}/notes/.note.gnu.build-id")))
        .and_then(|path| read_notes(&path));
    // Offsets from anything but the load address would name the wrong functions on other hosts.
    let build_id = notes.as_deref().filter(|_| base_is_known);
    let build_id: Option<BuildId> = build_id.and_then(|notes| NoteIds::of_notes(notes).gnu);
    let path = format!("[{name}]").into();
    let object = Arc::new(CodeObject::new(ObjectKind::KernelModule, build_id, path));
    let source = Source::Kallsyms { module: Some(name.as_bytes().to_vec()) };
    Code { start, end, base: start, object, source }
}

fn is_generated(module: &[u8]) -> bool {
    module == b"bpf" || module.starts_with(b"__builtin__")
}

fn generated((address, module, name): &(u64, Vec<u8>, Vec<u8>)) -> Code {
    let mut listing = b"0 t ".to_vec();
    listing.extend_from_slice(name);
    listing.push(b'\n');
    // Reading memory does not fail; without an id the code only stays without a name.
    let build_id = elf_identity::htlhash(Cursor::new(&listing)).ok();
    let path = format!("[{}]", String::from_utf8_lossy(module)).into();
    let object = Arc::new(CodeObject::new(ObjectKind::KernelModule, build_id, path));
    let end = address.saturating_add(MAX_GENERATED_BYTES);
    Code { start: *address, end, base: *address, object, source: Source::Generated(listing) }
}

/// Notes are tiny; a bound keeps a strange sysfs from filling the memory.
fn read_notes(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;

    let file = fs::File::open(path)
        .inspect_err(|error| debug!(%error, path = %path.display(), "no kernel notes"));
    let mut notes = Vec::new();
    file.ok()?.take(64 << 10).read_to_end(&mut notes).ok()?;
    Some(notes)
}
