//! Functions that the compiler makes to call others.

use super::{
    parser::Parser,
    tree::{Id, Kind},
};

/// `T` and a letter: what is said of all that was before.
const OF_FUNCTIONS: &[(u8, &str)] = &[
    (b'A', "partial apply forwarder for "),
    (b'a', "partial apply ObjC forwarder for "),
    (b'D', "dynamic "),
    (b'd', "super "),
    (b'E', "distributed thunk "),
    (b'F', "distributed accessor for "),
    (b'I', "dynamically replaceable thunk for "),
    (b'O', "@nonobjc "),
    (b'S', "protocol self-conformance witness for "),
    (b'X', "dynamically replaceable variable for "),
    (b'j', "dispatch thunk of "),
    (b'm', "merged "),
    (b'o', "@objc "),
    (b'q', "method descriptor for "),
    (b'u', "async function pointer to "),
    (b'x', "dynamically replaceable key for "),
];

/// The same after `Tw`.
const OF_MORE_FUNCTIONS: &[(u8, &str)] = &[
    (b'B', "back deployment fallback for "),
    (b'S', "#_hasSymbol query for "),
    (b'b', "back deployment thunk for "),
    (b'c', "coro function pointer to "),
    (b'd', "default override of "),
];

// === impl Parser ===

impl Parser<'_> {
    /// After `T`.
    pub(super) fn thunk_or_specialization(&mut self) -> Option<Id> {
        let letter = self.next()?;
        if let Some((_, text)) = OF_FUNCTIONS.iter().find(|(it, _)| *it == letter) {
            return self.leaf(Kind::Attribute, text);
        }
        match letter {
            b'w' => {
                let letter = self.next()?;
                let (_, text) = OF_MORE_FUNCTIONS.iter().find(|(it, _)| *it == letter)?;
                self.leaf(Kind::Attribute, text)
            }
            b'Q' => self.partial_function("await"),
            b'Y' => self.partial_function("suspend"),
            b'v' => self.outlined_variable(),
            b'e' => self.outlined_bridged_method(),
            b'c' => self.wrap(Kind::Curry, Kind::is_entity),
            b'U' => {
                let actor = self.pop_type()?;
                let mut kids = self.pop_all()?;
                kids.extend([self.leaf(Kind::Word, " with global actor constraint ")?, actor]);
                self.node(Kind::Sequence, kids)
            }
            b'C' => self.about("coroutine continuation prototype for "),
            b'V' => {
                let base = self.pop_entity()?;
                let derived = self.pop_entity()?;
                self.phrase(&["vtable thunk for ", " dispatching to "], vec![base, derived])
            }
            b'W' => {
                let requirement = self.pop_entity()?;
                let conformance = self.pop_conformance()?;
                let texts = &["protocol witness for ", " in conformance "];
                self.phrase(texts, vec![requirement, conformance])
            }
            b'R' => self.reabstraction("reabstraction thunk helper "),
            b'r' => self.reabstraction("reabstraction thunk "),
            b'y' => self.reabstraction_with_self(),
            b'z' | b'Z' => self.completion_handler(letter == b'Z'),
            b'K' => self.key_path("key path getter for "),
            b'k' => self.key_path_setter(),
            b'H' => self.key_path_indices("key path index equality operator for "),
            b'h' => self.key_path_indices("key path index hash operator for "),
            b'J' => self.automatic_differentiation(),
            b'L' => self.about_protocol("protocol requirements base descriptor for "),
            b'l' => self.about_associated_name("associated type descriptor for "),
            b'M' => self.about_associated_name("default associated type witness accessor for "),
            b'n' => {
                self.associated_conformance(&["associated conformance descriptor for ", ".", ": "])
            }
            b'N' => {
                let texts = &["default associated conformance accessor for ", ".", ": "];
                self.associated_conformance(texts)
            }
            b'b' => {
                let base = self.pop_protocol()?;
                let protocol = self.pop_protocol()?;
                self.phrase(&["base conformance descriptor for ", ": "], vec![protocol, base])
            }
            _ => self.specialization(letter),
        }
    }

    /// A part of an asynchronous function, after it has waited.
    fn partial_function(&mut self, why: &str) -> Option<Id> {
        let number = self.index()?;
        self.leaf(Kind::Attribute, &format!("({number}) {why} resume partial function for "))
    }

    fn outlined_variable(&mut self) -> Option<Id> {
        let number = self.index()?;
        let what = if self.eat(b'r') { "read-only object" } else { "variable" };
        self.leaf(Kind::Attribute, &format!("outlined {what} #{number} of "))
    }

    /// What of an Objective-C method's values is converted.
    fn outlined_bridged_method(&mut self) -> Option<Id> {
        let start = self.at;
        if !matches!(self.next()?, b'm' | b'a' | b'p') {
            return None;
        }
        while !self.eat(b'_') {
            if !matches!(self.next()?, b'b' | b'n' | b'g') {
                return None;
            }
        }
        let what = self.text.get(start..self.at - 1)?;
        self.leaf(Kind::Attribute, &format!("outlined bridged method ({what}) of "))
    }

    /// From one way of passing values to another.
    fn reabstraction(&mut self, text: &'static str) -> Option<Id> {
        let signature = self.pop_signature();
        let to = self.pop_type()?;
        let from = self.pop_type()?;
        self.node(Kind::Thunk(text), [from, to].into_iter().chain(signature).collect())
    }

    fn reabstraction_with_self(&mut self) -> Option<Id> {
        let signature = self.pop_signature();
        let of_self = self.pop_type()?;
        let to = self.pop_type()?;
        let from = self.pop_type()?;
        if signature.is_some() {
            return None;
        }
        self.phrase(&["reabstraction thunk from ", " to ", " self "], vec![from, to, of_self])
    }

    fn completion_handler(&mut self, is_of_runtime: bool) -> Option<Id> {
        if self.peek().is_some() {
            self.index()?;
        }
        if self.pop_signature().is_some() {
            return None;
        }
        let result = self.pop_type()?;
        let block = self.pop_type()?;
        let texts: &[&str] = if is_of_runtime {
            &["predefined @objc completion handler block implementation for ", " with result type "]
        } else {
            &["@objc completion handler block implementation for ", " with result type "]
        };
        self.phrase(texts, vec![block, result])
    }

    fn key_path(&mut self, text: &'static str) -> Option<Id> {
        // One that may be in other modules.
        let is_serialized = self.eat(b'q');
        let types = self.pop_while(Kind::is_type);
        let signature = self.pop_signature();
        let entity = self.pop_entity()?;
        if types.is_empty() {
            return None;
        }
        let kids = [entity].into_iter().chain(signature).chain(types).collect();
        self.numbered(Kind::KeyPath(text), u64::from(is_serialized), kids)
    }

    fn key_path_setter(&mut self) -> Option<Id> {
        let rest = self.text.get(self.at..)?;
        let (len, text) = if rest.starts_with("mu") {
            (2, "key path unapplied method ")
        } else if rest.starts_with("MA") {
            (2, "key path applied method ")
        } else {
            (0, "key path setter for ")
        };
        self.at += len;
        self.key_path(text)
    }

    fn key_path_indices(&mut self, text: &'static str) -> Option<Id> {
        self.eat(b'q');
        let signature = self.pop_signature();
        let types = self.pop_while(Kind::is_type);
        if types.is_empty() {
            return None;
        }
        let kids = signature.into_iter().chain(types).collect();
        self.node(Kind::KeyPathIndices(text), kids)
    }

    fn about_associated_name(&mut self, text: &'static str) -> Option<Id> {
        let name = self.pop_associated_name()?;
        self.node(Kind::About(text), vec![name])
    }

    fn associated_conformance(&mut self, texts: &'static [&'static str]) -> Option<Id> {
        let required = self.pop_protocol()?;
        let path = self.pop_witness_path()?;
        let protocol = self.pop_protocol()?;
        self.phrase(texts, vec![protocol, path, required])
    }

    /// After `TJ`.
    fn automatic_differentiation(&mut self) -> Option<Id> {
        match self.peek()? {
            b'V' => {
                self.at += 1;
                self.derivative("vtable thunk for ", false)
            }
            b'O' => {
                self.at += 1;
                self.reordering_thunk()
            }
            b'S' => {
                self.at += 1;
                self.subset_thunk()
            }
            _ => self.derivative("", false),
        }
    }

    /// A function made by differentiation: of what, with respect to what.
    pub(super) fn derivative(&mut self, text: &str, is_witness: bool) -> Option<Id> {
        let kind = self.next()?;
        let parameters = self.index_set(b'p')?;
        let results = self.index_set(b'r')?;
        let signature = self.pop_signature();
        let original = self.pop_all()?;
        let before = if is_witness {
            let how = match kind {
                b'f' => "forward-mode",
                b'r' => "reverse-mode",
                b'd' => "normal",
                b'l' => "linear",
                _ => return None,
            };
            format!("{how} differentiability witness for ")
        } else {
            format!("{text}{} of ", derivative_kind(kind)?)
        };
        let mut kids = vec![self.leaf(Kind::Word, &before)?];
        kids.extend(original);
        let after = format!(" with respect to parameters {parameters} and results {results}");
        kids.push(self.leaf(Kind::Word, &after)?);
        if let Some(signature) = signature {
            kids.push(self.leaf(Kind::Word, " with ")?);
            kids.push(signature);
        }
        self.node(Kind::Sequence, kids)
    }

    /// From one order of results to another.
    fn reordering_thunk(&mut self) -> Option<Id> {
        let what = derivative_kind(self.next()?)?;
        let signature = self.pop_signature();
        let to = self.pop_type()?;
        let from = self.pop_type()?;
        let text = format!("autodiff self-reordering reabstraction thunk for {what}");
        let mut kids = vec![self.leaf(Kind::Word, &text)?];
        if let Some(signature) = signature {
            kids.extend([signature, self.leaf(Kind::Word, " ")?]);
        }
        kids.extend([self.leaf(Kind::Word, " from ")?, from, self.leaf(Kind::Word, " to ")?, to]);
        self.node(Kind::Sequence, kids)
    }

    /// Of a part of the parameters.
    fn subset_thunk(&mut self) -> Option<Id> {
        let what = derivative_kind(self.next()?)?;
        let parameters = self.index_set(b'p')?;
        let results = self.index_set(b'r')?;
        let subset = self.index_set(b'P')?;
        if self.pop_signature().is_some() {
            return None;
        }
        let ty = self.pop_type()?;
        let text = format!("autodiff subset parameters thunk for {what} from ");
        let mut kids = vec![self.leaf(Kind::Word, &text)?];
        let has_function = !self.stack.is_empty();
        if has_function {
            kids.extend(self.pop_all()?);
        } else {
            kids.push(ty);
        }
        let text = format!(
            " with respect to parameters {parameters} and results {results} to parameters {subset}"
        );
        kids.push(self.leaf(Kind::Word, &text)?);
        if has_function {
            kids.extend([self.leaf(Kind::Word, " of type ")?, ty]);
        }
        self.node(Kind::Sequence, kids)
    }

    /// `S` is in, `U` is not: `USS` is {1, 2}.
    fn index_set(&mut self, end: u8) -> Option<String> {
        let mut members = Vec::new();
        for at in 0_u32.. {
            match self.next()? {
                b'S' => members.push(at.to_string()),
                b'U' => {}
                letter if letter == end && at > 0 => break,
                _ => return None,
            }
        }
        Some(format!("{{{}}}", members.join(", ")))
    }
}

/// Which of the functions that belong to a differentiable one.
fn derivative_kind(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'f' => "forward-mode derivative",
        b'r' => "reverse-mode derivative",
        b'd' => "differential",
        b'p' => "pullback",
        _ => return None,
    })
}
