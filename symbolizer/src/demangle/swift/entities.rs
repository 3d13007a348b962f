//! Functions, variables and what else is declared or made for them.

use super::{
    parser::Parser,
    tree::{Id, Kind},
};

// === impl Parser ===

impl Parser<'_> {
    /// After `F`.
    pub(super) fn function(&mut self) -> Option<Id> {
        let signature = self.pop_signature();
        let mut ty = self.function_type("")?;
        let labels = self.pop_labels(ty)?;
        if let Some(signature) = signature {
            ty = self.node(Kind::Generic, vec![signature, ty])?;
        }
        let name = self.pop_name()?;
        self.declared(Kind::Function, [Some(name), labels, Some(ty)])
    }

    /// The declaration of such parts in the context on top.
    fn declared(&mut self, kind: Kind, parts: [Option<Id>; 3]) -> Option<Id> {
        let context = self.pop_context()?;
        self.node(kind, [Some(context)].into_iter().chain(parts).flatten().collect())
    }

    /// The labels of a function's parameters: a list, or nothing for those of a name without.
    fn pop_labels(&mut self, ty: Id) -> Option<Option<Id>> {
        if self.has_labels_in_types {
            return Some(None);
        }
        if self.pop_kind(Kind::Empty).is_some() {
            return Some(Some(self.node(Kind::List, Vec::new())?));
        }
        let Some(count) = self.parameter_count(ty).filter(|it| *it > 0) else { return Some(None) };
        let mut labels = Vec::with_capacity(count);
        for _ in 0..count {
            labels.push(self.pop(|it| matches!(it, Kind::Name | Kind::First))?);
        }
        labels.reverse();
        Some(Some(self.node(Kind::List, labels)?))
    }

    /// That of a function, with a signature or without.
    fn pop_function_type(&mut self) -> Option<Id> {
        let ty = self.pop_type()?;
        let function = match self.tree.kind(ty) {
            Kind::Generic => self.tree.kid(ty, 1)?,
            _ => ty,
        };
        matches!(self.tree.kind(function), Kind::FunctionType(_)).then_some(ty)
    }

    fn parameter_count(&self, ty: Id) -> Option<usize> {
        let function = match self.tree.kind(ty) {
            Kind::Generic => self.tree.kid(ty, 1)?,
            _ => ty,
        };
        if self.tree.kind(function) != Kind::FunctionType("") {
            return None;
        }
        let parameters = self.tree.kid(function, 0)?;
        let is_tuple = self.tree.kind(parameters) == Kind::Tuple;
        Some(if is_tuple { self.tree.kids(parameters).len() } else { 1 })
    }

    /// After `v`.
    pub(super) fn variable(&mut self) -> Option<Id> {
        let ty = self.pop_type()?;
        let labels = self.pop_labels(ty)?;
        let name = self.pop_name()?;
        let variable = self.declared(Kind::Variable, [Some(name), labels, Some(ty)])?;
        self.accessor(variable)
    }

    /// After `i`.
    pub(super) fn subscript(&mut self) -> Option<Id> {
        let private = self.pop_kind(Kind::Private);
        let ty = self.pop_function_type()?;
        let labels = self.pop_labels(ty)?;
        let subscript = self.declared(Kind::Subscript, [private, labels, Some(ty)])?;
        self.accessor(subscript)
    }

    fn accessor(&mut self, storage: Id) -> Option<Id> {
        let text = match self.next()? {
            b'p' => return Some(storage),
            b'm' => "materializeForSet",
            b's' => "setter",
            b'g' | b'G' => "getter",
            b'w' => "willset",
            b'W' => "didset",
            b'r' => "read",
            b'y' => "read2",
            b'M' => "modify",
            b'x' => "modify2",
            b'i' => "init",
            b'a' => match self.next()? {
                b'u' => "unsafeMutableAddressor",
                b'O' => "owningMutableAddressor",
                b'o' => "nativeOwningMutableAddressor",
                b'P' => "nativePinningMutableAddressor",
                _ => return None,
            },
            b'l' => match self.next()? {
                b'u' => "unsafeAddressor",
                b'O' => "owningAddressor",
                b'o' => "nativeOwningAddressor",
                b'p' => "nativePinningAddressor",
                _ => return None,
            },
            _ => return None,
        };
        self.node(Kind::Accessor(text), vec![storage])
    }

    /// After `f`.
    pub(super) fn function_like(&mut self) -> Option<Id> {
        match self.next()? {
            b'C' => self.initializer("__allocating_init"),
            b'c' => self.initializer("init"),
            b'D' => self.deinitializer("__deallocating_deinit", "deinit"),
            b'Z' => self.deinitializer("__isolated_deallocating_deinit", "deinit"),
            b'd' => self.deinitializer("deinit", "deinit"),
            b'E' => self.deinitializer("__ivar_destroyer", "__ivar_destroyer"),
            b'e' => self.deinitializer("__ivar_initializer", "__ivar_initializer"),
            b'U' => self.closure("closure #"),
            b'u' => self.closure("implicit closure #"),
            b'A' => {
                let number = self.index()?;
                let context = self.pop_context()?;
                self.numbered(Kind::DefaultArgument, number, vec![context])
            }
            b'i' => self.part_of("variable initialization expression"),
            b'P' => self.part_of("property wrapper backing initializer"),
            b'W' => self.part_of("property wrapper init from projected value"),
            b'a' => self.part_of("runtime attribute generator"),
            b'm' => {
                let signature = self.pop_signature();
                let mut ty = self.pop_type()?;
                let labels = self.pop_labels(ty)?;
                if let Some(signature) = signature {
                    ty = self.node(Kind::Generic, vec![signature, ty])?;
                }
                let name = self.pop_name()?;
                self.declared(Kind::Macro, [Some(name), labels, Some(ty)])
            }
            b'M' => self.macro_expansion(),
            _ => None,
        }
    }

    fn initializer(&mut self, text: &'static str) -> Option<Id> {
        let private = self.pop_kind(Kind::Private);
        let ty = self.pop_function_type()?;
        let labels = self.pop_labels(ty)?;
        self.declared(Kind::Init(text), [private, labels, Some(ty)])
    }

    fn deinitializer(&mut self, of_class: &'static str, other: &'static str) -> Option<Id> {
        self.declared(Kind::Deinit(of_class, other), [None; 3])
    }

    fn closure(&mut self, text: &'static str) -> Option<Id> {
        let number = self.index()?.checked_add(1)?;
        let ty = self.pop_type()?;
        let context = self.pop_context()?;
        self.numbered(Kind::Closure(text), number, vec![context, ty])
    }

    fn part_of(&mut self, text: &'static str) -> Option<Id> {
        self.wrap(Kind::Of(text), Kind::is_entity)
    }

    /// Where in a file a macro stands, which is the context of what it makes.
    fn location(&mut self) -> Option<Id> {
        let line = self.index()?;
        let column = self.index()?;
        if line > u64::from(u32::MAX) || column > u64::from(u32::MAX) {
            return None;
        }
        let file = self.pop_kind(Kind::Name)?;
        let module = self.pop_module()?;
        self.numbered(Kind::Location, line << 32 | column, vec![module, file])
    }

    /// After `fM`: what a macro made of something or stands for.
    fn macro_expansion(&mut self) -> Option<Id> {
        let letter = self.next()?;
        if letter == b'X' {
            return self.location();
        }
        let text = match letter {
            b'f' => "freestanding macro expansion #",
            b'u' => "unique name #",
            b'a' => "accessor macro @",
            b'r' => "memberAttribute macro @",
            b'm' => "member macro @",
            b'p' => "peer macro @",
            b'c' => "conformance macro @",
            b'e' => "extension macro @",
            b'q' => "preamble macro @",
            b'b' => "body macro @",
            _ => return None,
        };
        let number = self.index()?.checked_add(1)?;
        let private = self.pop_kind(Kind::Private);
        let name = self.pop_name()?;
        let attached = if matches!(letter, b'f' | b'u') { None } else { Some(self.pop_name()?) };
        let context = self.pop_context()?;
        let kids = [Some(context), Some(name), attached, private].into_iter().flatten().collect();
        self.numbered(Kind::Expansion(text), number, kids)
    }
}
