//! What the compiler makes for types and conformances: metadata, witnesses, outlined operations.

use super::{
    parser::Parser,
    tree::{Id, Kind, Nominal},
};

/// `M` and a letter, about a type.
const METADATA: &[(u8, &str)] = &[
    (b'a', "type metadata accessor for "),
    (b'b', "canonical specialized generic type metadata accessor for "),
    (b'f', "full type metadata for "),
    (b'i', "type metadata instantiation function for "),
    (b'l', "type metadata singleton initialization cache for "),
    (b'm', "metaclass for "),
    (b'n', "nominal type descriptor for "),
    (b'o', "class metadata base offset for "),
    (b'r', "type metadata completion function for "),
    (b's', "ObjC resilient class stub for "),
    (b't', "full ObjC resilient class stub for "),
    (b'u', "method lookup function for "),
    (b'B', "reflection metadata builtin descriptor "),
    (b'C', "reflection metadata superclass descriptor "),
    (b'D', "demangling cache variable for type metadata for "),
    (b'F', "reflection metadata field descriptor "),
    (b'I', "type metadata instantiation cache for "),
    (b'L', "lazy cache variable for type metadata for "),
    (b'P', "generic type metadata pattern for "),
    (b'U', "ObjC metadata update function for "),
];

/// `M` and a letter, about all that was before.
const METADATA_OF_NAMES: &[(u8, &str)] = &[
    (b'J', "cache variable for noncanonical specialized generic type metadata for "),
    (b'K', "metadata instantiation cache for "),
    (b'N', "noncanonical specialized generic type metadata for "),
    (b'q', "uniquable "),
    (b'z', "flag for loading of canonical specialized generic type metadata for "),
];

/// `M` and a letter, about something declared or its opaque result.
const METADATA_OF_ENTITIES: &[(u8, &str)] = &[
    (b'Q', "opaque type descriptor for "),
    (b'V', "property descriptor for "),
    (b'g', "opaque type descriptor accessor for "),
    (b'h', "opaque type descriptor accessor impl for "),
    (b'j', "opaque type descriptor accessor key for "),
    (b'k', "opaque type descriptor accessor var for "),
];

/// `W` and a letter, about a conformance.
const WITNESSES: &[(u8, &str)] = &[
    (b'G', "generic protocol witness table for "),
    (b'I', "instantiation function for generic protocol witness table for "),
    (b'P', "protocol witness table for "),
    (b'a', "protocol witness table accessor for "),
    (b'p', "protocol witness table pattern for "),
    (b'r', "resilient protocol witness table for "),
];

/// `WO` and a letter.
const OUTLINED: &[(u8, &str)] = &[
    (b'B', "outlined init with take of "),
    (b'C', "outlined init with copy of "),
    (b'D', "outlined assign with take of "),
    (b'F', "outlined assign with copy of "),
    (b'H', "outlined destroy of "),
    (b'b', "outlined init with take of "),
    (b'c', "outlined init with copy of "),
    (b'd', "outlined assign with take of "),
    (b'e', "outlined consume of "),
    (b'f', "outlined assign with copy of "),
    (b'g', "outlined enum get tag of "),
    (b'h', "outlined destroy of "),
    (b'i', "outlined enum tag store of "),
    (b'j', "outlined enum project data for load of "),
    (b'r', "outlined retain of "),
    (b's', "outlined release of "),
    (b'y', "outlined copy of "),
];

