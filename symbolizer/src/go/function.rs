//! The code of one function: stretches of the same file, line and inlined call.

use fleetprof_gopclntab::{Function, FunctionTable, InlinedCall, Values};
use fleetprof_symtab::{Builder, ConvertError, FileId, Line, NodeId};
use rustc_hash::FxHashMap;

use super::module::Module;

/// Deepest nesting of inlined calls; compilers nest them tens deep.
const MAX_DEPTH: usize = 256;

/// Adds functions one after the other.
pub(super) struct FunctionRows<'t, 'a> {
    table: &'t FunctionTable<'a>,
    module: &'t Module<'a>,
    /// By unit and number.
    files: FxHashMap<(u32, i32), Option<FileId>>,
    /// Of the last function.
    end: u32,
}

/// Values of a function, to be looked up: where each one begins.
struct Steps(Vec<(u32, i32)>);

/// One function on its way.
struct Current<'f, 'a> {
    function: &'f Function<'a>,
    files: Steps,
    lines: Steps,
    inlined: Steps,
    /// What describes its inlined calls.
    calls: &'a [u8],
    /// The function itself.
    outermost: NodeId,
    nodes: FxHashMap<i32, NodeId>,
}

// === impl Steps ===

impl Steps {
    /// Of a function of `size` bytes. Its last ones may be padding, of which nothing is said.
    fn new(values: Values<'_>, size: u32) -> Self {
        let mut end = 0;
        let mut steps = Vec::new();
        for range in values {
            steps.push((range.start, range.value));
            end = range.end;
        }
        if end < size {
            steps.push((end, -1));
        }
        Self(steps)
    }

    /// The value at an offset; -1 where there is none.
    fn at(&self, offset: u32) -> i32 {
        let after = self.0.partition_point(|(start, _)| *start <= offset);
        after.checked_sub(1).map_or(-1, |found| self.0[found].1)
    }
}

// === impl FunctionRows ===

impl<'t, 'a> FunctionRows<'t, 'a> {
    pub(super) fn new(table: &'t FunctionTable<'a>, module: &'t Module<'a>) -> Self {
        Self { table, module, files: FxHashMap::default(), end: 0 }
    }

    /// Adds the rows of a function.
    pub(super) fn add(
        &mut self,
        function: &Function<'a>,
        builder: &mut Builder,
    ) -> Result<(), ConvertError> {
        let Some(name) = function.name() else { return Ok(()) };
        let Some(start) = self.module.text.checked_add(function.start.into()) else {
            return Ok(());
        };
        if function.start < self.end {
            // In a damaged table only.
            builder.end_run();
        }
        let name = builder.function(name.as_bytes())?;
        let calls = function.inlined_calls().and_then(|at| self.module.data.get(at as usize..));
        let size = function.end - function.start;
        let mut current = Current {
            function,
            files: Steps::new(function.files(), size),
            lines: Steps::new(function.lines(), size),
            inlined: Steps::new(function.inlined_numbers(), size),
            calls: calls.unwrap_or_default(),
            outermost: builder.outermost(Some(name))?,
            nodes: FxHashMap::default(),
        };
        let steps = [&current.files, &current.lines, &current.inlined];
        let mut edges: Vec<u32> =
            steps.into_iter().flat_map(|steps| steps.0.iter().map(|(start, _)| *start)).collect();
        edges.push(0);
        edges.sort_unstable();
        edges.dedup();
        for (at, from) in edges.iter().enumerate() {
            builder.step(1)?;
            let to = edges.get(at + 1).copied().unwrap_or(size);
            let node = self.node(&mut current, *from, builder)?;
            let line = self.line(&current, *from, builder)?;
            let place = |offset: u32| start.saturating_add(offset.into());
            builder.row(place(*from), place(to), Some(node), line)?;
        }
        self.end = function.end;
        Ok(())
    }

    /// The chain of calls that an instruction is in.
    fn node(
        &mut self,
        current: &mut Current<'_, 'a>,
        offset: u32,
        builder: &mut Builder,
    ) -> Result<NodeId, ConvertError> {
        // From the innermost outwards, until one is known.
        let mut chain = Vec::new();
        let mut number = current.inlined.at(offset);
        let mut node = loop {
            if let Some(known) = current.nodes.get(&number) {
                break *known;
            }
            let call = InlinedCall::get(self.table, current.calls, number);
            let Some(call) = call.filter(|_| chain.len() < MAX_DEPTH) else {
                break current.outermost;
            };
            chain.push((number, call));
            number = current.inlined.at(call.call);
        };
        for (number, call) in chain.into_iter().rev() {
            builder.step(1)?;
            let line = self.line(current, call.call, builder)?;
            let name = call.name.map(|name| builder.function(name.as_bytes())).transpose()?;
            node = builder.inlined(node, name, line)?;
            current.nodes.insert(number, node);
        }
        Ok(node)
    }

    fn line(
        &mut self,
        current: &Current<'_, 'a>,
        offset: u32,
        builder: &mut Builder,
    ) -> Result<Line, ConvertError> {
        let (unit, number) = (current.function.unit(), current.files.at(offset));
        let file = match self.files.get(&(unit, number)) {
            Some(known) => *known,
            None => {
                let path = self.table.file(unit, number);
                let file = path.map(|path| builder.file(path.as_bytes())).transpose()?;
                self.files.insert((unit, number), file);
                file
            }
        };
        Ok(Line { file, line: u32::try_from(current.lines.at(offset)).unwrap_or(0) })
    }
}
