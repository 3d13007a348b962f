//! Messages: batches of agents, and what a symbolizer and its workers say to one another.

use anyhow::Result;
use fleetprof_proto::{
    batch::{Batch, BatchBuilder, ObjectIndex, SourceName, Window, seal},
    ids::{BatchId, BuildId, BuildIdKind, ObjectKind},
    v1::{Accounting, UnresolvedReason},
};
use prost::Message as _;

use crate::{Seeds, numbered};

/// Sealed, and as they are inside.
pub(crate) fn batches() -> Result<Seeds> {
    let empty = BatchBuilder::new().finish(WINDOW, [], Accounting::default());
    let mut seeds = Vec::new();
    for batch in [services()?, named(), empty] {
        let sealed = seal(BatchId::from_wire(&[7; 16], 1)?, &batch)?;
        seeds.extend([sealed.encode_to_vec(), batch.wire().encode_to_vec()]);
    }
    Ok(numbered(seeds))
}

const WINDOW: Window = Window { start_unix_nanos: 1_000, end_unix_nanos: 2_000 };

/// Two services with common roots, and every kind of object.
pub(crate) fn services() -> Result<Batch> {
    let mut builder = BatchBuilder::new();
    let gnu = BuildId::new(BuildIdKind::Gnu, &[1; 20])?;
    let go = BuildId::new(BuildIdKind::Go, b"go/id")?;
    let htl = BuildId::new(BuildIdKind::Htl, &[2; 16])?;
    let resolved = UnresolvedReason::Unspecified;
    let app = builder.object(ObjectKind::File, Some(&gnu), "/bin/app");
    let other = builder.object(ObjectKind::File, Some(&go), "/bin/other");
    let kernel = builder.object(ObjectKind::Kernel, Some(&htl), "[kernel.kallsyms]");
    let module = builder.object(ObjectKind::KernelModule, None, "[nf_tables]");
    let vdso = builder.object(ObjectKind::Vdso, Some(&gnu), "[vdso]");
    let generated = builder.object(ObjectKind::Anonymous, None, "//anon");
    let objects = [app, other, kernel, module, vdso, generated];
    let frames = objects.map(|object| builder.frame(object, 0x1234, resolved));
    let lost = builder.frame(ObjectIndex::UNKNOWN, 0xdead, UnresolvedReason::NoMapping);
    let shallow = builder.stack(frames);
    let deep = builder.child(shallow, lost);
    let first = builder.origin([("service", "checkout"), ("comm", "worker")]);
    let second = builder.origin([("service", "shop"), ("version", "v2")]);
    builder.add(first, shallow, 0, 3, 30);
    builder.add(first, deep, 13, 1, 10);
    builder.add(second, deep, 0, 5, 50);
    let accounting = Accounting { sealed: 9, ..Accounting::default() };
    Ok(builder.finish(WINDOW, [("host", "h")], accounting))
}

/// Functions that only their host can name.
pub(crate) fn named() -> Batch {
    let mut builder = BatchBuilder::new();
    let jit = builder.object(ObjectKind::Anonymous, None, "[jit]");
    let names = [
        SourceName { function: "LazyCompile:*foo /app/x.js:12:3", file: None, line: 0 },
        SourceName { function: "int Foo.bar(int)", file: Some("Foo.java"), line: 7 },
    ];
    let frames = names.map(|name| builder.named_frame(jit, name));
    let stack = builder.stack(frames);
    let origin = builder.origin([("service", "shop")]);
    builder.add(origin, stack, 0, 1, 10);
    builder.finish(WINDOW, [("host", "h")], Accounting::default())
}

/// Their frames: 4 bytes of length, then the message.
pub(crate) fn of_workers() -> Seeds {
    let name = [number(1, 0), number(2, 1), number(3, 2), number(4, 7)].concat();
    let hello = [
        number(1, 8),
        number(2, 1 << 20),
        number(3, 1 << 20),
        number(4, 1 << 16),
        number(5, 1),
        text(6, b"/usr/lib/debug"),
        text(7, b"/tmp"),
        number(8, 1 << 30),
    ];
    let question =
        [number(1, 1), text(2, b"/proc/self/fd/3"), number(3, 1), text(4, &[1, 0xff, 0x7f])];
    let named = text(2, &text(2, &name));
    let unknown = text(2, &number(1, 3));
    let strings = [text(1, b"f()"), text(1, b"_Z1fv"), text(1, b"/src/f.cc")].concat();
    let reply = [strings, named.clone(), unknown, named];
    numbered([hello.concat(), question.concat(), reply.concat()].map(|message| {
        let mut frame = (message.len() as u32).to_le_bytes().to_vec();
        frame.extend(message);
        frame
    }))
}

/// A field with a number, which protobuf writes in groups of 7 bits.
fn number(field: u8, value: u64) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    let mut rest = value;
    while rest > 0x7f {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A field with bytes, fewer than 128.
fn text(field: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![(field << 3) | 2, value.len() as u8];
    bytes.extend(value);
    bytes
}
