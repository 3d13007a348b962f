//! The batch in the making: tables that grow row by row.

use std::collections::HashMap;

use fleetprof_proto::{
    batch::{Batch, InvalidBatch, Window},
    labels, v1,
};

use super::{
    library::Library,
    plan::{Placed, Plan},
};

/// The batch in the making.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) wire: v1::Batch,
    pub(super) frames: v1::Frames,
    pub(super) stacks: v1::Stacks,
    pub(super) samples: v1::Samples,
    /// Strings of labels; the library's have numbers of their own.
    texts: HashMap<String, u32>,
    /// Of this batch.
    pub(super) mark: u32,
    /// Of this service in it.
    pub(super) service_mark: u32,
    pub(super) service: usize,
    pub(super) version: u32,
}

// === impl Canvas ===

impl Canvas {
    pub(super) fn new(mark: u32, window: Window) -> Self {
        let mut canvas = Self {
            wire: v1::Batch {
                start_unix_nanos: window.start_unix_nanos,
                end_unix_nanos: window.end_unix_nanos,
                strings: vec![String::new()],
                objects: vec![v1::Object::default()],
                ..v1::Batch::default()
            },
            frames: v1::Frames::default(),
            stacks: v1::Stacks { parent_distance: vec![0], frame: vec![0] },
            samples: v1::Samples::default(),
            texts: HashMap::new(),
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

    pub(super) fn labels<'a>(
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
        let row = row(self.wire.strings.len());
        self.wire.strings.push(text.to_owned());
        self.texts.insert(text.to_owned(), row);
        row
    }

    /// Adds the origin of a thread name in a pod.
    pub(super) fn origin(
        &mut self,
        library: &Library,
        plan: &Plan,
        placed: &Placed,
        pod: usize,
        comm: u32,
    ) -> u32 {
        let service = &plan.services[placed.service];
        let pod = &placed.pods[pod];
        let version = format!("v{}", self.version + 1);
        let name = format!("{}-{version}-{}", service.name, pod.suffix);
        let comm = &library.programs[service.program].comms[comm as usize];
        let labels = self.labels([
            (labels::COMM, comm.as_str()),
            (labels::CONTAINER, &pod.container),
            (labels::NAMESPACE, service.namespace),
            (labels::POD, &name),
            (labels::SERVICE, &service.name),
            (labels::VERSION, &version),
        ]);
        self.wire.origins.push(v1::Origin { labels });
        row(self.wire.origins.len() - 1)
    }

    pub(super) fn finish(mut self) -> Result<Batch, InvalidBatch> {
        // Without a name anywhere there are no columns of names, as an agent has it.
        if self.frames.function.iter().all(|function| *function == 0) {
            self.frames.function.clear();
            self.frames.file.clear();
            self.frames.line.clear();
        }
        self.wire.frames = Some(self.frames);
        self.wire.stacks = Some(self.stacks);
        self.wire.samples = Some(self.samples);
        Batch::validate(self.wire)
    }
}

/// Number of the next row of a table, which has far fewer than 2^32.
pub(super) fn row(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
