//! All captured code in numbered tables, made once: a batch is then drawn without looking anything up
//! by content.

use std::collections::HashMap;

use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};

use super::{alias::Alias, capture::Captured};
use crate::pprof::{Line, Location};

/// Libraries that every program of a machine shares; all other files are a service's own.
const SHARED_FILES: [&str; 9] = [
    "ld-linux",
    "ld-musl",
    "libc.",
    "libc-",
    "libm.",
    "libpthread",
    "libdl.",
    "libgcc_s",
    "libstdc++",
];

/// How frames travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// As addresses in files with build IDs, as of native code: nobody has names for them.
    #[default]
    Addresses,
    /// With the names of the capture, as of code that a runtime names: answers are readable.
    Names,
}

/// See the module's documentation. Row 0 of strings, objects, frames and nodes is reserved, as in a batch.
#[derive(Debug)]
pub struct Library {
    pub(super) strings: Vec<String>,
    pub(super) objects: Vec<CodeObject>,
    pub(super) frames: Vec<Frame>,
    pub(super) nodes: Vec<Node>,
    pub(super) programs: Vec<Program>,
    /// Of all programs.
    pub(super) items: Vec<Item>,
}

/// A file, the kernel, …
#[derive(Debug)]
pub(super) struct CodeObject {
    pub(super) kind: ObjectKind,
    pub(super) build_id: Option<BuildId>,
    pub(super) path: u32,
    /// Each version of each service has another.
    pub(super) is_own: bool,
}

/// An address or a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    pub(super) object: u32,
    pub(super) offset: u64,
    pub(super) function: u32,
    pub(super) file: u32,
    pub(super) line: u32,
}

/// A stack: its parent's and one callee. A parent stands before its children.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) frame: u32,
}

/// What a service can be an instance of.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) comms: Vec<String>,
    /// Its first item; the distribution counts from there.
    pub(super) first_item: u32,
    pub(super) distribution: Alias,
}

/// What one sample can be: a stack of a thread of this name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) node: u32,
    pub(super) comm: u32,
}

#[derive(Debug)]
struct Builder {
    library: Library,
    frames: Frames,
    strings: HashMap<String, u32>,
    objects: HashMap<(String, String), u32>,
    rows: HashMap<Frame, u32>,
}

// === impl Library ===

impl Library {
    /// Of captures that are not empty.
    pub fn new(captures: &[Captured], frames: Frames) -> Self {
        let library = Self {
            strings: vec![String::new()],
            objects: vec![CodeObject {
                kind: ObjectKind::Unknown,
                build_id: None,
                path: 0,
                is_own: false,
            }],
            frames: vec![Frame::default()],
            nodes: vec![Node { parent: 0, frame: 0 }],
            programs: Vec::new(),
            items: Vec::new(),
        };
        let mut builder = Builder {
            library,
            frames,
            strings: HashMap::from([(String::new(), 0)]),
            objects: HashMap::new(),
            rows: HashMap::new(),
        };
        captures.iter().for_each(|captured| builder.program(captured));
        builder.library
    }

    /// Programs that services are instances of, with the number of their distinct stacks.
    pub fn programs(&self) -> impl Iterator<Item = (&str, usize)> {
        let ends = self.programs.iter().skip(1).map(|next| next.first_item as usize);
        self.programs
            .iter()
            .zip(ends.chain([self.items.len()]))
            .map(|(program, end)| (program.name.as_str(), end - program.first_item as usize))
    }
}

// === impl Builder ===

