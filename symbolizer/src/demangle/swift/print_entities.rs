//! Writing what is declared: where, the name, the type.

use super::{
    print::Printer,
    tree::{Id, Kind, Nominal},
};

/// How the type of a declaration is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Not,
    /// ` : T`
    Colon,
    /// `(A) -> B`
    Function,
}

/// How a declaration is written.
struct Form<'a> {
    /// What it is declared in.
    context: Option<Id>,
    name: Option<Id>,
    /// What it has instead of a name, or after it.
    words: &'a str,
    labels: Option<Id>,
    ty: Option<Id>,
    style: Type,
    /// Arguments of its parameters.
    arguments: &'a [Id],
}

// === impl Printer ===

impl Printer<'_> {
    /// Writes something declared.
    pub(super) fn entity(&mut self, id: Id) -> Option<()> {
        match self.declared(id, false)? {
            None => Some(()),
            // Only what is a context of something else is put off.
            Some(_) => None,
        }
    }

    /// Writes something declared, or a context before a dot: then answers what has to be said behind all
    /// that follows, since a name with a type, or of several words, does not look good before a dot.
    fn declared(&mut self, id: Id, is_before_dot: bool) -> Option<Option<Id>> {
        self.nested(|this| {
            let node = this.tree.get(id);
            match node.kind {
                Kind::Module => {
                    this.push(&node.text)?;
                    Some(None)
                }
                Kind::Extension => this.extension(id, is_before_dot),
                Kind::Anonymous => {
                    let name = this.tree.kid(id, 0)?;
                    let rest = this.declared(this.tree.kid(id, 1)?, is_before_dot)?;
                    this.push(".(unknown context at ")?;
                    this.push(this.tree.text(name))?;
                    this.push(")")?;
                    Some(rest)
                }
                Kind::Location if is_before_dot => Some(Some(id)),
                Kind::Location => {
                    this.location(id)?;
                    Some(None)
                }
                Kind::Bound => {
                    this.type_of(id)?;
                    Some(None)
                }
                Kind::Static => {
                    let inner = this.tree.kid(id, 0)?;
                    if is_before_dot && !this.tree.kind(inner).is_nominal() {
                        return Some(Some(id));
                    }
                    this.push("static ")?;
                    this.declared(inner, is_before_dot)
                }
                Kind::Curry => {
                    this.push("curry thunk of ")?;
                    this.declared(this.tree.kid(id, 0)?, false)
                }
                Kind::BoundFunction => {
                    let (function, arguments) = node.kids.split_first()?;
                    this.function_form(*function, arguments, is_before_dot)
                }
                _ => this.function_form(id, &[], is_before_dot),
            }
        })
    }

    fn extension(&mut self, id: Id, is_before_dot: bool) -> Option<Option<Id>> {
        self.push("(extension in ")?;
        self.kid(id, 0)?;
        self.push("):")?;
        let rest = self.declared(self.tree.kid(id, 1)?, is_before_dot)?;
        if let Some(signature) = self.tree.kid(id, 2) {
            self.node(signature)?;
        }
        Some(rest)
    }

    fn function_form(
        &mut self,
        id: Id,
        arguments: &[Id],
        is_before_dot: bool,
    ) -> Option<Option<Id>> {
        let kind = self.tree.kind(id);
        let number = self.tree.get(id).number;
        let context = self.tree.kid(id, 0)?;
        let is_class = self.tree.kind(context) == Kind::Nominal(Nominal::Class);
        let mut form = self.form_of(id, arguments);
        let words;
        match kind {
            Kind::Nominal(_) => form.style = Type::Not,
            Kind::Function => form.style = Type::Function,
            Kind::Macro => form.style = Type::Function,
            Kind::Variable => form.style = Type::Colon,
            Kind::Subscript => {
                form.words = "subscript";
                form.name = None;
                form.style = Type::Function;
            }
            Kind::Accessor(accessor) => {
                // Of the storage, which has all but the last word.
                form = self.form_of(context, arguments);
                form.style = Type::Colon;
                words = match self.tree.kind(context) {
                    Kind::Subscript => {
                        form.name = None;
                        format!("subscript.{accessor}")
                    }
                    _ => accessor.to_owned(),
                };
                form.words = &words;
            }
            Kind::Init(text) => {
                form.words = if is_class { text } else { "init" };
                // The original names the file of the other kind only.
                form.name = form.name.filter(|_| text == "init");
                form.style = Type::Function;
            }
            Kind::Deinit(of_class, other) => form.words = if is_class { of_class } else { other },
            Kind::Closure(text) => {
                words = format!("{text}{number}");
                form.words = &words;
                form.style = Type::Function;
            }
            Kind::DefaultArgument => {
                words = format!("default argument {number}");
                form.words = &words;
            }
            Kind::Of(text) => form.words = text,
            Kind::Expansion(text) => {
                words = self.expansion(id, text)?;
                form.words = &words;
                form.name = None;
            }
            _ => return None,
        }
        let rest = self.form(id, &form, is_before_dot)?;
        if is_before_dot {
            return Some(rest);
        }
        if let Some(rest) = rest {
            let is_part = matches!(kind, Kind::DefaultArgument | Kind::Of(_));
            self.push(if is_part { " of " } else { " in " })?;
            self.entity(rest)?;
        }
        Some(None)
    }

    fn form_of<'b>(&self, id: Id, arguments: &'b [Id]) -> Form<'b> {
        Form {
            context: self.tree.kid(id, 0),
            name: self.tree.find(id, Kind::is_name),
            words: "",
            labels: self.tree.find(id, |it| it == Kind::List),
            // The first kid is the context, which can be a type, too.
            ty: self
                .tree
                .kids(id)
                .iter()
                .skip(1)
                .copied()
                .find(|kid| self.tree.kind(*kid).is_type()),
            style: Type::Not,
            arguments,
        }
    }

    /// Writes context, name and type.
    fn form(&mut self, id: Id, form: &Form<'_>, is_before_dot: bool) -> Option<Option<Id>> {
        let is_local = form.name.is_some_and(|name| self.tree.kind(name) == Kind::Local);
        let is_phrase = is_local || form.words.contains(' ');
        if is_before_dot && (is_phrase || form.style != Type::Not) {
            return Some(Some(id));
        }
        let mut rest = None;
        if let Some(context) = form.context {
            if is_phrase {
                rest = Some(context);
            } else {
                let start = self.out.len();
                rest = self.declared(context, true)?;
                if self.out.len() > start {
                    self.push(".")?;
                }
            }
        }
        match form.name {
            Some(name) if is_local && !form.words.is_empty() => {
                self.push(form.words)?;
                self.push(" of ")?;
                self.node(name)?;
            }
            Some(name) => {
                self.node(name)?;
                self.push(if form.words.is_empty() { "" } else { "." })?;
                self.push(form.words)?;
            }
            None => self.push(form.words)?,
        }
        if let Some(ty) = form.ty {
            self.form_type(ty, form, is_phrase)?;
        }
        Some(rest)
    }

    fn form_type(&mut self, ty: Id, form: &Form<'_>, is_phrase: bool) -> Option<()> {
        let mut function = ty;
        if self.tree.kind(ty) == Kind::Generic {
            function = self.tree.kid(ty, 1)?;
        }
        let is_function = matches!(self.tree.kind(function), Kind::FunctionType(_));
        match form.style {
            Type::Not => return Some(()),
            Type::Function if is_function => {
                if is_phrase {
                    self.push(" ")?;
                }
            }
            _ => self.push(" : ")?,
        }
        let has_own_parameters = !form.arguments.is_empty();
        if form.labels.is_none() && !has_own_parameters {
            return self.node(ty);
        }
        if has_own_parameters {
            self.push("<")?;
            self.list(form.arguments, ", ")?;
            self.push(">")?;
        } else if ty != function {
            self.kid(ty, 0)?;
            if !is_function {
                self.push(" ")?;
            }
        }
        if is_function { self.function_type(function, form.labels) } else { self.node(function) }
    }

    /// Where in the source a macro was expanded.
    fn location(&mut self, id: Id) -> Option<()> {
        let number = self.tree.get(id).number;
        let (line, column) = (number >> 32, number & u64::from(u32::MAX));
        self.push("module ")?;
        self.kid(id, 0)?;
        self.push(" file ")?;
        self.kid(id, 1)?;
        self.push(&format!(" line {line} column {column}"))
    }

    /// `accessor macro @name expansion #1 of attached`.
    fn expansion(&mut self, id: Id, text: &str) -> Option<String> {
        let number = self.tree.get(id).number;
        let names: Vec<_> =
            self.tree.kids(id).iter().copied().filter(|it| self.tree.kind(*it).is_name()).collect();
        let mut write = |id: Id| -> Option<String> {
            let start = self.out.len();
            self.node(id)?;
            Some(self.out.split_off(start))
        };
        Some(match names.as_slice() {
            [name] => format!("{text}{number} of {}", write(*name)?),
            [name, attached] => {
                let (name, attached) = (write(*name)?, write(*attached)?);
                format!("{text}{name} expansion #{number} of {attached}")
            }
            _ => return None,
        })
    }
}
