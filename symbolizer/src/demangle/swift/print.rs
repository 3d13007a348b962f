//! Writing what was read: the bounds, and which part is written by whom.

use super::{
    MAX_DEPTH, demangle_within,
    parser::Parsed,
    tree::{Id, Kind, Tree},
};
use crate::demangle::MAX_DEMANGLED_BYTES;

/// Writes a tree. Every part goes through `node`, which counts.
pub(super) struct Printer<'a> {
    pub(super) tree: &'a Tree,
    pub(super) out: String,
    /// How many names this one is within.
    level: u32,
    depth: u32,
    steps: u32,
}

// === impl Printer ===

impl<'a> Printer<'a> {
    pub(super) fn new(tree: &'a Tree, level: u32, steps: u32) -> Self {
        Self { tree, out: String::new(), level, depth: 0, steps }
    }

    /// Whether optional types and the like are written as in the source. Not in names within names: so
    /// does the original.
    pub(super) fn has_notations(&self) -> bool {
        self.level == 0
    }

    pub(super) fn steps_left(&self) -> u32 {
        self.steps
    }

    pub(super) fn into_text(self) -> String {
        self.out
    }

    pub(super) fn name(&mut self, parsed: &Parsed<'_>) -> Option<()> {
        for attribute in parsed.attributes.iter().rev() {
            self.node(*attribute)?;
        }
        self.node(parsed.root)?;
        if !parsed.suffix.is_empty() {
            self.push(" with unmangled suffix \"")?;
            self.push(parsed.suffix)?;
            self.push("\"")?;
        }
        Some(())
    }

    pub(super) fn push(&mut self, text: &str) -> Option<()> {
        if self.out.len() + text.len() > MAX_DEMANGLED_BYTES {
            return None;
        }
        self.out.push_str(text);
        Some(())
    }

    /// Does something that may nest.
    pub(super) fn nested<T>(&mut self, write: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.steps = self.steps.checked_sub(1)?;
        self.depth += 1;
        let done = write(self);
        self.depth -= 1;
        done
    }

    /// Writes one part.
    pub(super) fn node(&mut self, id: Id) -> Option<()> {
        self.nested(|this| {
            let kind = this.tree.kind(id);
            if kind.is_name() {
                this.name_of(id)
            } else if kind.is_context() {
                this.entity(id)
            } else if kind.is_type() {
                this.type_of(id)
            } else {
                this.rest(id)
            }
        })
    }

    pub(super) fn nodes(&mut self, ids: &[Id]) -> Option<()> {
        ids.iter().try_for_each(|id| self.node(*id))
    }

    pub(super) fn list(&mut self, ids: &[Id], separator: &str) -> Option<()> {
        for (at, id) in ids.iter().enumerate() {
            if at > 0 {
                self.push(separator)?;
            }
            self.node(*id)?;
        }
        Some(())
    }

    pub(super) fn kid(&mut self, id: Id, index: usize) -> Option<()> {
        self.node(self.tree.kid(id, index)?)
    }

    /// The name of another function, demangled if it is mangled.
    pub(super) fn symbol(&mut self, text: &str) -> Option<()> {
        // Reading it is work, too.
        self.steps = self.steps.checked_sub(u32::try_from(text.len()).ok()?)?;
        match demangle_within(text, self.level + 1, &mut self.steps) {
            Some(name) => self.push(&name),
            None => self.push(text),
        }
    }

    fn name_of(&mut self, id: Id) -> Option<()> {
        let node = self.tree.get(id);
        match node.kind {
            Kind::Operator(place) => {
                self.push(&node.text)?;
                self.push(place)
            }
            Kind::Private => {
                self.push("(")?;
                if !node.kids.is_empty() {
                    self.kid(id, 0)?;
                    self.push(" ")?;
                }
                self.push("in ")?;
                self.push(&node.text)?;
                self.push(")")
            }
            Kind::Local => {
                self.kid(id, 0)?;
                self.push(&format!(" #{}", node.number))
            }
            Kind::Related => {
                self.push(&format!("related decl '{}' for ", node.text))?;
                self.kid(id, 0)
            }
            _ => self.push(&node.text),
        }
    }
}
