//! Types.

use super::{
    parser::Parser,
    tree::{Id, Kind, Nominal},
};

/// Widest number, bits, and longest vector that the compiler's own types have.
const MAX_BUILTIN: u64 = 4096;

/// The compiler's own types without a number.
const BUILTIN: &[(u8, &str)] = &[
    (b'A', "Builtin.ImplicitActor"),
    (b'B', "Builtin.UnsafeValueBuffer"),
    (b'D', "Builtin.DefaultActorStorage"),
    (b'I', "Builtin.IntLiteral"),
    (b'O', "Builtin.UnknownObject"),
    (b'P', "Builtin.PackIndex"),
    (b'b', "Builtin.BridgeObject"),
    (b'c', "Builtin.RawUnsafeContinuation"),
    (b'd', "Builtin.NonDefaultDistributedActorStorage"),
    (b'e', "Builtin.Executor"),
    (b'j', "Builtin.Job"),
    (b'o', "Builtin.NativeObject"),
    (b'p', "Builtin.RawPointer"),
    (b't', "Builtin.SILToken"),
    (b'w', "Builtin.Word"),
];

// === impl Parser ===

impl Parser<'_> {
    /// After `B`.
    pub(super) fn builtin_type(&mut self) -> Option<Id> {
        let letter = self.next()?;
        let text = match letter {
            b'f' => format!("Builtin.FPIEEE{}", self.builtin_number()?),
            b'i' => format!("Builtin.Int{}", self.builtin_number()?),
            b'v' => {
                let len = self.builtin_number()?;
                let element = self.pop_kind(Kind::Builtin)?;
                let element = self.tree.text(element).strip_prefix("Builtin.")?;
                format!("Builtin.Vec{len}x{element}")
            }
            b'V' => {
                let element = self.pop_type()?;
                let size = self.pop_type()?;
                let name = self.leaf(Kind::Builtin, "Builtin.FixedArray")?;
                return self.node(Kind::Bound, vec![name, size, element]);
            }
            _ => BUILTIN.iter().find(|(it, _)| *it == letter)?.1.to_owned(),
        };
        self.leaf(Kind::Builtin, &text)
    }

    fn builtin_number(&mut self) -> Option<u64> {
        let number = self.natural().filter(|it| (1..=MAX_BUILTIN).contains(it))?;
        self.eat(b'_').then_some(number)
    }

    /// After `C`, `V` and so on.
    pub(super) fn nominal(&mut self, nominal: Nominal) -> Option<Id> {
        let name = self.pop_name()?;
        let context = self.pop_context()?;
        let made = self.node(Kind::Nominal(nominal), vec![context, name]);
        self.remember(made)
    }

    /// After `E`.
    pub(super) fn extension(&mut self) -> Option<Id> {
        let signature = self.pop_signature();
        let module = self.pop_module()?;
        let extended = self.pop(|it| it.is_nominal() || it == Kind::Bound)?;
        self.node(Kind::Extension, [module, extended].into_iter().chain(signature).collect())
    }

    // --- Generic types with arguments.

    /// After `G`.
    pub(super) fn bound_type(&mut self) -> Option<Id> {
        let lists = self.pop_argument_lists()?;
        let bare = self.pop(Kind::is_nominal)?;
        let made = self.bind(bare, &lists);
        self.remember(made)
    }

    /// `y` and the arguments of each level, the outermost first.
    pub(super) fn pop_argument_lists(&mut self) -> Option<Vec<Vec<Id>>> {
        self.pop_while(|it| it == Kind::Retroactive);
        let mut lists = Vec::new();
        loop {
            lists.push(self.pop_while(Kind::is_type));
            if self.pop_kind(Kind::Empty).is_some() {
                lists.reverse();
                return Some(lists);
            }
            self.pop_kind(Kind::First)?;
        }
    }

    /// Gives arguments to a declaration and those it is in, as many as there are lists.
    fn bind(&mut self, bare: Id, lists: &[Vec<Id>]) -> Option<Id> {
        // From the inside to the outside, then back again.
        let (mut levels, mut at, mut left) = (Vec::new(), bare, lists);
        loop {
            let kind = self.tree.kind(at);
            let inner = match kind {
                Kind::Extension => 1,
                _ if kind.is_entity() => 0,
                _ => break,
            };
            let takes_arguments = inner == 0 && !matches!(kind, Kind::Static | Kind::Accessor(_));
            let own = match left.split_last() {
                Some((last, rest)) if takes_arguments => {
                    left = rest;
                    Some(last)
                }
                Some(_) => None,
                None => break,
            };
            levels.push((at, inner, own));
            at = self.tree.kid(at, inner)?;
        }
        if !left.is_empty() {
            return None;
        }
        for (level, inner, arguments) in levels.into_iter().rev() {
            let node = self.tree.get(level);
            let (kind, text, number) = (node.kind, node.text.clone(), node.number);
            let mut kids = node.kids.clone();
            *kids.get_mut(inner)? = at;
            at = self.tree.add(kind, text, number, kids)?;
            if let Some(arguments) = arguments.filter(|it| !it.is_empty()) {
                let bound = if kind.is_nominal() { Kind::Bound } else { Kind::BoundFunction };
                at =
                    self.node(bound, [at].into_iter().chain(arguments.iter().copied()).collect())?;
            }
        }
        Some(at)
    }

    // --- Functions and tuples.

    /// A result and parameters, and what can stand after them.
    pub(super) fn function_type(&mut self, before: &'static str) -> Option<Id> {
        let mut attributes = Vec::new();
        attributes.extend(self.pop_kind(Kind::SendingResult));
        attributes.extend(self.pop(|it| matches!(it, Kind::GlobalActor | Kind::Isolated(_))));
        attributes.extend(self.pop(|it| matches!(it, Kind::Differentiable(_))));
        attributes.extend(self.pop(|it| matches!(it, Kind::Throws | Kind::ThrowsType)));
        attributes.extend(self.pop_kind(Kind::Sendable));
        attributes.extend(self.pop_kind(Kind::Async));
        let parameters = self.pop_signature_type()?;
        let result = self.pop_signature_type()?;
        let kids = [parameters, result].into_iter().chain(attributes).collect();
        self.node(Kind::FunctionType(before), kids)
    }

    /// A type, or `y` for no parameters or no result.
    fn pop_signature_type(&mut self) -> Option<Id> {
        match self.pop_kind(Kind::Empty) {
            Some(_) => self.node(Kind::Tuple, Vec::new()),
            None => self.pop_type(),
        }
    }

    /// After `t`.
    pub(super) fn tuple(&mut self) -> Option<Id> {
        let elements = self.pop_list(|this| {
            let is_variadic = this.pop_kind(Kind::Variadic).is_some();
            let name = this.pop_kind(Kind::Name);
            let element = this.pop_type()?;
            let kids = [element].into_iter().chain(name).collect();
            this.numbered(Kind::Element, u64::from(is_variadic), kids)
        })?;
        self.node(Kind::Tuple, elements)
    }

    /// After `Y`: what is said of functions and their parameters.
    pub(super) fn annotation(&mut self) -> Option<Id> {
        match self.next()? {
            b'a' => self.leaf(Kind::Async, ""),
            b'b' => self.leaf(Kind::Sendable, ""),
            b'c' => self.wrap(Kind::GlobalActor, Kind::is_type),
            b'K' => self.wrap(Kind::ThrowsType, Kind::is_type),
            b'A' => self.leaf(Kind::Isolated("@isolated(any) "), ""),
            b'C' => self.leaf(Kind::Isolated("nonisolated(nonsending) "), ""),
            b'T' => self.leaf(Kind::SendingResult, ""),
            b'j' => {
                let text = differentiable(self.next()?)?;
                self.leaf(Kind::Differentiable(text), "")
            }
            b'k' => self.wrap(Kind::Prefixed("@noDerivative "), Kind::is_type),
            b'i' => self.wrap(Kind::Prefixed("isolated "), Kind::is_type),
            b't' => self.wrap(Kind::Prefixed("_const "), Kind::is_type),
            b'u' => self.wrap(Kind::Prefixed("sending "), Kind::is_type),
            b'g' => self.wrap(Kind::Prefixed("@const "), Kind::is_type),
            _ => None,
        }
    }

    // --- The rest.

    /// After `p`.
    pub(super) fn existential(&mut self) -> Option<Id> {
        let protocols = self.pop_list(Self::pop_protocol)?;
        self.node(Kind::Existential, protocols)
    }

    /// After `X`.
    pub(super) fn special_type(&mut self) -> Option<Id> {
        match self.next()? {
            b'f' => self.function_type("@convention(thin) "),
            b'U' | b'E' => self.function_type(""),
            b'K' | b'A' => self.function_type("@autoclosure "),
            b'B' => self.function_type("@convention(block) "),
            b'L' => self.function_type("@escaping @convention(block) "),
            b'C' => self.function_type("@convention(c) "),
            b'o' => self.wrap(Kind::Prefixed("unowned "), Kind::is_type),
            b'u' => self.wrap(Kind::Prefixed("unowned(unsafe) "), Kind::is_type),
            b'w' => self.wrap(Kind::Prefixed("weak "), Kind::is_type),
            b'b' => self.wrap(Kind::Prefixed("@box "), Kind::is_type),
            b'D' => self.wrap(Kind::SelfType, Kind::is_type),
            b'p' => self.wrap(Kind::ExistentialMetatype(""), Kind::is_type),
            b'M' => {
                let how = self.representation()?;
                self.wrap(Kind::Metatype(how), Kind::is_type)
            }
            b'm' => {
                let how = self.representation()?;
                self.wrap(Kind::ExistentialMetatype(how), Kind::is_type)
            }
            b'c' => {
                let class = self.pop_type()?;
                let mut kids = self.pop_list(Self::pop_protocol)?;
                kids.insert(0, class);
                self.node(Kind::ClassExistential, kids)
            }
            b'l' => {
                let protocols = self.pop_list(Self::pop_protocol)?;
                self.node(Kind::AnyObject, protocols)
            }
            b'P' => {
                let requirements = self.pop_list(|this| {
                    this.pop(|it| matches!(it, Kind::Requirement(_) | Kind::Layout))
                })?;
                let existential = self.pop_type()?;
                let kids = [existential].into_iter().chain(requirements).collect();
                self.node(Kind::Constrained, kids)
            }
            b'x' => {
                let fields = self.pop_list(Self::pop_type)?;
                let fields = self.node(Kind::List, fields)?;
                self.node(Kind::Box, vec![fields])
            }
            b'X' => {
                let signature = self.pop_signature()?;
                let arguments = self.pop_list(Self::pop_type)?;
                let arguments = self.node(Kind::List, arguments)?;
                let fields = self.pop_list(Self::pop_type)?;
                let fields = self.node(Kind::List, fields)?;
                self.node(Kind::Box, vec![fields, signature, arguments])
            }
            b'S' => self.sugared_type(),
            b'Y' => self.nominal(Nominal::Other),
            b'Z' => self.anonymous_context(),
            b'e' => self.leaf(Kind::Error, "<ERROR TYPE>"),
            _ => None,
        }
    }

    fn representation(&mut self) -> Option<&'static str> {
        Some(match self.next()? {
            b't' => "@thin ",
            b'T' => "@thick ",
            b'o' => "@objc_metatype ",
            _ => return None,
        })
    }

    /// As it stood in the source; debug information has them.
    fn sugared_type(&mut self) -> Option<Id> {
        let form = match self.next()? {
            b'q' => Kind::Sugar("", "", "?"),
            b'a' => Kind::Sugar("[", "", "]"),
            b'D' => Kind::Sugar("[", " : ", "]"),
            b'A' => Kind::Sugar("[", " of ", "]"),
            _ => return None,
        };
        let last = self.pop_type()?;
        let kids = match form {
            Kind::Sugar(_, "", _) => vec![last],
            _ => vec![self.pop_type()?, last],
        };
        self.node(form, kids)
    }

    /// Whose kind was not known at run time.
    fn anonymous_context(&mut self) -> Option<Id> {
        self.pop_list(Self::pop_type)?;
        let name = self.pop_kind(Kind::Name)?;
        let context = self.pop_context()?;
        self.node(Kind::Anonymous, vec![name, context])
    }

    /// After `$`: a number as the argument of a type.
    pub(super) fn integer_type(&mut self) -> Option<Id> {
        let sign = if self.eat(b'n') { "-" } else { "" };
        let number = self.index()?;
        self.leaf(Kind::Integer, &format!("{sign}{number}"))
    }
}

/// How a function is differentiated.
pub(super) fn differentiable(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'f' => "@differentiable(_forward) ",
        b'r' => "@differentiable(reverse) ",
        b'd' => "@differentiable ",
        b'l' => "@differentiable(_linear) ",
        _ => return None,
    })
}