/// `w` and two letters.
const VALUE_WITNESSES: &[(&str, &str)] = &[
    ("CP", "initializeBufferWithCopyOfBuffer value witness for "),
    ("Cc", "initializeArrayWithCopy value witness for "),
    ("Cp", "initializeBufferWithCopy value witness for "),
    ("TK", "initializeBufferWithTakeOfBuffer value witness for "),
    ("Tk", "initializeBufferWithTake value witness for "),
    ("Tt", "initializeArrayWithTakeFrontToBack value witness for "),
    ("XX", "destroyBuffer value witness for "),
    ("Xx", "destroyArray value witness for "),
    ("al", "allocateBuffer value witness for "),
    ("ca", "assignWithCopy value witness for "),
    ("cp", "initializeWithCopy value witness for "),
    ("de", "deallocateBuffer value witness for "),
    ("et", "getEnumTagSinglePayload value witness for "),
    ("pr", "projectBuffer value witness for "),
    ("st", "storeEnumTagSinglePayload value witness for "),
    ("tT", "initializeArrayWithTakeBackToFront value witness for "),
    ("ta", "assignWithTake value witness for "),
    ("tk", "initializeWithTake value witness for "),
    ("ug", "getEnumTag value witness for "),
    ("ui", "destructiveInjectEnumTag value witness for "),
    ("up", "destructiveProjectEnumData value witness for "),
    ("xg", "getExtraInhabitantIndex value witness for "),
    ("xs", "storeExtraInhabitant value witness for "),
    ("xx", "destroy value witness for "),
];

