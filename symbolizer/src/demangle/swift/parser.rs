//! The stack, and which operator does what.

use super::tree::{Id, Kind, Nominal, Tree};

/// Most parts that wait for an operator.
const MAX_STACK: usize = 8 * 1024;

/// Runs the program that a mangled name is.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) tree: Tree,
    pub(super) stack: Vec<Id>,
    /// What letters after `A` stand for.
    pub(super) substitutions: Vec<Id>,
    /// What letters in identifiers stand for.
    pub(super) words: Vec<&'a str>,
    /// As Swift 4.0 had it.
    pub(super) has_labels_in_types: bool,
    /// What compilers and linkers appended.
    suffix: &'a str,
}

/// A name that was understood.
pub(super) struct Parsed<'a> {
    pub(super) tree: Tree,
    pub(super) root: Id,
    /// What is said of the root, the outermost last.
    pub(super) attributes: Vec<Id>,
    pub(super) suffix: &'a str,
}

// === impl Parser ===

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, has_labels_in_types: bool) -> Self {
        Self {
            text,
            at: 0,
            tree: Tree::default(),
            stack: Vec::new(),
            substitutions: Vec::new(),
            words: Vec::new(),
            has_labels_in_types,
            suffix: "",
        }
    }

    /// The whole name.
    pub(super) fn name(mut self) -> Option<Parsed<'a>> {
        while self.at < self.text.len() {
            self.operator()?;
            if self.stack.len() > MAX_STACK {
                return None;
            }
        }
        let (attributes, mut rest): (Vec<_>, Vec<_>) =
            self.stack.iter().copied().partition(|id| self.tree.kind(*id).is_attribute());
        let root = rest.pop()?;
        // Copies can be made of functions that have a plain name.
        let kind = self.tree.kind(root);
        let is_copied = (kind == Kind::Name || kind.is_type()) && !attributes.is_empty();
        let is_whole = kind.is_whole() || is_copied;
        if !rest.is_empty() || !is_whole {
            return None;
        }
        Some(Parsed { tree: self.tree, root, attributes, suffix: self.suffix })
    }

    fn operator(&mut self) -> Option<()> {
        let made = match self.next()? {
            b'0'..=b'9' => {
                self.at -= 1;
                self.identifier()?
            }
            b'A' => return self.substitution(),
            b'S' => return self.standard_type(),
            b's' => self.leaf(Kind::Module, "Swift")?,
            b'B' => self.builtin_type()?,
            b'C' => self.nominal(Nominal::Class)?,
            b'O' => self.nominal(Nominal::Enum)?,
            b'V' => self.nominal(Nominal::Struct)?,
            b'P' => self.nominal(Nominal::Protocol)?,
            b'a' => self.nominal(Nominal::Alias)?,
            b'E' => self.extension()?,
            b'F' => self.function()?,
            b'v' => self.variable()?,
            b'i' => self.subscript()?,
            b'f' => self.function_like()?,
            b'Z' => self.wrap(Kind::Static, Kind::is_entity)?,
            b'L' => self.discriminated_name()?,
            b'o' => self.operator_name()?,
            b'G' => self.bound_type()?,
            b'I' => self.implementation_type()?,
            b'Q' => self.archetype()?,
            b'X' => self.special_type()?,
            b'c' => self.function_type("")?,
            b'm' => self.wrap(Kind::Metatype(""), Kind::is_type)?,
            b'p' => self.existential()?,
            b'q' => self.generic_parameter()?,
            b'x' => self.parameter(0, 0)?,
            b't' => self.tuple()?,
            b'u' => self.generic_type()?,
            b'$' => self.integer_type()?,
            b'h' => self.wrap(Kind::Prefixed("__shared "), Kind::is_type)?,
            b'n' => self.wrap(Kind::Prefixed("__owned "), Kind::is_type)?,
            b'z' => self.wrap(Kind::Prefixed("inout "), Kind::is_type)?,
            b'Y' => self.annotation()?,
            b'K' => self.leaf(Kind::Throws, "")?,
            b'd' => self.leaf(Kind::Variadic, "")?,
            b'y' => self.leaf(Kind::Empty, "")?,
            b'_' => self.leaf(Kind::First, "")?,
            b'R' => self.requirement()?,
            b'l' => self.signature(false)?,
            b'r' => self.signature(true)?,
            b'H' => self.conformance_or_record()?,
            b'g' => self.retroactive_conformance()?,
            b'D' => self.about("")?,
            b'N' => self.about("type metadata for ")?,
            b'M' => self.metadata()?,
            b'W' => self.witness()?,
            b'w' => self.value_witness()?,
            b'T' => self.thunk_or_specialization()?,
            b'.' => {
                self.suffix = &self.text[self.at - 1..];
                self.at = self.text.len();
                return Some(());
            }
            _ => return None,
        };
        self.stack.push(made);
        Some(())
    }

    // --- The text.

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a str> {
        let end = self.at.checked_add(len)?;
        let taken = self.text.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// Digits, if there are any.
    pub(super) fn natural(&mut self) -> Option<u64> {
        let start = self.at;
        let mut number: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        (self.at > start).then_some(number)
    }

    /// `_` is 0, `0_` is 1.
    pub(super) fn index(&mut self) -> Option<u64> {
        if self.eat(b'_') {
            return Some(0);
        }
        let number = self.natural()?.checked_add(1)?;
        self.eat(b'_').then_some(number)
    }

    // --- The stack.

    pub(super) fn top(&self) -> Option<Kind> {
        self.stack.last().map(|id| self.tree.kind(*id))
    }

    pub(super) fn pop(&mut self, is: impl Fn(Kind) -> bool) -> Option<Id> {
        if is(self.top()?) { self.stack.pop() } else { None }
    }

    pub(super) fn pop_kind(&mut self, kind: Kind) -> Option<Id> {
        self.pop(|it| it == kind)
    }

    pub(super) fn pop_type(&mut self) -> Option<Id> {
        self.pop(Kind::is_type)
    }

    pub(super) fn pop_name(&mut self) -> Option<Id> {
        self.pop(Kind::is_name)
    }

    pub(super) fn pop_entity(&mut self) -> Option<Id> {
        self.pop(Kind::is_entity)
    }

    pub(super) fn pop_signature(&mut self) -> Option<Id> {
        self.pop_kind(Kind::Signature)
    }

    pub(super) fn pop_module(&mut self) -> Option<Id> {
        if let Some(module) = self.pop_kind(Kind::Module) {
            return Some(module);
        }
        let name = self.pop_kind(Kind::Name)?;
        let text = self.tree.text(name).to_owned();
        self.leaf(Kind::Module, &text)
    }

    pub(super) fn pop_context(&mut self) -> Option<Id> {
        match self.pop(Kind::is_context) {
            Some(context) => Some(context),
            None => self.pop_module(),
        }
    }

    /// A protocol that was made one, or a name that is one because of where it stands.
    pub(super) fn pop_protocol(&mut self) -> Option<Id> {
        let protocol = Kind::Nominal(Nominal::Protocol);
        if let Some(known) = self.pop_kind(protocol) {
            return Some(known);
        }
        let name = self.pop_name()?;
        let context = self.pop_context()?;
        self.node(protocol, vec![context, name])
    }

    /// Elements of which the first is marked, or the mark of the empty list. In their order.
    pub(super) fn pop_list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Option<Id>,
    ) -> Option<Vec<Id>> {
        let mut list = Vec::new();
        if self.pop_kind(Kind::Empty).is_some() {
            return Some(list);
        }
        loop {
            let is_first = self.pop_kind(Kind::First).is_some();
            list.push(element(self)?);
            if is_first {
                list.reverse();
                return Some(list);
            }
        }
    }

    /// As many as there are, in their order.
    pub(super) fn pop_while(&mut self, is: impl Fn(Kind) -> bool) -> Vec<Id> {
        let mut list: Vec<_> = std::iter::from_fn(|| self.pop(&is)).collect();
        list.reverse();
        list
    }

    // --- Parts.

    pub(super) fn leaf(&mut self, kind: Kind, text: &str) -> Option<Id> {
        self.tree.add(kind, text.to_owned(), 0, Vec::new())
    }

    pub(super) fn node(&mut self, kind: Kind, kids: Vec<Id>) -> Option<Id> {
        self.tree.add(kind, String::new(), 0, kids)
    }

    pub(super) fn numbered(&mut self, kind: Kind, number: u64, kids: Vec<Id>) -> Option<Id> {
        self.tree.add(kind, String::new(), number, kids)
    }

    /// A part of what is on top.
    pub(super) fn wrap(&mut self, kind: Kind, is: impl Fn(Kind) -> bool) -> Option<Id> {
        let inner = self.pop(is)?;
        self.node(kind, vec![inner])
    }

    /// A text before the type on top.
    pub(super) fn about(&mut self, text: &'static str) -> Option<Id> {
        self.wrap(Kind::About(text), Kind::is_type)
    }

    /// Text and parts in turns, beginning with text.
    pub(super) fn phrase(&mut self, texts: &'static [&'static str], kids: Vec<Id>) -> Option<Id> {
        self.node(Kind::Phrase(texts), kids)
    }

    /// Remembers a part for references.
    pub(super) fn remember(&mut self, id: Option<Id>) -> Option<Id> {
        self.substitutions.push(id?);
        id
    }
}
