//! The last step: from all that was collected to the bytes of a table.
//!
//! Runs are laid over one another, symbols fill what no run covers and name what a run does not, what
//! no address needs is dropped, and the rest is numbered and written.

use rustc_hash::FxHashMap;

use crate::{
    builder::{Builder, FileId, NodeId},
    error::ConvertError,
    format::{Header, SourceSet},
    nodes::{CodedCall, CodedNode},
    overlay::{Interval, Piece, overlay},
    rows::{Place, RowWriter},
    runs::{Content, RunCursor, Runs},
    strings,
    symbols::Symbols,
    table::Segment,
};

/// What a table says about its object as a whole.
pub(crate) struct About<'a> {
    pub(crate) machine: u16,
    pub(crate) build_id: &'a [u8],
    pub(crate) segments: &'a [Segment],
    pub(crate) sources: SourceSet,
}

/// How much is in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Changes of function, file or line.
    pub rows: u64,
    /// Functions with a name.
    pub functions: u64,
    /// Chains of calls, those of one function included.
    pub nodes: u64,
    /// Source files.
    pub files: u64,
}

/// Makes the table.
pub(crate) fn assemble(
    mut builder: Builder,
    symbols: &Symbols<'_>,
    about: &About<'_>,
) -> Result<(Vec<u8>, Counts), ConvertError> {
    let runs = std::mem::take(&mut builder.runs);
    let pieces = pieces(&runs);
    builder.forget_nodes();
    let fillers = Fillers::new(&mut builder, symbols)?;
    let merge = Merge { runs: &runs, pieces: &pieces, symbols, fillers: &fillers };
    let mut used = Used::new(&builder);
    builder.budget.look()?;
    merge.for_each(&builder, |_, content| {
        if let Some(content) = content {
            used.content(&builder, content);
        }
    });
    builder.budget.look()?;
    let numbers = Numbers::new(&builder, &used);
    builder.budget.look()?;
    let mut rows = RowWriter::default();
    merge.for_each(&builder, |address, content| {
        rows.push(address, content.map(|content| numbers.place(&builder, content)));
    });
    builder.budget.look()?;
    let counts = Counts {
        rows: rows.rows,
        functions: numbers.function_order.len() as u64,
        nodes: used.nodes.iter().filter(|used| **used).count() as u64,
        files: numbers.file_order.len() as u64,
    };
    Ok((write(&builder, &numbers, rows, about)?, counts))
}

/// Which run counts where.
fn pieces(runs: &Runs) -> Vec<Piece> {
    let mut intervals: Vec<Interval> = runs
        .all()
        .iter()
        .zip(0_u32..)
        .map(|(run, number)| Interval {
            start: run.start,
            end: run.end,
            rank: u32::MAX - number,
            value: number,
        })
        .collect();
    let mut pieces = Vec::new();
    overlay(&mut intervals, &mut pieces);
    pieces
}

/// Nodes for code that no source has a function for.
struct Fillers {
    /// What is known of each region of the symbols.
    named: Vec<Content>,
    /// For what has not even a symbol.
    unnamed: u32,
}

// === impl Fillers ===

impl Fillers {
    fn new(builder: &mut Builder, symbols: &Symbols<'_>) -> Result<Self, ConvertError> {
        let mut named = Vec::with_capacity(symbols.regions().len());
        for region in symbols.regions() {
            builder.step(1)?;
            let symbol = symbols.symbol(region);
            let function = builder.function(symbol.name)?;
            let node = builder.outermost(Some(function))?.code();
            let file = if symbol.file.is_empty() { None } else { Some(builder.file(symbol.file)?) };
            named.push(Content { node, file: FileId::code(file), line: 0 });
        }
        Ok(Self { named, unnamed: builder.outermost(None)?.code() })
    }
}

/// All rows in the order of their addresses.
struct Merge<'a> {
    runs: &'a Runs,
    pieces: &'a [Piece],
    symbols: &'a Symbols<'a>,
    fillers: &'a Fillers,
}

// === impl Merge ===

