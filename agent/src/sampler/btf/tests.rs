use proptest::prelude::*;

use super::{BtfError, task_offsets};

/// Types by hand: an int, an anonymous struct of two ints, and a task around them.
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0] }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        offset
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn int(&mut self) {
        let name = self.name("long");
        self.words(&[name, 1 << 24, 8, 64]);
    }

    fn structure(&mut self, name: &str, members: &[(&str, u32, u32)]) {
        let name = self.name(name);
        self.words(&[name, (4 << 24) | members.len() as u32, 0]);
        for (name, type_id, bits) in members {
            let name = self.name(name);
            self.words(&[name, *type_id, *bits]);
        }
    }

    fn finish(&self) -> Vec<u8> {
        let mut btf = 0xeb9f_u16.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            btf.extend(word.to_ne_bytes());
        }
        btf.extend(&self.types);
        btf.extend(&self.strings);
        btf
    }
}

fn sample() -> Vec<u8> {
    let mut builder = Builder::new();
    builder.int();
    builder.structure("", &[("mm", 1, 64), ("group_leader", 1, 128)]);
    builder.structure("task_struct_other", &[("mm", 1, 0)]);
    builder.structure("task_struct", &[("state", 1, 0), ("", 2, 512), ("start_boottime", 1, 1024)]);
    builder.finish()
}

#[test]
fn members_are_found_also_inside_anonymous_structures() {
    let offsets = task_offsets(&sample()).unwrap();
    assert_eq!(offsets.mm, 64 + 8);
    assert_eq!(offsets.group_leader, 64 + 16);
    assert_eq!(offsets.start_boottime, 128);
}

#[test]
fn a_field_the_kernel_lacks_has_offset_zero() {
    let mut builder = Builder::new();
    builder.int();
    builder.structure("task_struct", &[("state", 1, 0), ("mm", 1, 64)]);
    let offsets = task_offsets(&builder.finish()).unwrap();
    assert_eq!((offsets.mm, offsets.start_boottime), (8, 0));
}

#[test]
fn a_kernel_without_tasks_is_an_error() {
    let mut builder = Builder::new();
    builder.int();
    assert_eq!(task_offsets(&builder.finish()), Err(BtfError::NoTask));
}

#[test]
fn structures_that_contain_themselves_end_the_search() {
    let mut builder = Builder::new();
    builder.structure("task_struct", &[("", 1, 0)]);
    assert_eq!(task_offsets(&builder.finish()).unwrap().mm, 0);
}

#[test]
fn members_beyond_4_gib_are_refused() {
    let mut builder = Builder::new();
    builder.int();
    builder.structure("", &[("mm", 1, u32::MAX)]);
    for inner in 2..9 {
        builder.structure("", &[("", inner, u32::MAX)]);
    }
    builder.structure("task_struct", &[("", 9, u32::MAX)]);
    assert_eq!(task_offsets(&builder.finish()), Err(BtfError::Damaged(10)));
}

#[test]
fn other_files_are_refused() {
    assert_eq!(task_offsets(b""), Err(BtfError::BadMagic));
    assert_eq!(task_offsets(b"\x7fELF"), Err(BtfError::BadMagic));
    let mut unknown = Builder::new();
    unknown.words(&[0, 31 << 24, 0]);
    assert_eq!(task_offsets(&unknown.finish()), Err(BtfError::UnknownKind(1, 31)));
}

#[test]
fn the_running_kernel_has_all_fields() {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let offsets = task_offsets(&btf).unwrap();
    assert!(offsets.mm != 0 && offsets.group_leader != 0 && offsets.start_boottime != 0);
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(
        cut in 0_usize..400,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut btf = sample();
        btf.truncate(cut);
        for (index, value) in flips {
            if !btf.is_empty() {
                let at = index.index(btf.len());
                btf[at] = value;
            }
        }
        let _ = task_offsets(&btf);
    }
}
