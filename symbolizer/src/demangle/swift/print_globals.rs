//! Writing what is neither declared nor a type.

use super::{
    print::Printer,
    tree::{Id, Kind},
};

// === impl Printer ===

impl Printer<'_> {
    pub(super) fn rest(&mut self, id: Id) -> Option<()> {
        let node = self.tree.get(id);
        let kids = node.kids.as_slice();
        match node.kind {
            Kind::Attribute | Kind::Word => self.push(&node.text),
            Kind::Symbol => self.symbol(&node.text),
            Kind::About(text) => {
                self.push(text)?;
                self.nodes(kids)
            }
            Kind::Phrase(texts) => {
                for (text, kid) in texts.iter().zip(kids) {
                    self.push(text)?;
                    self.node(*kid)?;
                }
                Some(())
            }
            Kind::Sequence => self.nodes(kids),
            Kind::Specialization(text) => {
                self.push(text)?;
                self.specialized(kids)
            }
            Kind::SignatureSpecialization => {
                self.push("function signature specialization")?;
                self.specialized(kids)
            }
            Kind::KeyPath(_) | Kind::KeyPathIndices(_) | Kind::Thunk(_) => self.thunk(id),
            Kind::Names => match kids {
                [only] => self.node(*only),
                _ => {
                    self.push("(")?;
                    self.list(kids, ", ")?;
                    self.push(")")
                }
            },
            Kind::Conformance => self.conformance(kids),
            Kind::OpaqueResult => {
                self.push("<<opaque return type of ")?;
                self.kid(id, 0)?;
                self.push(">>")
            }
            Kind::Element => {
                if node.kids.len() > 1 {
                    self.kid(id, 1)?;
                    self.push(": ")?;
                }
                self.kid(id, 0)?;
                self.push(if node.number > 0 { "..." } else { "" })
            }
            Kind::List => self.list(kids, "."),
            Kind::AssociatedName => {
                if kids.len() > 1 {
                    self.kid(id, 1)?;
                    self.push(".")?;
                }
                self.kid(id, 0)
            }
            Kind::Signature => self.signature(id),
            Kind::Requirement(between) => {
                self.kid(id, 0)?;
                self.push(between)?;
                self.kid(id, 1)?;
                self.push(if between.contains("shape") { ".shape" } else { "" })
            }
            Kind::Layout => {
                self.kid(id, 0)?;
                self.push(": ")?;
                self.push(&node.text)
            }
            _ => None,
        }
    }

    /// What calls something else.
    fn thunk(&mut self, id: Id) -> Option<()> {
        let node = self.tree.get(id);
        let kids = node.kids.as_slice();
        match node.kind {
            Kind::KeyPath(text) => {
                let (entity, types) = kids.split_first()?;
                self.push(text)?;
                self.node(*entity)?;
                self.push(" : ")?;
                self.nodes(types)?;
                self.push(if node.number > 0 { ", serialized" } else { "" })
            }
            Kind::KeyPathIndices(text) => {
                self.push(text)?;
                let mut types = kids;
                if let [signature, rest @ ..] = kids
                    && self.tree.kind(*signature) == Kind::Signature
                {
                    self.node(*signature)?;
                    types = rest;
                }
                self.push("(")?;
                self.list(types, ", ")?;
                self.push(")")
            }
            Kind::Thunk(text) => {
                self.push(text)?;
                if let Some(signature) = kids.get(2) {
                    self.node(*signature)?;
                    self.push(" ")?;
                }
                self.push("from ")?;
                self.kid(id, 0)?;
                self.push(" to ")?;
                self.kid(id, 1)
            }
            _ => None,
        }
    }

    fn specialized(&mut self, kids: &[Id]) -> Option<()> {
        self.push(" <")?;
        self.list(kids, ", ")?;
        self.push("> of ")
    }

    /// `<A> Array<A> : Hashable in Swift`.
    fn conformance(&mut self, kids: &[Id]) -> Option<()> {
        let [ty, protocol, module, signature @ ..] = kids else { return None };
        if let [signature] = signature {
            self.node(*signature)?;
            self.push(" ")?;
        }
        self.node(*ty)?;
        self.push(" : ")?;
        self.node(*protocol)?;
        self.push(" in ")?;
        self.node(*module)
    }
}
