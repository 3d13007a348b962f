//! The body of a batch in the making: tables that grow row by row. And the tail that makes it a batch: whose it
//! is, of when, and the labels.
//!
//! Both are messages of the same type, and protobuf reads one behind the other as their sum: a body that is
//! packed once can be the body of many batches ([`Body::glue`]).

use std::collections::HashMap;

use fleetprof_proto::{
    batch::{self, Batch, FORMAT, InvalidBatch, Window},
    ids::BatchId,
    labels,
    v1::{self, Accounting, SealedBatch},
};
use prost::Message as _;

use super::{
    library::Library,
    paint::Part,
    plan::{Host, Plan},
};

/// As the real agent has it.
const ZSTD_LEVEL: i32 = 3;

/// What many batches can have in common: everything but names of hosts and pods, and times.
#[derive(Debug)]
pub(super) struct Body {
    wire: v1::Batch,
    origins: Vec<OriginKey>,
    /// Of each of the host's services.
    pub(super) versions: Vec<u32>,
    pub(super) parts: Vec<Part>,
    /// Distinct stacks with samples, of each pod its own.
    pub(super) distinct: usize,
    pub(super) samples: u64,
    packed: Option<Packed>,
}

#[derive(Debug)]
struct Packed {
    compressed: Vec<u8>,
    raw_size: u64,
}

/// Who has samples: a thread name in a pod of one of the host's services.
#[derive(Clone, Copy, Debug)]
struct OriginKey {
    placed: usize,
    pod: usize,
    comm: u32,
}

/// The body in the making.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) wire: v1::Batch,
    pub(super) frames: v1::Frames,
    pub(super) stacks: v1::Stacks,
    pub(super) samples: v1::Samples,
    origins: Vec<OriginKey>,
    /// Of this batch.
    pub(super) mark: u32,
    /// Of this service in it.
    pub(super) service_mark: u32,
    pub(super) service: usize,
    pub(super) version: u32,
}

/// Strings that follow those of a body.
struct Tail {
    wire: v1::Batch,
    offset: u32,
    texts: HashMap<String, u32>,
}

// === impl Canvas ===

impl Canvas {
    pub(super) fn new(mark: u32) -> Self {
        let mut canvas = Self {
            wire: v1::Batch {
                strings: vec![String::new()],
                objects: vec![v1::Object::default()],
                ..v1::Batch::default()
            },
            frames: v1::Frames::default(),
            stacks: v1::Stacks { parent_distance: vec![0], frame: vec![0] },
            samples: v1::Samples::default(),
            origins: Vec::new(),
            mark,
            service_mark: 0,
            service: 0,
            version: 0,
        };
        let frames = &mut canvas.frames;
        for column in [
            &mut frames.object,
            &mut frames.reason,
            &mut frames.function,
            &mut frames.file,
            &mut frames.line,
        ] {
            column.push(0);
        }
        frames.offset.push(0);
        canvas
    }

    pub(super) fn total(&self) -> u64 {
        self.samples.count.iter().sum()
    }

    /// Adds the origin of a thread name in a pod.
    pub(super) fn origin(&mut self, placed: usize, pod: usize, comm: u32) -> u32 {
        self.origins.push(OriginKey { placed, pod, comm });
        row(self.origins.len() - 1)
    }

    pub(super) fn finish(mut self, versions: Vec<u32>, parts: Vec<Part>, distinct: usize) -> Body {
        // Without a name anywhere there are no columns of names, as an agent has it.
        if self.frames.function.iter().all(|function| *function == 0) {
            self.frames.function.clear();
            self.frames.file.clear();
            self.frames.line.clear();
        }
        let samples = self.total();
        self.wire.frames = Some(self.frames);
        self.wire.stacks = Some(self.stacks);
        self.wire.samples = Some(self.samples);
        Body {
            wire: self.wire,
            origins: self.origins,
            versions,
            parts,
            distinct,
            samples,
            packed: None,
        }
    }
}

// === impl Body ===

