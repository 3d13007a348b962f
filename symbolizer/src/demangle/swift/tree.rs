//! What a name says.

/// Most parts of one name.
const MAX_NODES: usize = 32 * 1024;

/// Most text in all parts, bytes.
const MAX_TEXT_BYTES: usize = 512 * 1024;

/// A part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Id(u32);

/// Declarations of types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nominal {
    Class,
    Struct,
    Enum,
    Protocol,
    Alias,
    Other,
}

/// What a part is. What it is made of stands in its `kids`, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    // Names.
    /// An identifier.
    Name,
    /// Of an operator, with where it stands: ` infix`.
    Operator(&'static str),
    /// One of a file: name (not of initializers and the like), identifier of the file.
    Private,
    /// One within a function: name; which one of that name.
    Local,
    /// What importers make of a declaration: name; the letter.
    Related,

    // Where things are declared.
    Module,
    /// Context, name.
    Nominal(Nominal),
    /// Module, extended type, signature (or not).
    Extension,
    /// Name, context. Of unknown kind.
    Anonymous,
    /// Module, name of a file; number: line and column.
    Location,

    // What is declared: context, then in any order name, type, labels, as there are.
    Function,
    Variable,
    Subscript,
    Macro,
    /// `init` and its like.
    Init(&'static str),
    /// `deinit` and its like: those of classes, those of others.
    Deinit(&'static str, &'static str),
    /// `closure #`; number.
    Closure(&'static str),
    /// Number.
    DefaultArgument,
    /// A part of the context without a name: `variable initialization expression`.
    Of(&'static str),
    /// What a macro made: context, name, what it is attached to; number.
    Expansion(&'static str),
    /// A variable or subscript.
    Accessor(&'static str),
    Static,
    Curry,
    /// A function and the types it was made for.
    BoundFunction,

    // Types.
    Builtin,
    /// Parameters, result, attributes. The text before: `@autoclosure `.
    FunctionType(&'static str),
    /// Of the lowered code; see `implementation`.
    ImplType,
    /// Elements.
    Tuple,
    /// Type, name (or not); number 1 when more may follow.
    Element,
    /// Type, arguments.
    Bound,
    /// A type with a word before it.
    Prefixed(&'static str),
    /// How it is represented; type.
    Metatype(&'static str),
    ExistentialMetatype(&'static str),
    /// Protocols.
    Existential,
    /// Protocols, and the class they are of.
    ClassExistential,
    /// Protocols.
    AnyObject,
    /// Existential, requirements.
    Constrained,
    /// Whose own type.
    SelfType,
    /// Number: depth and index.
    Parameter,
    /// What requirements of an existential are about.
    ConstrainedSelf,
    /// Type, name of an associated type.
    Member,
    /// Name, protocol (or not).
    AssociatedName,
    /// Protocol, name.
    AssociatedType,
    /// Signature, type.
    Generic,
    /// Of a function: fields, then (or not) signature and arguments.
    Box,
    /// `[T]` in the source.
    Sugar(&'static str, &'static str, &'static str),
    /// The result of this declaration.
    Some,
    /// That of another: declaration; number.
    OpaqueResult,
    /// Declaration, arguments; number.
    Opaque,
    /// Pattern, count.
    Repeat,
    /// Types. What is before.
    Pack(&'static str),
    /// Type; number.
    PackElement,
    Integer,
    /// Kids are written one after the other, separated by commas.
    List,
    Error,

    // Marks, for the operators that follow.
    Empty,
    First,
    Variadic,
    Throws,
    /// Type.
    ThrowsType,
    Async,
    Sendable,
    Isolated(&'static str),
    /// Type.
    GlobalActor,
    Differentiable(&'static str),
    SendingResult,

    // Generics.
    /// Counts, parameters that are packs or values, requirements.
    Signature,
    /// Number: parameters at one depth.
    Count,
    /// Parameter.
    PackParameter,
    /// Parameter, type.
    ValueParameter,
    /// Subject, type. What stands between them.
    Requirement(&'static str),
    /// Subject; the text.
    Layout,
    /// Type, protocol, module, signature (or not).
    Conformance,
    /// As the arguments of generic types have them: they are not written.
    ConformanceArgument,
    /// One that is in an argument's place.
    Retroactive,

    // Whole names.
    /// The kids with a text before them.
    About(&'static str),
    /// Text and kids in turns: see `Parser::phrase`.
    Phrase(&'static [&'static str]),
    /// What is said of all the rest of the name; the text.
    Attribute,
    /// The same with arguments: what was made of a function.
    Specialization(&'static str),
    /// The same: parameters.
    SignatureSpecialization,
    /// Text and parts as they are written.
    Sequence,
    /// Text.
    Word,
    /// The name of another function, mangled or not.
    Symbol,
    /// Names of variables.
    Names,
    /// Variable or function, signature (or not), types; number 1 when other modules may use it.
    KeyPath(&'static str),
    /// Types, after a signature (or not).
    KeyPathIndices(&'static str),
    /// Signature (or not), types. The text before.
    Thunk(&'static str),
}

/// A part with what it is made of.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) number: u64,
    pub(super) kids: Vec<Id>,
}

/// All parts.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    text_bytes: usize,
}

// === impl Kind ===

impl Kind {
    pub(super) fn is_name(self) -> bool {
        matches!(self, Self::Name | Self::Operator(_) | Self::Private | Self::Local | Self::Related)
    }

    pub(super) fn is_nominal(self) -> bool {
        matches!(self, Self::Nominal(_))
    }

    pub(super) fn is_type(self) -> bool {
        use Kind as K;
        matches!(
            self,
            K::Nominal(_)
                | K::Builtin
                | K::FunctionType(_)
                | K::ImplType
                | K::Tuple
                | K::Bound
                | K::Prefixed(_)
                | K::Metatype(_)
                | K::ExistentialMetatype(_)
                | K::Existential
                | K::ClassExistential
                | K::AnyObject
                | K::Constrained
                | K::SelfType
                | K::Parameter
                | K::ConstrainedSelf
                | K::Member
                | K::AssociatedType
                | K::Generic
                | K::Box
                | K::Sugar(..)
                | K::Some
                | K::Opaque
                | K::Repeat
                | K::Pack(_)
                | K::PackElement
                | K::Integer
                | K::Error
        )
    }

    /// Something that is declared, types among them.
    pub(super) fn is_entity(self) -> bool {
        use Kind as K;
        matches!(
            self,
            K::Nominal(_)
                | K::Function
                | K::Variable
                | K::Subscript
                | K::Macro
                | K::Init(_)
                | K::Deinit(..)
                | K::Closure(_)
                | K::DefaultArgument
                | K::Of(_)
                | K::Expansion(_)
                | K::Accessor(_)
                | K::Static
                | K::Curry
                | K::BoundFunction
        )
    }

    /// Something may be declared in it.
    pub(super) fn is_context(self) -> bool {
        self.is_entity()
            || matches!(self, Self::Module | Self::Extension | Self::Anonymous | Self::Location)
    }

    /// It is about all that stands before it in the mangled name.
    pub(super) fn is_attribute(self) -> bool {
        matches!(self, Self::Attribute | Self::Specialization(_) | Self::SignatureSpecialization)
    }

    /// One that is a name by itself. Types are only with what is made for them: a short name of another
    /// language could be one.
    pub(super) fn is_whole(self) -> bool {
        use Kind as K;
        self.is_entity() && !self.is_nominal()
            || matches!(
                self,
                K::About(_)
                    | K::Phrase(_)
                    | K::KeyPath(_)
                    | K::KeyPathIndices(_)
                    | K::Thunk(_)
                    | K::Sequence
            )
    }
}

// === impl Tree ===

impl Tree {
    pub(super) fn get(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn kind(&self, id: Id) -> Kind {
        self.get(id).kind
    }

    pub(super) fn text(&self, id: Id) -> &str {
        &self.get(id).text
    }

    pub(super) fn kids(&self, id: Id) -> &[Id] {
        &self.get(id).kids
    }

    pub(super) fn kid(&self, id: Id, index: usize) -> Option<Id> {
        self.kids(id).get(index).copied()
    }

    /// The first one of `id` that is of such a kind.
    pub(super) fn find(&self, id: Id, is: impl Fn(Kind) -> bool) -> Option<Id> {
        self.kids(id).iter().copied().find(|kid| is(self.kind(*kid)))
    }

    /// Adds a part; `None` when there are too many.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        text: String,
        number: u64,
        kids: Vec<Id>,
    ) -> Option<Id> {
        self.text_bytes += text.len();
        if self.nodes.len() >= MAX_NODES || self.text_bytes > MAX_TEXT_BYTES {
            return None;
        }
        let id = Id(u32::try_from(self.nodes.len()).ok()?);
        self.nodes.push(Node { kind, text, number, kids });
        Some(id)
    }
}
