//! Functions that the compiler made for certain types or arguments.

use super::{
    parser::Parser,
    tree::{Id, Kind},
};

/// What is known of an argument or a result.
enum Known {
    Nothing,
    Text(String),
    /// A name on the stack, between texts.
    Name(&'static str, &'static str),
    /// Text on the stack.
    String(&'static str),
    KeyPath,
    Closure,
}

// === impl Parser ===

impl Parser<'_> {
    /// After `T` and `letter`.
    pub(super) fn specialization(&mut self, letter: u8) -> Option<Id> {
        match letter {
            b't' => self.with_dropped_arguments(),
            b'g' | b'B' => self.generic_specialization("generic specialization"),
            b'G' => self.generic_specialization("generic not re-abstracted specialization"),
            b's' => self.generic_specialization("generic pre-specialization"),
            b'i' => self.generic_specialization("inlined generic function"),
            b'p' => self.partial_specialization("generic partial specialization"),
            b'P' => self.partial_specialization("generic not-reabstracted partial specialization"),
            b'f' => self.signature_specialization(),
            _ => None,
        }
    }

    /// Which arguments are gone is not shown.
    fn with_dropped_arguments(&mut self) -> Option<Id> {
        self.natural();
        while self.eat(b't') {
            self.natural();
        }
        let letter = self.next()?;
        if matches!(letter, b'g' | b'B' | b'G') { self.specialization(letter) } else { None }
    }

    /// Which pass made it is not shown, only whether it may be in other modules.
    fn pass(&mut self) -> Option<bool> {
        let is_serialized = self.eat(b'q');
        self.eat(b'a');
        self.next()?.is_ascii_digit().then_some(is_serialized)
    }

    fn generic_specialization(&mut self, text: &'static str) -> Option<Id> {
        let is_serialized = self.pass()?;
        let types = self.pop_list(Self::pop_type)?;
        self.specialization_node(text, is_serialized, types)
    }

    fn partial_specialization(&mut self, text: &'static str) -> Option<Id> {
        let is_serialized = self.pass()?;
        let ty = self.pop_type()?;
        let signature = self.phrase(&["Signature = "], vec![ty])?;
        self.specialization_node(text, is_serialized, vec![signature])
    }

    fn specialization_node(
        &mut self,
        text: &'static str,
        is_serialized: bool,
        mut kids: Vec<Id>,
    ) -> Option<Id> {
        if is_serialized {
            kids.insert(0, self.leaf(Kind::Word, "serialized")?);
        }
        self.node(Kind::Specialization(text), kids)
    }

    /// After `f`: what is known of each argument, and of the result.
    fn signature_specialization(&mut self) -> Option<Id> {
        let is_serialized = self.pass()?;
        let mut known = Vec::new();
        while !self.eat(b'_') {
            known.push(self.known_argument()?);
        }
        let result = self.known_argument()?;
        let mut kids = Vec::new();
        if let Known::Text(text) = &result {
            kids.push(self.leaf(Kind::Word, &format!("Return = {text}"))?);
        } else if !matches!(result, Known::Nothing) {
            return None;
        }
        // Those that were pushed last belong to the last argument.
        for (at, known) in known.iter().enumerate().rev() {
            if let Some(made) = self.argument(at, known)? {
                kids.push(made);
            }
        }
        if is_serialized {
            kids.push(self.leaf(Kind::Word, "serialized")?);
        }
        kids.reverse();
        self.node(Kind::SignatureSpecialization, kids)
    }