impl Merge<'_> {
    /// Calls `each` with every row: its address, and what is known from there on.
    fn for_each(&self, builder: &Builder, each: impl FnMut(u32, Option<Content>)) {
        let mut rows = Rows { merge: self, region: 0, at: 0, last: None, each };
        // What is left of runs that others cover in part.
        let mut cursors: FxHashMap<u32, RunCursor<'_>> = FxHashMap::default();
        for piece in self.pieces {
            rows.fill(piece.start, None);
            let mut cursor =
                cursors.remove(&piece.value).unwrap_or_else(|| self.runs.rows_of(piece.value));
            while rows.at < piece.end {
                let (content, next) = cursor.seek(rows.at);
                let next = next.min(piece.end);
                if content.node == 0 {
                    rows.fill(next, Some(content));
                } else {
                    rows.emit(next, Some(content));
                }
            }
            if piece.end < self.runs.all()[piece.value as usize].end {
                cursors.insert(piece.value, cursor);
            }
        }
        let end = builder.code.ranges().last().map_or(0, |range| range.end);
        rows.fill(end, None);
        rows.emit(u32::MAX, None);
    }
}

/// The rows so far.
struct Rows<'a, F> {
    merge: &'a Merge<'a>,
    /// The first region that may reach beyond `at`.
    region: usize,
    at: u32,
    last: Option<Content>,
    each: F,
}

// === impl Rows ===

impl<F: FnMut(u32, Option<Content>)> Rows<'_, F> {
    /// From the last row's end to `end`, what symbols say; with them the line of `content`.
    fn fill(&mut self, end: u32, content: Option<Content>) {
        let unnamed = Content { node: self.merge.fillers.unnamed, ..content.unwrap_or_default() };
        let unnamed = content.map(|_| unnamed);
        let regions = self.merge.symbols.regions();
        while self.at < end {
            while regions.get(self.region).is_some_and(|region| region.end <= self.at) {
                self.region += 1;
            }
            match regions.get(self.region) {
                Some(region) if region.start <= self.at => {
                    let named = self.merge.fillers.named[self.region];
                    let named = match content {
                        Some(content) if content.file != 0 => {
                            Content { node: named.node, ..content }
                        }
                        _ => named,
                    };
                    self.emit(region.end.min(end), Some(named));
                }
                Some(region) => self.emit(region.start.min(end), unnamed),
                None => self.emit(end, unnamed),
            }
        }
    }

    /// From the last row's end to `end`.
    fn emit(&mut self, end: u32, content: Option<Content>) {
        if content != self.last {
            (self.each)(self.at, content);
            self.last = content;
        }
        self.at = end;
    }
}

/// What some address needs.
struct Used {
    nodes: Vec<bool>,
    files: Vec<bool>,
    /// How many nodes each function has.
    functions: Vec<u32>,
}

// === impl Used ===

impl Used {
    fn new(builder: &Builder) -> Self {
        Self {
            nodes: vec![false; builder.nodes.len()],
            files: vec![false; builder.files.len()],
            functions: vec![0; builder.functions.len()],
        }
    }

    fn content(&mut self, builder: &Builder, content: Content) {
        self.file(content.file);
        let mut node = content.node;
        while let Some(number) = node.checked_sub(1) {
            let number = number as usize;
            if self.nodes[number] {
                return;
            }
            self.nodes[number] = true;
            let found = builder.nodes[number];
            if let Some(function) = found.function.checked_sub(1) {
                self.functions[function as usize] += 1;
                self.file(builder.functions[function as usize].file);
            }
            self.file(found.file);
            node = found.caller;
        }
    }

    fn file(&mut self, file: u32) {
        if let Some(number) = file.checked_sub(1) {
            self.files[number as usize] = true;
        }
    }
}

/// The numbers that things have in the table, + 1; 0: not in it.
struct Numbers {
    functions: Vec<u32>,
    /// The functions in their new order.
    function_order: Vec<u32>,
    files: Vec<u32>,
    file_order: Vec<u32>,
    texts: Vec<u32>,
    text_order: Vec<u32>,
    /// Positions of the nodes.
    positions: Vec<u32>,
    nodes: Vec<u8>,
}

// === impl Numbers ===

impl Numbers {
    fn new(builder: &Builder, used: &Used) -> Self {
        // What is named most gets the smallest numbers, which take the fewest bytes.
        let mut function_order: Vec<u32> = present(&used.functions, |uses| *uses > 0);
        function_order.sort_by_key(|number| std::cmp::Reverse(used.functions[*number as usize]));
        let file_order = present(&used.files, |used| *used);
        let mut named = vec![false; builder.texts.len()];
        for function in &function_order {
            named[builder.functions[*function as usize].name as usize] = true;
        }
        for file in &file_order {
            let (directory, name) = builder.files[*file as usize];
            named[name as usize] = true;
            if let Some(directory) = directory.checked_sub(1) {
                named[directory as usize] = true;
            }
        }
        let mut text_order = present(&named, |named| *named);
        text_order.sort_unstable_by_key(|number| builder.texts.get(*number));
        let mut numbers = Self {
            functions: inverse(&function_order, builder.functions.len()),
            function_order,
            files: inverse(&file_order, builder.files.len()),
            file_order,
            texts: inverse(&text_order, builder.texts.len()),
            text_order,
            positions: vec![0; builder.nodes.len()],
            nodes: Vec::new(),
        };
        for number in (0..builder.nodes.len()).filter(|number| used.nodes[*number]) {
            numbers.write_node(builder, number);
        }
        numbers
    }

