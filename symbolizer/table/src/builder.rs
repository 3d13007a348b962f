//! A table in the making: what every source of functions adds to.
//!
//! A source (debug information, a language's own tables) names functions, files and chains of inlined
//! calls, and says for stretches of code what they come from. Where two sources speak about the same
//! address, the one that came first counts. Symbols fill what is left; see `assemble`.

use rustc_hash::FxHashMap;

use crate::{
    budget::Budget,
    code::Code,
    error::{ConvertError, Limits},
    runs::{Content, Row, Runs},
    texts::Texts,
};

/// A function of a [`Builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionId(u32);

/// A source file of a [`Builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(u32);

/// A function within its chain of callers, in a [`Builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(u32);

/// A line of a source file, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Line {
    /// The file.
    pub file: Option<FileId>,
    /// The line, 1-based; 0 when unknown.
    pub line: u32,
}

/// What is collected for one table.
#[derive(Debug)]
pub struct Builder {
    pub(crate) code: Code,
    pub(crate) budget: Budget,
    pub(crate) texts: Texts,
    /// Directory and name: strings' numbers.
    pub(crate) files: Vec<(u32, u32)>,
    file_numbers: FxHashMap<(u32, u32), u32>,
    pub(crate) functions: Vec<Function>,
    function_numbers: FxHashMap<u32, u32>,
    pub(crate) nodes: Vec<Node>,
    node_numbers: FxHashMap<Node, u32>,
    pub(crate) runs: Runs,
}

/// A function and where most of its code comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    /// A string's number.
    pub(crate) name: u32,
    /// A file's number + 1, or 0; the first that was seen.
    pub(crate) file: u32,
    /// The first line that was seen.
    pub(crate) line: u32,
}

/// Numbers + 1, or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) caller: u32,
    pub(crate) function: u32,
    pub(crate) file: u32,
    pub(crate) line: u32,
}

// === impl FileId ===

impl FileId {
    pub(crate) fn code(file: Option<Self>) -> u32 {
        file.map_or(0, |file| file.0 + 1)
    }
}

// === impl NodeId ===

impl NodeId {
    /// The node's number + 1.
    pub(crate) fn code(self) -> u32 {
        self.0 + 1
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        code.checked_sub(1).map(Self)
    }
}

// === impl Builder ===

impl Builder {
    pub(crate) fn new(code: Code, limits: Limits) -> Self {
        Self {
            code,
            budget: Budget::new(limits),
            texts: Texts::default(),
            files: Vec::new(),
            file_numbers: FxHashMap::default(),
            functions: Vec::new(),
            function_numbers: FxHashMap::default(),
            nodes: Vec::new(),
            node_numbers: FxHashMap::default(),
            runs: Runs::default(),
        }
    }

    /// Counts work, so that [`Limits::steps`] and [`Limits::time`] hold: call it often.
    ///
    /// # Errors
    /// When a limit is passed.
    #[inline]
    pub fn step(&mut self, steps: u64) -> Result<(), ConvertError> {
        self.budget.step(steps)
    }

    /// A source file by the path that its compiler knew.
    ///
    /// # Errors
    /// When a limit is passed.
    pub fn file(&mut self, path: &[u8]) -> Result<FileId, ConvertError> {
        let (directory, name) = split(path);
        let limits = *self.budget.limits();
        let directory = match directory {
            Some(directory) => self.texts.intern(directory, &limits)? + 1,
            None => 0,
        };
        let key = (directory, self.texts.intern(name, &limits)?);
        let next = self.files.len() as u32;
        let number = *self.file_numbers.entry(key).or_insert(next);
        if number == next {
            self.files.push(key);
        }
        Ok(FileId(number))
    }

    /// A function by its raw name.
    ///
    /// # Errors
    /// When a limit is passed.
    pub fn function(&mut self, name: &[u8]) -> Result<FunctionId, ConvertError> {
        let limits = *self.budget.limits();
        let name = self.texts.intern(name, &limits)?;
        let next = self.functions.len() as u32;
        let number = *self.function_numbers.entry(name).or_insert(next);
        if number == next {
            if next >= limits.functions {
                let limit = u64::from(limits.functions);
                return Err(ConvertError::TooLarge { what: "functions", limit });
            }
            self.functions.push(Function { name, file: 0, line: 0 });
        }
        Ok(FunctionId(number))
    }

    /// A function that code belongs to; none: a function without a name.
    ///
    /// # Errors
    /// When a limit is passed.
    pub fn outermost(&mut self, function: Option<FunctionId>) -> Result<NodeId, ConvertError> {
        let function = function.map_or(0, |function| function.0 + 1);
        self.node(Node { caller: 0, function, file: 0, line: 0 })
    }

