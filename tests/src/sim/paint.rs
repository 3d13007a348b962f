//! One window of one host: numbers of samples, their stacks, and the body of the batch that holds them.
//!
//! Only arrays that are indexed by the library's rows: a mark says for which batch (or which service in it)
//! the rest of the entry holds, so that nothing is cleared.

use std::sync::Arc;

use fleetprof_proto::{batch::Window, v1};

use super::{
    canvas::{Body, Canvas, row},
    library::Library,
    plan::{self, Host, Placed, Plan},
};

/// What a batch holds of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) service: usize,
    pub(super) samples: u64,
    pub(super) nanos: u64,
}

/// Makes batches, one after the other. Memory: some bytes for each row of the library.
#[derive(Debug)]
pub struct Painter {
    library: Arc<Library>,
    plan: Arc<Plan>,
    mark: u32,
    items: Vec<Entry>,
    nodes: Vec<Entry>,
    frames: Vec<Entry>,
    objects: Vec<Entry>,
    strings: Vec<Entry>,
    /// Items drawn for the pod at hand.
    drawn: Vec<u32>,
    /// Nodes that the pod at hand adds.
    fresh: Vec<u32>,
}

/// A value that holds while its mark is the current one.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    mark: u32,
    value: u32,
}

// === impl Entry ===

impl Entry {
    fn at(self, mark: u32) -> Option<u32> {
        (self.mark == mark).then_some(self.value)
    }
}

// === impl Painter ===

impl Painter {
    /// Draws from `library` what `plan` says.
    pub fn new(library: Arc<Library>, plan: Arc<Plan>) -> Self {
        let entries = |len| vec![Entry::default(); len];
        Self {
            mark: 0,
            items: entries(library.items.len()),
            nodes: entries(library.nodes.len()),
            frames: entries(library.frames.len()),
            objects: entries(library.objects.len()),
            strings: entries(library.strings.len()),
            drawn: Vec::new(),
            fresh: Vec::new(),
            library,
            plan,
        }
    }

    /// What a host does in a window. `visit` is told every (service, item) with samples, once for each pod.
    pub(super) fn paint(
        &mut self,
        host: &Host,
        window: Window,
        random: &mut fastrand::Rng,
        mut visit: impl FnMut(usize, u32),
    ) -> Body {
        let plan = Arc::clone(&self.plan);
        let mark = self.next_mark();
        let mut canvas = Canvas::new(mark);
        let versions = plan.versions(host, window.start_unix_nanos);
        let mut parts = Vec::with_capacity(host.services.len());
        let mut distinct = 0;
        for (number, placed) in host.services.iter().enumerate() {
            canvas.service = placed.service;
            canvas.version = versions[number];
            canvas.service_mark = self.next_mark();
            let before = canvas.total();
            for pod in 0..placed.pods.len() {
                self.draw(&plan, host, placed, window, random);
                self.pod(&mut canvas, &plan, number, pod);
                distinct += self.drawn.len();
                self.drawn.iter().for_each(|item| visit(placed.service, *item));
            }
            let samples = canvas.total() - before;
            if samples > 0 {
                let nanos = samples * period(&plan);
                parts.push(Part { service: placed.service, samples, nanos });
            }
        }
        canvas.finish(versions, parts, distinct)
    }

    /// Marks hold for one batch or one service in it; 2^32 of them are enough for weeks.
    fn next_mark(&mut self) -> u32 {
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 {
            *self = Self::new(Arc::clone(&self.library), Arc::clone(&self.plan));
            self.mark = 1;
        }
        self.mark
    }

    /// Counts samples by item: for a pod.
    fn draw(
        &mut self,
        plan: &Plan,
        host: &Host,
        placed: &Placed,
        window: Window,
        random: &mut fastrand::Rng,
    ) {
        let seconds = (window.end_unix_nanos - window.start_unix_nanos) as f64 / 1e9;
        let expected = plan.expected(host, placed, window.start_unix_nanos, seconds);
        let mark = self.next_mark();
        self.drawn.clear();
        let program = &self.library.programs[plan.services[placed.service].program];
        for _ in 0..poisson(expected, random) {
            let item = program.first_item + program.distribution.draw(random);
            let entry = &mut self.items[item as usize];
            match entry.at(mark) {
                Some(count) => entry.value = count + 1,
                None => {
                    *entry = Entry { mark, value: 1 };
                    self.drawn.push(item);
                }
            }
        }
    }

