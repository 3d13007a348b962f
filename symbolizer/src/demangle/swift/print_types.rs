//! Writing types and signatures.

use super::{
    print::Printer,
    tree::{Id, Kind, Nominal},
};

/// Most parameters of one depth that are written.
const MAX_PARAMETERS: u64 = 128;

// === impl Printer ===

impl Printer<'_> {
    pub(super) fn type_of(&mut self, id: Id) -> Option<()> {
        let node = self.tree.get(id);
        let kids = node.kids.as_slice();
        match node.kind {
            Kind::Nominal(_) => self.entity(id),
            Kind::Builtin | Kind::Integer | Kind::Error | Kind::ConstrainedSelf | Kind::Some => {
                self.push(&node.text)
            }
            Kind::FunctionType(_) => self.function_type(id, None),
            Kind::ImplType => self.nodes(kids),
            Kind::Tuple => self.enclosed("(", kids, ")"),
            Kind::Bound => self.bound(kids),
            Kind::Prefixed(word) => {
                self.push(word)?;
                self.kid(id, 0)
            }
            Kind::Metatype(how) => {
                self.push(how)?;
                let instance = *kids.first()?;
                self.in_parentheses(instance)?;
                self.push(if self.is_existential(instance) { ".Protocol" } else { ".Type" })
            }
            Kind::ExistentialMetatype(how) => {
                self.push(how)?;
                self.kid(id, 0)?;
                self.push(".Type")
            }
            Kind::Existential | Kind::ClassExistential | Kind::AnyObject | Kind::Constrained => {
                self.existential(node.kind, kids)
            }
            Kind::SelfType => self.push("Self"),
            Kind::Parameter => self.parameter(node.number >> 32, node.number & u64::from(u32::MAX)),
            Kind::Member | Kind::AssociatedType => self.list(kids, "."),
            Kind::Generic => {
                self.kid(id, 0)?;
                let ty = *kids.get(1)?;
                if !matches!(self.tree.kind(ty), Kind::FunctionType(_) | Kind::Generic) {
                    self.push(" ")?;
                }
                self.node(ty)
            }
            Kind::Box => self.boxed(kids),
            Kind::Sugar(start, between, end) => {
                self.push(start)?;
                if end == "?" {
                    self.in_parentheses(*kids.first()?)?;
                } else {
                    self.list(kids, between)?;
                }
                self.push(end)
            }
            Kind::Opaque => {
                self.kid(id, 0)?;
                self.push(&format!(".{}", node.number))
            }
            Kind::Repeat => {
                self.push("repeat ")?;
                self.kid(id, 0)
            }
            Kind::Pack(how) => {
                self.push(how)?;
                self.enclosed("Pack{", kids, "}")
            }
            Kind::PackElement => {
                self.push(&format!("/* level: {} */ each ", node.number))?;
                self.kid(id, 0)
            }
            _ => None,
        }
    }

    /// A value of any type that conforms.
    fn existential(&mut self, kind: Kind, kids: &[Id]) -> Option<()> {
        match kind {
            Kind::Existential if kids.is_empty() => self.push("Any"),
            Kind::Existential | Kind::ClassExistential => self.list(kids, " & "),
            Kind::AnyObject => {
                self.list(kids, " & ")?;
                self.push(if kids.is_empty() { "Swift.AnyObject" } else { " & Swift.AnyObject" })
            }
            Kind::Constrained => {
                let (existential, requirements) = kids.split_first()?;
                self.push("any ")?;
                self.node(*existential)?;
                self.enclosed("<", requirements, ">")
            }
            _ => None,
        }
    }

    fn enclosed(&mut self, start: &str, kids: &[Id], end: &str) -> Option<()> {
        self.push(start)?;
        self.list(kids, ", ")?;
        self.push(end)
    }

    /// The letter stands for the index, the number after it for the depth.
    fn parameter(&mut self, depth: u64, index: u64) -> Option<()> {
        let mut left = index;
        loop {
            let letter = b'A' + u8::try_from(left % 26).ok()?;
            self.push(char::from(letter).encode_utf8(&mut [0; 4]))?;
            left /= 26;
            if left == 0 {
                break;
            }
        }
        if depth > 0 { self.push(&depth.to_string()) } else { Some(()) }
    }

    /// A generic type with arguments; those that have a notation of their own in that.
    fn bound(&mut self, kids: &[Id]) -> Option<()> {
        let (bare, arguments) = kids.split_first()?;
        // An alias that a protocol gives all types that conform.
        if self.tree.kind(*bare) == Kind::Nominal(Nominal::Protocol) {
            let [conforming] = arguments else { return None };
            return self.list(&[*conforming, *bare], " as ");
        }
        let standard = self.standard_name(*bare).filter(|_| self.has_notations());
        match (standard, arguments) {
            (Some((Nominal::Enum, "Optional")), [wrapped]) => {
                self.in_parentheses(*wrapped)?;
                self.push("?")
            }
            (Some((Nominal::Struct, "Array")), [_]) => self.enclosed("[", arguments, "]"),
            (Some((Nominal::Struct, "Dictionary")), [_, _]) => {
                self.push("[")?;
                self.list(arguments, " : ")?;
                self.push("]")
            }
            _ => {
                self.node(*bare)?;
                self.enclosed("<", arguments, ">")
            }
        }
    }

    /// The name of a type that is declared in `Swift` itself.
    fn standard_name(&self, id: Id) -> Option<(Nominal, &str)> {
        let Kind::Nominal(nominal) = self.tree.kind(id) else { return None };
        let (context, name) = (self.tree.kid(id, 0)?, self.tree.kid(id, 1)?);
        let is_swift =
            self.tree.kind(context) == Kind::Module && self.tree.text(context) == "Swift";
        (is_swift && self.tree.kind(name) == Kind::Name).then(|| (nominal, self.tree.text(name)))
    }

    /// A type before `?` or `.Type`.
    fn in_parentheses(&mut self, id: Id) -> Option<()> {
        let kids = self.tree.kids(id).len();
        let is_complex = match self.tree.kind(id) {
            Kind::Existential => kids > 1,
            Kind::AnyObject => kids > 0,
            Kind::ClassExistential
            | Kind::Constrained
            | Kind::FunctionType(_)
            | Kind::ImplType
            | Kind::Prefixed(_)
            | Kind::Generic
            | Kind::Opaque
            | Kind::Some
            | Kind::Repeat
            | Kind::PackElement => true,
            _ => false,
        };
        if !is_complex {
            return self.node(id);
        }
        self.push("(")?;
        self.node(id)?;
        self.push(")")
    }

    fn is_existential(&self, id: Id) -> bool {
        matches!(
            self.tree.kind(id),
            Kind::Existential
                | Kind::ClassExistential
                | Kind::AnyObject
                | Kind::ExistentialMetatype(_)
        )
    }

    /// `{ let A, var B } <Int>`: what closures share.
    fn boxed(&mut self, kids: &[Id]) -> Option<()> {
        let fields = *kids.first()?;
        if let Some(signature) = kids.get(1) {
            self.node(*signature)?;
            self.push(" ")?;
        }
        self.push("{ ")?;
        for (at, field) in self.tree.kids(fields).iter().enumerate() {
            if at > 0 {
                self.push(", ")?;
            }
            if self.tree.kind(*field) == Kind::Prefixed("inout ") {
                self.push("var ")?;
                self.kid(*field, 0)?;
            } else {
                self.push("let ")?;
                self.node(*field)?;
            }
        }
        self.push(" }")?;
        if let Some(arguments) = kids.get(2) {
            self.push(" ")?;
            self.enclosed("<", self.tree.kids(*arguments), ">")?;
        }
        Some(())
    }

    // --- Functions.

    /// `(label: A, B) -> C`, with what is said of the function.
    pub(super) fn function_type(&mut self, id: Id, labels: Option<Id>) -> Option<()> {
        let Kind::FunctionType(before) = self.tree.kind(id) else { return None };
        let find = |is: fn(Kind) -> bool| self.tree.find(id, is);
        let isolation = find(|it| matches!(it, Kind::GlobalActor | Kind::Isolated(_)));
        let derivative = find(|it| matches!(it, Kind::Differentiable(_)));
        let is_sendable = find(|it| it == Kind::Sendable).is_some();
        let is_async = find(|it| it == Kind::Async).is_some();
        let throws = find(|it| matches!(it, Kind::Throws | Kind::ThrowsType));
        let is_sending = find(|it| it == Kind::SendingResult).is_some();
        self.push(before)?;
        for attribute in [isolation, derivative].into_iter().flatten() {
            match self.tree.kind(attribute) {
                Kind::Isolated(text) | Kind::Differentiable(text) => self.push(text)?,
                _ => {
                    self.push("@")?;
                    self.kid(attribute, 0)?;
                    self.push(" ")?;
                }
            }
        }
        self.push(if is_sendable { "@Sendable " } else { "" })?;
        self.parameters(self.tree.kid(id, 0)?, labels)?;
        self.push(if is_async { " async" } else { "" })?;
        if let Some(throws) = throws {
            self.push(" throws")?;
            self.enclosed_if_any(self.tree.kids(throws))?;
        }
        self.push(if is_sending { " -> sending " } else { " -> " })?;
        self.kid(id, 1)
    }

    fn enclosed_if_any(&mut self, kids: &[Id]) -> Option<()> {
        if kids.is_empty() { Some(()) } else { self.enclosed("(", kids, ")") }
    }

    fn parameters(&mut self, parameters: Id, labels: Option<Id>) -> Option<()> {
        let labels = labels.map(|labels| self.tree.kids(labels)).unwrap_or_default();
        if self.tree.kind(parameters) != Kind::Tuple {
            return self.enclosed("(", &[parameters], ")");
        }
        if labels.is_empty() {
            return self.node(parameters);
        }
        self.push("(")?;
        for (at, parameter) in self.tree.kids(parameters).iter().enumerate() {
            if at > 0 {
                self.push(", ")?;
            }
            let label = *labels.get(at)?;
            if self.tree.kind(label) == Kind::First {
                self.push("_")?;
            } else {
                self.node(label)?;
            }
            self.push(": ")?;
            self.node(*parameter)?;
        }
        self.push(")")
    }

    // --- Signatures.

    /// `<A, B where A: P>`; each depth in its own brackets.
    pub(super) fn signature(&mut self, id: Id) -> Option<()> {
        let kids = self.tree.kids(id);
        let is_count = |id: &&Id| self.tree.kind(**id) == Kind::Count;
        let is_parameter = |kind| matches!(kind, Kind::PackParameter | Kind::ValueParameter);
        let counts: Vec<_> =
            kids.iter().filter(is_count).map(|it| self.tree.get(*it).number).collect();
        let (special, requirements): (Vec<_>, Vec<_>) =
            kids[counts.len()..].iter().copied().partition(|it| is_parameter(self.tree.kind(*it)));
        self.push("<")?;
        for (depth, count) in (0_u64..).zip(&counts) {
            if depth > 0 {
                self.push("><")?;
            }
            for index in 0..*count {
                if index > 0 {
                    self.push(", ")?;
                }
                if index >= MAX_PARAMETERS {
                    self.push("...")?;
                    break;
                }
                self.signature_parameter(depth, index, &special)?;
            }
        }
        if !requirements.is_empty() {
            self.push(" where ")?;
            self.list(&requirements, ", ")?;
        }
        self.push(">")
    }

    fn signature_parameter(&mut self, depth: u64, index: u64, special: &[Id]) -> Option<()> {
        let is_this = |it: &&Id| {
            let parameter = self.tree.kid(**it, 0);
            parameter.is_some_and(|it| self.tree.get(it).number == (depth << 32 | index))
        };
        let found = special.iter().find(is_this).copied();
        match found.map(|it| self.tree.kind(it)) {
            Some(Kind::PackParameter) => self.push("each ")?,
            Some(_) => self.push("let ")?,
            None => {}
        }
        self.parameter(depth, index)?;
        if let Some(ty) = found.and_then(|it| self.tree.kid(it, 1)) {
            self.push(": ")?;
            self.node(ty)?;
        }
        Some(())
    }
}