impl Body {
    /// What makes it a batch of a host.
    pub(super) fn tail(
        &self,
        library: &Library,
        plan: &Plan,
        host: &Host,
        window: Window,
        accounting: Accounting,
    ) -> v1::Batch {
        let wire = v1::Batch {
            start_unix_nanos: window.start_unix_nanos,
            end_unix_nanos: window.end_unix_nanos,
            accounting: Some(accounting),
            ..v1::Batch::default()
        };
        let offset = row(self.wire.strings.len());
        let mut tail = Tail { wire, offset, texts: HashMap::new() };
        tail.wire.labels = tail.labels(host.labels.iter().map(|(n, v)| (*n, v.as_str())));
        for OriginKey { placed, pod, comm } in &self.origins {
            let (of, version) = (&host.services[*placed], self.versions[*placed]);
            let service = &plan.services[of.service];
            let pod = &of.pods[*pod];
            let version = format!("v{}", version + 1);
            let name = format!("{}-{version}-{}", service.name, pod.suffix);
            let labels = tail.labels([
                (labels::COMM, library.programs[service.program].comms[*comm as usize].as_str()),
                (labels::CONTAINER, &pod.container),
                (labels::NAMESPACE, service.namespace),
                (labels::POD, &name),
                (labels::SERVICE, &service.name),
                (labels::VERSION, &version),
            ]);
            tail.wire.origins.push(v1::Origin { labels });
        }
        tail.wire
    }

    /// The batch.
    pub(super) fn batch(&self, tail: v1::Batch) -> Result<Batch, InvalidBatch> {
        let mut wire = self.wire.clone();
        wire.strings.extend(tail.strings);
        Batch::validate(v1::Batch {
            strings: wire.strings,
            objects: wire.objects,
            frames: wire.frames,
            stacks: wire.stacks,
            samples: wire.samples,
            ..tail
        })
    }

    /// The sealed batch: glued where this is packed, else as the real agent does it.
    ///
    /// # Panics
    /// For want of memory, and when the batch is not valid: without it the books would be wrong.
    pub(super) fn seal(&self, id: BatchId, tail: v1::Batch) -> SealedBatch {
        let glued = self.glue(id, &tail);
        let glued = glued.unwrap_or_else(|error| panic!("more memory is needed: {error}"));
        glued.unwrap_or_else(|| {
            let batch = self.batch(tail);
            let batch = batch.unwrap_or_else(|error| panic!("a batch that is not valid: {error}"));
            batch::seal(id, &batch).unwrap_or_else(|error| panic!("more memory is needed: {error}"))
        })
    }

    /// Compresses it for [`Body::glue`].
    pub(super) fn pack(&mut self) -> std::io::Result<()> {
        let raw = batch::pack(&self.wire).encode_to_vec();
        let compressed = zstd::bulk::compress(&raw, ZSTD_LEVEL)?;
        self.packed = Some(Packed { compressed, raw_size: raw.len() as u64 });
        Ok(())
    }

    /// The sealed batch, without compressing the body again: two zstd frames, which readers take as one.
    pub(super) fn glue(
        &self,
        id: BatchId,
        tail: &v1::Batch,
    ) -> std::io::Result<Option<SealedBatch>> {
        let Some(packed) = &self.packed else { return Ok(None) };
        let raw = tail.encode_to_vec();
        let compressed = zstd::bulk::compress(&raw, ZSTD_LEVEL)?;
        let payload = [packed.compressed.as_slice(), &compressed].concat();
        Ok(Some(SealedBatch {
            instance: id.instance.as_bytes().to_vec(),
            sequence: id.sequence,
            format: FORMAT,
            samples: self.samples,
            raw_size: packed.raw_size + raw.len() as u64,
            crc32c: crc32c::crc32c(&payload),
            payload: payload.into(),
        }))
    }
}

// === impl Tail ===

impl Tail {
    fn labels<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Vec<v1::Label> {
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
        labels
            .map(|(name, value)| v1::Label { name: self.text(name), value: self.text(value) })
            .collect()
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(known) = self.texts.get(text) {
            return *known;
        }
        let row = self.offset + row(self.wire.strings.len());
        self.wire.strings.push(text.to_owned());
        self.texts.insert(text.to_owned(), row);
        row
    }
}

/// Number of the next row of a table, which has far fewer than 2^32.
pub(super) fn row(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