    /// A function that was inlined into that of `caller`, called at `call`.
    ///
    /// # Errors
    /// When a limit is passed.
    pub fn inlined(
        &mut self,
        caller: NodeId,
        function: Option<FunctionId>,
        call: Line,
    ) -> Result<NodeId, ConvertError> {
        let function = function.map_or(0, |function| function.0 + 1);
        let file = FileId::code(call.file);
        self.seen(caller.code(), file, call.line);
        self.node(Node { caller: caller.code(), function, file, line: call.line })
    }

    /// Says what code from `start` to `end` comes from. Rows come by rising address; one that begins
    /// where the last one ended goes on from it. Addresses outside of the object's code are left out.
    ///
    /// # Errors
    /// When a limit is passed.
    pub fn row(
        &mut self,
        start: u64,
        end: u64,
        node: Option<NodeId>,
        line: Line,
    ) -> Result<(), ConvertError> {
        let Some((address, end)) = self.code.clip(start, end) else { return Ok(()) };
        let node = node.map_or(0, NodeId::code);
        let content = Content { node, file: FileId::code(line.file), line: line.line };
        self.relative_row(Row { address, content }, end)
    }

    /// The next row begins anew: it may be before the last one.
    pub fn end_run(&mut self) {
        self.runs.close();
    }

    pub(crate) fn relative_row(&mut self, row: Row, end: u32) -> Result<(), ConvertError> {
        self.seen(row.content.node, row.content.file, row.content.line);
        self.runs.push(row, end);
        let limit = self.budget.limits().rows;
        if self.runs.rows() > limit {
            return Err(ConvertError::TooLarge { what: "rows", limit });
        }
        Ok(())
    }

    /// Forgets which nodes there are: the next ones are new. Chains are shared within a unit only.
    pub(crate) fn forget_nodes(&mut self) {
        self.node_numbers.clear();
    }

    /// The bytes of a function's name.
    pub(crate) fn name_of(&self, function: FunctionId) -> &[u8] {
        self.texts.get(self.functions[function.0 as usize].name)
    }

    /// A node's function.
    pub(crate) fn function_of(&self, node: NodeId) -> Option<FunctionId> {
        self.nodes[node.0 as usize].function.checked_sub(1).map(FunctionId)
    }

    /// The file and line that a function's others are relative to.
    #[inline]
    pub(crate) fn origin(&self, function: FunctionId) -> (u32, u32) {
        let function = self.functions[function.0 as usize];
        (function.file, function.line)
    }

    /// A node's caller.
    pub(crate) fn caller_of(&self, node: NodeId) -> Option<NodeId> {
        NodeId::from_code(self.nodes[node.0 as usize].caller)
    }

    /// The same chain of calls as `node`'s, in another outermost function.
    pub(crate) fn within(
        &mut self,
        node: NodeId,
        outermost: NodeId,
    ) -> Result<NodeId, ConvertError> {
        let mut chain = Vec::new();
        let mut at = node;
        while let Some(caller) = self.caller_of(at) {
            chain.push(self.nodes[at.0 as usize]);
            at = caller;
        }
        chain.into_iter().rev().try_fold(outermost, |caller, inlined| {
            self.node(Node { caller: caller.code(), ..inlined })
        })
    }

    fn node(&mut self, node: Node) -> Result<NodeId, ConvertError> {
        let next = self.nodes.len() as u32;
        let number = *self.node_numbers.entry(node).or_insert(next);
        if number == next {
            let limit = self.budget.limits().inlined;
            if next >= limit {
                return Err(ConvertError::TooLarge { what: "inlined calls", limit: limit.into() });
            }
            self.nodes.push(node);
        }
        Ok(NodeId(number))
    }

    /// Notes where a node's function comes from, if nothing is known yet.
    #[inline]
    fn seen(&mut self, node: u32, file: u32, line: u32) {
        let Some(node) = NodeId::from_code(node) else { return };
        let Some(FunctionId(function)) = self.function_of(node) else { return };
        let function = &mut self.functions[function as usize];
        if function.file == 0 {
            function.file = file;
        }
        if function.line == 0 {
            function.line = line;
        }
    }
}

/// Directory and name of a path; joined with a slash they are the path again.
fn split(path: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (Some(b"/"), &path[1..]),
        // A directory that ends with a slash would be joined without another.
        Some(slash) if path[slash - 1] == b'/' => (None, path),
        Some(slash) => (Some(&path[..slash]), &path[slash + 1..]),
        None => (None, path),
    }
}