    /// Callers come before those they call, as they were made.
    fn write_node(&mut self, builder: &Builder, number: usize) {
        let node = builder.nodes[number];
        let call = NodeId::from_code(node.caller).map(|caller| {
            let (file, line) = self.relative(builder, caller.code(), node.file, node.line);
            CodedCall { caller: self.positions[node.caller as usize - 1], line, file }
        });
        self.positions[number] = self.nodes.len() as u32;
        let function =
            node.function.checked_sub(1).map_or(0, |function| self.functions[function as usize]);
        CodedNode { function, call }.write(&mut self.nodes);
    }

    fn place(&self, builder: &Builder, content: Content) -> Place {
        let (file, line) = self.relative(builder, content.node, content.file, content.line);
        Place { node: self.positions[content.node as usize - 1], file, line }
    }

    /// File and line as seen from a node's function.
    fn relative(
        &self,
        builder: &Builder,
        node: u32,
        file: u32,
        line: u32,
    ) -> (Option<u32>, Option<i32>) {
        let function = NodeId::from_code(node).and_then(|node| builder.function_of(node));
        let (its_file, its_line) = function.map_or((0, 0), |function| builder.origin(function));
        let number = |file: u32| file.checked_sub(1).map_or(0, |file| self.files[file as usize]);
        let file = (file != its_file).then(|| number(file));
        let line = (line != 0).then(|| line.wrapping_sub(its_line).cast_signed());
        (file, line)
    }
}

fn present<T>(all: &[T], is: impl Fn(&T) -> bool) -> Vec<u32> {
    (0..all.len() as u32).filter(|number| is(&all[*number as usize])).collect()
}

fn inverse(order: &[u32], length: usize) -> Vec<u32> {
    let mut numbers = vec![0; length];
    for (new, old) in order.iter().enumerate() {
        numbers[*old as usize] = new as u32 + 1;
    }
    numbers
}

fn write(
    builder: &Builder,
    numbers: &Numbers,
    mut rows: RowWriter,
    about: &About<'_>,
) -> Result<Vec<u8>, ConvertError> {
    let limit = u64::from(u32::MAX);
    if rows.bytes.len() as u64 > limit || numbers.nodes.len() as u64 > limit {
        return Err(ConvertError::TooLarge { what: "bytes of rows or inlined calls", limit });
    }
    rows.offsets.push(rows.bytes.len() as u32);
    let bytes_of = |numbers: &[u32]| -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    };
    let file_number =
        |file: u32| file.checked_sub(1).map_or(0, |file| numbers.files[file as usize]);
    let functions = numbers.function_order.iter().flat_map(|function| {
        let function = builder.functions[*function as usize];
        let name = numbers.texts[function.name as usize];
        [name, file_number(function.file), function.line]
    });
    let files = numbers.file_order.iter().flat_map(|file| {
        let (directory, name) = builder.files[*file as usize];
        let directory = directory.checked_sub(1).map_or(0, |text| numbers.texts[text as usize]);
        [directory, numbers.texts[name as usize]]
    });
    let texts = strings::pack(numbers.text_order.iter().map(|text| builder.texts.get(*text)));
    let segments = about.segments.iter().flat_map(|segment| {
        [segment.address, segment.offset, segment.length].into_iter().flat_map(u64::to_le_bytes)
    });
    let sections: [&[u8]; _] = [
        about.build_id,
        &segments.collect::<Vec<u8>>(),
        &bytes_of(&rows.addresses),
        &bytes_of(&rows.offsets),
        &texts.groups,
        &bytes_of(&files.collect::<Vec<u32>>()),
        &bytes_of(&functions.collect::<Vec<u32>>()),
        &numbers.nodes,
        &rows.bytes,
        &texts.bytes,
    ];
    Ok(Header::lay_out(about.machine, about.sources, builder.code.base(), sections))
}