impl Builder {
    fn program(&mut self, captured: &Captured) {
        // Nodes are a program's own, so that drawing from one never meets another's marks.
        let mut nodes: HashMap<(u32, u32), u32> = HashMap::new();
        let mut comms: Vec<String> = Vec::new();
        let mut items: HashMap<(u32, u32), usize> = HashMap::new();
        let first_item = row(self.library.items.len());
        let mut weights: Vec<u64> = Vec::new();
        for stack in &captured.stacks {
            let mut node = 0;
            for location in stack.locations.iter().rev() {
                for frame in self.location(location) {
                    node = *nodes.entry((node, frame)).or_insert_with(|| {
                        self.library.nodes.push(Node { parent: node, frame });
                        row(self.library.nodes.len() - 1)
                    });
                }
            }
            let known = comms.iter().position(|comm| *comm == stack.comm);
            let comm = row(known.unwrap_or_else(|| {
                comms.push(stack.comm.clone());
                comms.len() - 1
            }));
            let item = *items.entry((node, comm)).or_insert_with(|| {
                self.library.items.push(Item { node, comm });
                weights.push(0);
                weights.len() - 1
            });
            weights[item] += stack.weight;
        }
        let name = captured.name.clone();
        let distribution = Alias::new(&weights);
        self.library.programs.push(Program { name, comms, first_item, distribution });
    }

    /// Its frames, outermost first.
    fn location(&mut self, location: &Location) -> Vec<u32> {
        let object = self.object(location);
        if self.frames == Frames::Names && !location.lines.is_empty() {
            let lines = location.lines.iter().rev();
            return lines.map(|line| self.named(object, line)).collect();
        }
        match (&self.library.objects[object as usize].kind, location.lines.last()) {
            // Generated code: its host alone had the name, and there was no address.
            (ObjectKind::Anonymous | ObjectKind::Unknown, Some(line)) => {
                vec![self.named(object, line)]
            }
            // No frame is equal to the reserved one.
            _ => {
                let offset = location.offset.max(u64::from(object == 0));
                vec![self.frame(Frame { object, offset, ..Frame::default() })]
            }
        }
    }

    fn named(&mut self, object: u32, line: &Line) -> u32 {
        let (function, file) = (self.string(&line.function), self.string(&line.file));
        if function == 0 {
            return self.frame(Frame { object, offset: 1, ..Frame::default() });
        }
        let line = u32::try_from(line.line).unwrap_or(0);
        self.frame(Frame { object, offset: 0, function, file, line })
    }

    fn frame(&mut self, frame: Frame) -> u32 {
        *self.rows.entry(frame).or_insert_with(|| {
            self.library.frames.push(frame);
            row(self.library.frames.len() - 1)
        })
    }

    fn object(&mut self, location: &Location) -> u32 {
        let Some(mapping) = &location.mapping else { return 0 };
        let key = (mapping.file.clone(), mapping.build_id.clone());
        if let Some(known) = self.objects.get(&key) {
            return *known;
        }
        let kind = kind(&mapping.file);
        let file = mapping.file.rsplit('/').next().unwrap_or_default();
        let is_shared = SHARED_FILES.iter().any(|start| file.starts_with(start));
        let object = CodeObject {
            kind,
            build_id: build_id(&mapping.build_id),
            path: self.string(&mapping.file),
            is_own: kind == ObjectKind::File && !is_shared,
        };
        self.library.objects.push(object);
        let object = row(self.library.objects.len() - 1);
        self.objects.insert(key, object);
        object
    }

    fn string(&mut self, text: &str) -> u32 {
        if let Some(known) = self.strings.get(text) {
            return *known;
        }
        self.library.strings.push(text.to_owned());
        let string = row(self.library.strings.len() - 1);
        self.strings.insert(text.to_owned(), string);
        string
    }
}

/// As the names of pprof mappings tell it.
fn kind(name: &str) -> ObjectKind {
    match name {
        "[vdso]" => ObjectKind::Vdso,
        "" => ObjectKind::Unknown,
        _ if name.starts_with("[kernel") => ObjectKind::Kernel,
        _ if name.starts_with('/') => ObjectKind::File,
        _ if name.starts_with('[') && !name.contains("anon") && !name.contains("jit") => {
            ObjectKind::KernelModule
        }
        _ => ObjectKind::Anonymous,
    }
}

/// Hexadecimal digits, else the text that Go writes.
fn build_id(text: &str) -> Option<BuildId> {
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digits).collect();
    match bytes {
        Some(bytes) => BuildId::new(BuildIdKind::Gnu, &bytes).ok(),
        None => BuildId::new(BuildIdKind::Go, text.as_bytes()).ok(),
    }
}

/// A capture has far fewer rows than 2^32.
fn row(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