    /// Adds what was drawn to the batch.
    fn pod(&mut self, canvas: &mut Canvas, plan: &Plan, placed: usize, pod: usize) {
        let library = Arc::clone(&self.library);
        // Rows of samples are ordered by origin and stack.
        self.drawn.sort_unstable_by_key(|item| {
            let item = library.items[*item as usize];
            (item.comm, item.node)
        });
        self.add_stacks(canvas, &library);
        let mut origin = None;
        let period = period(plan);
        for at in &self.drawn {
            let item = library.items[*at as usize];
            if origin.is_none_or(|(comm, _)| comm != item.comm) {
                let row = canvas.origin(placed, pod, item.comm);
                origin = Some((item.comm, row));
            }
            let count = u64::from(self.items[*at as usize].value);
            canvas.samples.origin.push(origin.map_or(0, |(_, row)| row));
            canvas.samples.stack.push(self.nodes[item.node as usize].value);
            canvas.samples.result.push(0);
            canvas.samples.count.push(count);
            canvas.samples.nanos.push(count * period);
        }
    }

    /// Numbers the stacks of what was drawn, and their parents.
    fn add_stacks(&mut self, canvas: &mut Canvas, library: &Library) {
        let mark = canvas.service_mark;
        self.nodes[0] = Entry { mark, value: 0 };
        self.fresh.clear();
        for item in &self.drawn {
            let mut at = library.items[*item as usize].node;
            while self.nodes[at as usize].at(mark).is_none() {
                self.nodes[at as usize].mark = mark;
                self.fresh.push(at);
                at = library.nodes[at as usize].parent;
            }
        }
        // Parents have lower numbers than their children.
        self.fresh.sort_unstable();
        for index in 0..self.fresh.len() {
            let at = self.fresh[index] as usize;
            let node = library.nodes[at];
            let row = row(canvas.stacks.frame.len());
            let frame = self.frame(canvas, library, node.frame);
            canvas.stacks.parent_distance.push(row - self.nodes[node.parent as usize].value);
            canvas.stacks.frame.push(frame);
            self.nodes[at].value = row;
        }
    }

    fn frame(&mut self, canvas: &mut Canvas, library: &Library, frame: u32) -> u32 {
        let of = library.frames[frame as usize];
        let is_own = library.objects[of.object as usize].is_own;
        let mark = if is_own { canvas.service_mark } else { canvas.mark };
        if let Some(known) = self.frames[frame as usize].at(mark) {
            return known;
        }
        let object = self.object(canvas, library, of.object, mark);
        let (function, file) =
            (self.string(canvas, library, of.function), self.string(canvas, library, of.file));
        let reason = match (of.object, function) {
            (0, 0) => v1::UnresolvedReason::NoMapping,
            _ => v1::UnresolvedReason::Unspecified,
        };
        let row = row(canvas.frames.object.len());
        canvas.frames.object.push(object);
        canvas.frames.offset.push(of.offset);
        canvas.frames.reason.push(i32::from(reason).unsigned_abs());
        canvas.frames.function.push(function);
        canvas.frames.file.push(file);
        canvas.frames.line.push(of.line);
        self.frames[frame as usize] = Entry { mark, value: row };
        row
    }

    fn object(&mut self, canvas: &mut Canvas, library: &Library, object: u32, mark: u32) -> u32 {
        if object == 0 {
            return 0;
        }
        if let Some(known) = self.objects[object as usize].at(mark) {
            return known;
        }
        let of = &library.objects[object as usize];
        let build_id = of.build_id.as_ref().and_then(|captured| {
            if of.is_own {
                plan::own_build_id(canvas.service, canvas.version, captured)
            } else {
                Some(captured.clone())
            }
        });
        let path = self.string(canvas, library, of.path);
        let row = row(canvas.wire.objects.len());
        canvas.wire.objects.push(v1::Object {
            kind: v1::ObjectKind::from(of.kind).into(),
            build_id: build_id.as_ref().map(Into::into),
            path,
        });
        self.objects[object as usize] = Entry { mark, value: row };
        row
    }

    fn string(&mut self, canvas: &mut Canvas, library: &Library, string: u32) -> u32 {
        if string == 0 {
            return 0;
        }
        let entry = &mut self.strings[string as usize];
        entry.at(canvas.mark).unwrap_or_else(|| {
            let row = row(canvas.wire.strings.len());
            canvas.wire.strings.push(library.strings[string as usize].clone());
            *entry = Entry { mark: canvas.mark, value: row };
            row
        })
    }
}

/// CPU time of one sample, nanoseconds.
fn period(plan: &Plan) -> u64 {
    (1e9 / plan.config.frequency.max(1e-6)) as u64
}

/// A number of independent events, of which so many are expected: exact for few, normal for many.
fn poisson(expected: f64, random: &mut fastrand::Rng) -> u64 {
    if expected > 50.0 {
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt()
            * (std::f64::consts::TAU * random.f64()).cos();
        return (expected + normal * expected.sqrt()).round().max(0.0) as u64;
    }
    let limit = (-expected).exp();
    let (mut product, mut events) = (random.f64(), 0);
    while product > limit {
        product *= random.f64();
        events += 1;
    }
    events
}

#[cfg(test)]
mod tests;