    fn known_argument(&mut self) -> Option<Known> {
        let mut words: Vec<&str> = Vec::new();
        match self.next()? {
            b'n' => return Some(Known::Nothing),
            b'c' => return Some(Known::Closure),
            b'p' => return self.known_constant(),
            b'e' => {
                words.push("Existential To Protocol Constrained Generic");
                words.extend(self.eat(b'D').then_some("Dead"));
                words.extend(self.eat(b'G').then_some("Owned To Guaranteed"));
                words.extend(self.eat(b'X').then_some("Exploded"));
            }
            b'd' => {
                words.push("Dead");
                words.extend(self.eat(b'G').then_some("Owned To Guaranteed"));
                words.extend(self.eat(b'X').then_some("Exploded"));
            }
            b'g' => {
                words.push("Owned To Guaranteed");
                words.extend(self.eat(b'X').then_some("Exploded"));
            }
            b'o' => {
                words.push("Guaranteed To Owned");
                words.extend(self.eat(b'X').then_some("Exploded"));
            }
            b'x' => words.push("Exploded"),
            b'i' => words.push("Value Promoted from Box"),
            b's' => words.push("Stack Promoted from Box"),
            _ => return None,
        }
        Some(Known::Text(words.join(" and ")))
    }

    fn known_constant(&mut self) -> Option<Known> {
        Some(match self.next()? {
            b'f' => Known::Name("[Constant Propagated Function : ", "]"),
            b'g' => Known::Name("[Constant Propagated Global : ", "]"),
            b'i' => Known::Text(format!("[Constant Propagated Integer : {}]", self.digits()?)),
            b'd' => Known::Text(format!("[Constant Propagated Float : {}]", self.digits()?)),
            b's' => Known::String(match self.next()? {
                b'b' => "u8",
                b'w' => "u16",
                b'c' => "objc",
                _ => return None,
            }),
            b'k' => Known::KeyPath,
            _ => return None,
        })
    }

    fn digits(&mut self) -> Option<&str> {
        let start = self.at;
        while self.peek().is_some_and(|next| next.is_ascii_digit()) {
            self.at += 1;
        }
        self.text.get(start..self.at).filter(|digits| !digits.is_empty())
    }

    /// Takes from the stack what belongs to the argument.
    fn argument(&mut self, at: usize, known: &Known) -> Option<Option<Id>> {
        let before = format!("Arg[{at}] = ");
        let kids = match known {
            Known::Nothing => return Some(None),
            Known::Text(text) => vec![self.leaf(Kind::Word, &format!("{before}{text}"))?],
            Known::Name(start, end) => {
                let name = self.pop_symbol()?;
                let start = self.leaf(Kind::Word, &format!("{before}{start}"))?;
                vec![start, name, self.leaf(Kind::Word, end)?]
            }
            Known::String(how) => {
                let string = self.pop_kind(Kind::Name)?;
                let string = self.tree.text(string);
                // It keeps digits apart from the length.
                let string = string.strip_prefix('_').unwrap_or(string);
                let text = format!("{before}[Constant Propagated String : {how}'{string}']");
                vec![self.leaf(Kind::Word, &text)?]
            }
            Known::KeyPath => {
                let value = self.pop_type()?;
                let root = self.pop_type()?;
                let name = self.pop_symbol()?;
                let start = format!("{before}[Constant Propagated KeyPath : ");
                let texts = [start.as_str(), "<", ",", ">]"];
                self.interleaved(&texts, [name, root, value])?
            }
            Known::Closure => {
                let types = self.pop_while(Kind::is_type);
                let name = self.pop_symbol()?;
                let start = format!("{before}[Closure Propagated : ");
                let mut kids = vec![self.leaf(Kind::Word, &start)?, name];
                kids.push(self.leaf(Kind::Word, ", Argument Types : [")?);
                kids.extend(types);
                kids.push(self.leaf(Kind::Word, "]")?);
                kids
            }
        };
        Some(Some(self.node(Kind::Sequence, kids)?))
    }

    fn interleaved(&mut self, texts: &[&str; 4], parts: [Id; 3]) -> Option<Vec<Id>> {
        let [first, rest @ ..] = texts;
        let mut kids = vec![self.leaf(Kind::Word, first)?];
        for (part, text) in parts.into_iter().zip(rest) {
            kids.push(part);
            kids.push(self.leaf(Kind::Word, text)?);
        }
        Some(kids)
    }

    /// An identifier that is another symbol's whole name.
    fn pop_symbol(&mut self) -> Option<Id> {
        let name = self.pop_kind(Kind::Name)?;
        let text = self.tree.text(name).to_owned();
        self.leaf(Kind::Symbol, &text)
    }
}
