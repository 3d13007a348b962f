//! Generic parameters, what is required of them, and conformances.

use super::{
    parser::Parser,
    tree::{Id, Kind},
};

/// Most parameters of one depth, and depths.
const MAX_PARAMETERS: u64 = 1 << 20;

/// What an inverse requirement takes away, by the number of its bit.
const INVERTIBLE: [&str; 2] = ["Copyable", "Escapable"];

/// What a requirement is about.
enum Subject {
    Parameter,
    /// A type that an associated type's name is on top of.
    Member,
    /// The same with a list of names.
    Path,
    /// A type from before.
    Type,
}

// === impl Parser ===

impl Parser<'_> {
    pub(super) fn parameter(&mut self, depth: u64, index: u64) -> Option<Id> {
        if depth > MAX_PARAMETERS || index > MAX_PARAMETERS {
            return None;
        }
        self.numbered(Kind::Parameter, depth << 32 | index, Vec::new())
    }

    /// `z`, an index, or `d` and two.
    pub(super) fn generic_parameter(&mut self) -> Option<Id> {
        if self.eat(b'z') {
            return self.parameter(0, 0);
        }
        if self.eat(b's') {
            return self.leaf(Kind::ConstrainedSelf, "Self");
        }
        if self.eat(b'd') {
            let depth = self.index()?.checked_add(1)?;
            let index = self.index()?;
            return self.parameter(depth, index);
        }
        let index = self.index()?.checked_add(1)?;
        self.parameter(0, index)
    }

    /// After `u`.
    pub(super) fn generic_type(&mut self) -> Option<Id> {
        let signature = self.pop_signature()?;
        let ty = self.pop_type()?;
        self.node(Kind::Generic, vec![signature, ty])
    }

    // --- Associated types and types whose declaration is not said.

    /// A name, with the protocol it belongs to if there could be others of that name.
    pub(super) fn pop_associated_name(&mut self) -> Option<Id> {
        let protocol = match self.top()? {
            Kind::Nominal(_) => Some(self.pop_protocol()?),
            _ => None,
        };
        let name = self.pop_kind(Kind::Name)?;
        self.node(Kind::AssociatedName, [name].into_iter().chain(protocol).collect())
    }

    pub(super) fn pop_associated_names(&mut self) -> Option<Vec<Id>> {
        self.pop_list(Self::pop_associated_name)
    }

    fn member(&mut self, base: Id, name: Id) -> Option<Id> {
        self.node(Kind::Member, vec![base, name])
    }

    fn members(&mut self, base: Id, names: &[Id]) -> Option<Id> {
        names.iter().try_fold(base, |base, name| self.member(base, *name))
    }

    /// After `Q`.
    pub(super) fn archetype(&mut self) -> Option<Id> {
        let made = match self.next()? {
            b'a' => {
                let name = self.pop_kind(Kind::Name)?;
                let protocol = self.pop_protocol()?;
                self.node(Kind::AssociatedType, vec![protocol, name])
            }
            letter @ (b'y' | b'z') => {
                let name = self.pop_associated_name()?;
                let base = self.base_of_member(letter == b'y')?;
                self.member(base, name)
            }
            letter @ (b'Y' | b'Z') => {
                let names = self.pop_associated_names()?;
                let base = self.base_of_member(letter == b'Y')?;
                self.members(base, &names)
            }
            b'x' => {
                let name = self.pop_associated_name()?;
                let base = self.pop_type()?;
                self.member(base, name)
            }
            b'X' => {
                let names = self.pop_associated_names()?;
                let base = self.pop_type()?;
                self.members(base, &names)
            }
            b'o' => {
                let number = self.index()?;
                let lists = self.pop_argument_lists()?;
                let declaration = self.pop_kind(Kind::OpaqueResult)?;
                let kids = [declaration].into_iter().chain(lists.into_iter().flatten()).collect();
                self.numbered(Kind::Opaque, number, kids)
            }
            b'O' => return self.wrap(Kind::OpaqueResult, Kind::is_entity),
            b'r' => return self.leaf(Kind::Some, "some"),
            b'R' => {
                let number = self.index()?;
                return self.tree.add(Kind::Some, "some".to_owned(), number, Vec::new());
            }
            b'e' => {
                let number = self.index()?;
                let pack = self.pop_type()?;
                return self.numbered(Kind::PackElement, number, vec![pack]);
            }
            b'p' => {
                let count = self.pop_type()?;
                let pattern = self.pop_type()?;
                return self.node(Kind::Repeat, vec![pattern, count]);
            }
            b'P' => {
                let elements = self.pop_list(Self::pop_type)?;
                return self.node(Kind::Pack(""), elements);
            }
            b'S' => {
                let how = match self.next()? {
                    b'i' => "@indirect ",
                    b'd' => "@direct ",
                    _ => return None,
                };
                let elements = self.pop_list(Self::pop_type)?;
                return self.node(Kind::Pack(how), elements);
            }
            _ => return None,
        };
        self.remember(made)
    }

    fn base_of_member(&mut self, is_said: bool) -> Option<Id> {
        if is_said { self.generic_parameter() } else { self.parameter(0, 0) }
    }

    // --- Signatures.

    /// After `r`, with how many parameters there are at each depth, or `l` for a single one.
    pub(super) fn signature(&mut self, has_counts: bool) -> Option<Id> {
        let mut kids = Vec::new();
        if has_counts {
            while !self.eat(b'l') {
                let count = if self.eat(b'z') { 0 } else { self.index()?.checked_add(1)? };
                kids.push(self.numbered(Kind::Count, count, Vec::new())?);
            }
        } else {
            kids.push(self.numbered(Kind::Count, 1, Vec::new())?);
        }
        let parts = self.pop_while(|it| {
            matches!(
                it,
                Kind::Requirement(_) | Kind::Layout | Kind::PackParameter | Kind::ValueParameter
            )
        });
        kids.extend(parts);
        self.node(Kind::Signature, kids)
    }

    /// After `R`.
    pub(super) fn requirement(&mut self) -> Option<Id> {
        use Subject::{Member, Parameter, Path, Type};
        let (subject, what) = match self.peek()? {
            b'v' => {
                self.at += 1;
                let parameter = self.generic_parameter()?;
                return self.node(Kind::PackParameter, vec![parameter]);
            }
            b'V' => {
                self.at += 1;
                let parameter = self.generic_parameter()?;
                let ty = self.pop_type()?;
                return self.node(Kind::ValueParameter, vec![parameter, ty]);
            }
            b'h' => (Parameter, b'h'),
            b'b' => (Parameter, b'b'),
            b'c' => (Member, b'b'),
            b'C' => (Path, b'b'),
            b'B' => (Type, b'b'),
            b's' => (Parameter, b's'),
            b't' => (Member, b's'),
            b'T' => (Path, b's'),
            b'S' => (Type, b's'),
            b'l' => (Parameter, b'l'),
            b'm' => (Member, b'l'),
            b'M' => (Path, b'l'),
            b'L' => (Type, b'l'),
            b'i' => (Parameter, b'i'),
            b'j' => (Member, b'i'),
            b'J' => (Path, b'i'),
            b'I' => (Type, b'i'),
            b'p' => (Member, b'p'),
            b'P' => (Path, b'p'),
            b'Q' => (Type, b'p'),
            // The shortest form: a parameter conforms to a protocol.
            _ => {
                self.at -= 1;
                (Parameter, b'p')
            }
        };
        self.at += 1;
        let bit = if what == b'i' { self.index()? } else { 0 };
        let subject = self.subject(&subject)?;
        self.required(subject, what, bit)
    }

    fn subject(&mut self, subject: &Subject) -> Option<Id> {
        let made = match subject {
            Subject::Parameter => return self.generic_parameter(),
            Subject::Type => return self.pop_type(),
            Subject::Member => {
                let name = self.pop_associated_name()?;
                let base = self.generic_parameter()?;
                self.member(base, name)
            }
            Subject::Path => {
                let names = self.pop_associated_names()?;
                let base = self.generic_parameter()?;
                self.members(base, &names)
            }
        };
        self.remember(made)
    }

    /// What is required of `subject`: a letter for each kind, whatever the subject is.
    fn required(&mut self, subject: Id, what: u8, bit: u64) -> Option<Id> {
        match what {
            b'p' => {
                let protocol = self.pop_protocol()?;
                self.node(Kind::Requirement(": "), vec![subject, protocol])
            }
            b'l' => {
                let layout = self.layout()?;
                self.tree.add(Kind::Layout, layout, 0, vec![subject])
            }
            b'i' => {
                let name = match INVERTIBLE.get(usize::try_from(bit).ok()?) {
                    Some(name) => format!("~Swift.{name}"),
                    None => format!("~Swift.<bit {bit}>"),
                };
                self.tree.add(Kind::Layout, name, 0, vec![subject])
            }
            _ => {
                let ty = self.pop_type()?;
                let between = match what {
                    b'h' => ".shape == ",
                    b's' => " == ",
                    _ => ": ",
                };
                self.node(Kind::Requirement(between), vec![subject, ty])
            }
        }
    }

    /// How values of a type look in memory.
    fn layout(&mut self) -> Option<String> {
        let (name, numbers) = match self.next()? {
            b'U' => ("_UnknownLayout", 0),
            b'R' => ("_RefCountedObject", 0),
            b'N' => ("_NativeRefCountedObject", 0),
            b'C' => ("AnyObject", 0),
            b'D' => ("_NativeClass", 0),
            b'T' => ("_Trivial", 0),
            b'e' => ("_Trivial", 1),
            b'E' => ("_Trivial", 2),
            b'm' => ("_TrivialAtMost", 1),
            b'M' => ("_TrivialAtMost", 2),
            _ => return None,
        };
        let mut text = name.to_owned();
        for at in 0..numbers {
            let number = self.index()?;
            text.push_str(&format!("{}{number}", if at == 0 { "(" } else { ", " }));
        }
        if numbers > 0 {
            text.push(')');
        }
        Some(text)
    }

    // --- Conformances.

    /// That of a type to a protocol, declared in a module.
    pub(super) fn pop_conformance(&mut self) -> Option<Id> {
        let signature = self.pop_signature();
        let module = self.pop_module()?;
        let protocol = self.pop_protocol()?;
        let ty = self.pop_type()?;
        let kids = [ty, protocol, module].into_iter().chain(signature).collect();
        self.node(Kind::Conformance, kids)
    }

    /// After `H`.
    pub(super) fn conformance_or_record(&mut self) -> Option<Id> {
        match self.next()? {
            // In the arguments of types; nothing of it is written.
            b'P' | b'p' => {
                self.pop_protocol()?;
                self.conformance_argument()
            }
            b'C' => {
                self.pop_conformance_arguments()?;
                if self.pop_kind(Kind::ConformanceArgument).is_none() {
                    self.pop_module()?;
                    self.pop_protocol()?;
                }
                self.pop_type()?;
                self.conformance_argument()
            }
            b'D' => {
                self.index()?;
                self.pop_protocol()?;
                self.pop_type()?;
                self.conformance_argument()
            }
            b'I' => {
                self.index()?;
                self.pop_protocol()?;
                self.pop_kind(Kind::ConformanceArgument)?;
                self.conformance_argument()
            }
            b'A' => {
                self.index()?;
                self.pop_protocol()?;
                self.pop_type()?;
                self.pop_kind(Kind::ConformanceArgument)?;
                self.conformance_argument()
            }
            b'O' => {
                self.pop_type()?;
                self.pop_kind(Kind::ConformanceArgument)?;
                self.conformance_argument()
            }
            b'X' => {
                self.pop_conformance_arguments()?;
                self.conformance_argument()
            }
            letter => self.runtime_record(letter),
        }
    }

    fn conformance_argument(&mut self) -> Option<Id> {
        self.leaf(Kind::ConformanceArgument, "")
    }

    fn pop_conformance_arguments(&mut self) -> Option<()> {
        self.pop_list(|this| this.pop_kind(Kind::ConformanceArgument)).map(|_| ())
    }

    /// After `g`.
    pub(super) fn retroactive_conformance(&mut self) -> Option<Id> {
        self.index()?;
        self.wrap(Kind::Retroactive, |it| it == Kind::ConformanceArgument)
    }
}