fn text_of(table: &[(u8, &'static str)], letter: u8) -> Option<&'static str> {
    table.iter().find(|(it, _)| *it == letter).map(|(_, text)| *text)
}

// === impl Parser ===

impl Parser<'_> {
    /// After `M`.
    pub(super) fn metadata(&mut self) -> Option<Id> {
        let letter = self.next()?;
        if let Some(text) = text_of(METADATA, letter) {
            return self.about(text);
        }
        if let Some(text) = text_of(METADATA_OF_NAMES, letter) {
            return self.about_all(text);
        }
        if let Some(text) = text_of(METADATA_OF_ENTITIES, letter) {
            return self.wrap(Kind::About(text), |it| it.is_entity() || it == Kind::OpaqueResult);
        }
        match letter {
            b'A' => self.about_conformance("reflection metadata associated type descriptor "),
            b'c' => self.about_conformance("protocol conformance descriptor for "),
            b'p' => self.about_protocol("protocol descriptor for "),
            b'S' => self.about_protocol("protocol self-conformance descriptor for "),
            b'X' => match self.next()? {
                b'E' => self.wrap(Kind::About("extension descriptor "), Kind::is_context),
                b'M' => {
                    let module = self.pop_module()?;
                    self.node(Kind::About("module descriptor "), vec![module])
                }
                b'X' => self.wrap(Kind::About("anonymous descriptor "), Kind::is_context),
                b'Y' => {
                    // The name is not shown.
                    self.pop_kind(Kind::Name)?;
                    let context = self.pop_context()?;
                    self.node(Kind::About("anonymous descriptor "), vec![context])
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// A text before all that was read so far.
    pub(super) fn about_all(&mut self, text: &'static str) -> Option<Id> {
        let all = self.pop_all()?;
        self.node(Kind::About(text), all)
    }

    /// All that was read so far, in the order in which it is written.
    pub(super) fn pop_all(&mut self) -> Option<Vec<Id>> {
        let (mut attributes, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.stack)
            .into_iter()
            .partition(|id| self.tree.kind(*id).is_attribute());
        let &[root] = rest.as_slice() else { return None };
        let kind = self.tree.kind(root);
        if !(kind.is_whole() || kind.is_type()) {
            return None;
        }
        attributes.reverse();
        attributes.push(root);
        Some(attributes)
    }

    fn about_conformance(&mut self, text: &'static str) -> Option<Id> {
        let conformance = self.pop_conformance()?;
        self.node(Kind::About(text), vec![conformance])
    }

    pub(super) fn about_protocol(&mut self, text: &'static str) -> Option<Id> {
        let protocol = self.pop_protocol()?;
        self.node(Kind::About(text), vec![protocol])
    }

    /// After `H`, what is not of conformances in types.
    pub(super) fn runtime_record(&mut self, letter: u8) -> Option<Id> {
        match letter {
            b'r' => self.about_protocol("protocol descriptor runtime record for "),
            b'n' => self.about("nominal type descriptor runtime record for "),
            b'o' => self.wrap(Kind::About("opaque type descriptor runtime record for "), |it| {
                it == Kind::OpaqueResult
            }),
            b'c' => self.about_conformance("protocol conformance descriptor runtime record for "),
            b'F' => self.about_all("accessible function runtime record for "),
            _ => None,
        }
    }

    /// After `w`.
    pub(super) fn value_witness(&mut self) -> Option<Id> {
        let letters = self.take(2)?;
        let (_, text) = VALUE_WITNESSES.iter().find(|(it, _)| *it == letters)?;
        self.about(text)
    }

    /// After `W`.
    pub(super) fn witness(&mut self) -> Option<Id> {
        let letter = self.next()?;
        if let Some(text) = text_of(WITNESSES, letter) {
            return self.about_conformance(text);
        }
        match letter {
            b'V' => self.about("value witness table for "),
            b'S' => self.about_protocol("protocol self-conformance witness table for "),
            b'v' => {
                let text = match self.next()? {
                    b'd' => "direct field offset for ",
                    b'i' => "indirect field offset for ",
                    _ => return None,
                };
                self.wrap(Kind::About(text), Kind::is_entity)
            }
            b'C' => self.wrap(Kind::About("enum case for "), Kind::is_entity),
            b'l' => self.lazy_witness(&[
                "lazy protocol witness table accessor for type ",
                " and conformance ",
            ]),
            b'L' => self.lazy_witness(&[
                "lazy protocol witness table cache variable for type ",
                " and conformance ",
            ]),
            b't' => {
                let name = self.pop_name()?;
                let conformance = self.pop_conformance()?;
                let texts = &["associated type metadata accessor for ", " in "];
                self.phrase(texts, vec![name, conformance])
            }
            b'T' => {
                let protocol = self.pop_kind(Kind::Nominal(Nominal::Protocol))?;
                let names = self.pop_witness_path()?;
                let conformance = self.pop_conformance()?;
                let texts = &["associated type witness table accessor for ", " : ", " in "];
                self.phrase(texts, vec![names, protocol, conformance])
            }
            b'b' => {
                let protocol = self.pop_kind(Kind::Nominal(Nominal::Protocol))?;
                let conformance = self.pop_conformance()?;
                let texts = &["base witness table accessor for ", " in "];
                self.phrase(texts, vec![protocol, conformance])
            }
            b'O' => {
                let letter = self.next()?;
                let text = text_of(OUTLINED, letter)?;
                // Which case it is of is not shown.
                if matches!(letter, b'i' | b'j') {
                    self.index()?;
                }
                let signature = self.pop_signature();
                let ty = self.pop_type()?;
                let signature = signature.filter(|_| matches!(letter, b'y' | b'e' | b'g'));
                let kids = [ty].into_iter().chain(signature).collect();
                self.node(Kind::About(text), kids)
            }
            b'Z' => self.once("one-time initialization function for "),
            b'z' => self.once("one-time initialization token for "),
            b'J' => self.derivative("", true),
            _ => None,
        }
    }

    fn lazy_witness(&mut self, texts: &'static [&'static str]) -> Option<Id> {
        let conformance = self.pop_conformance()?;
        let ty = self.pop_type()?;
        self.phrase(texts, vec![ty, conformance])
    }

    /// Names of associated types, or a type that is one.
    pub(super) fn pop_witness_path(&mut self) -> Option<Id> {
        if self.top()? == Kind::First || self.top()? == Kind::Name {
            return self.associated_path();
        }
        match self.top()? {
            Kind::Nominal(Nominal::Protocol) => self.associated_path(),
            _ => self.pop_type(),
        }
    }

    fn associated_path(&mut self) -> Option<Id> {
        let names = self.pop_associated_names()?;
        self.node(Kind::List, names)
    }

    /// Variables that are initialized when the first of them is used.
    fn once(&mut self, text: &'static str) -> Option<Id> {
        let mut names = Vec::new();
        while self.pop_kind(Kind::First).is_some() {
            names.push(self.pop_name()?);
        }
        names.reverse();
        if names.is_empty() {
            return None;
        }
        self.pop_context()?;
        let names = self.node(Kind::Names, names)?;
        self.node(Kind::About(text), vec![names])
    }
}
