//! Types of functions as the compiler lowers them: how each value is passed.

use super::{
    parser::Parser,
    tree::{Id, Kind},
    types::differentiable,
};

/// What is written of such a type, besides its parts.
#[derive(Default)]
struct Shape {
    /// In front of the parameters.
    before: String,
    /// Of each parameter, result and so on, the type to come.
    values: Vec<Value>,
    has_sending_result: bool,
}

struct Value {
    text: String,
    is_parameter: bool,
}

// === impl Parser ===

impl Parser<'_> {
    /// After `I`. A function's kids are: words and types in turns.
    pub(super) fn implementation_type(&mut self) -> Option<Id> {
        let mut substituted = None;
        if self.eat(b's') {
            let arguments = self.pop_argument_lists()?;
            let [arguments] = <[Vec<Id>; 1]>::try_from(arguments).ok()?;
            substituted = Some((self.pop_signature()?, arguments));
        }
        let signature = self.pop_signature();
        if signature.is_some() {
            self.eat(b'P');
        }
        let mut shape = Shape::default();
        self.function_attributes(&mut shape)?;
        self.values(&mut shape)?;
        let mut types = Vec::with_capacity(shape.values.len());
        for _ in 0..shape.values.len() {
            types.push(self.pop_type()?);
        }
        types.reverse();
        self.implementation_node(&shape, &types, signature, substituted)
    }

    fn function_attributes(&mut self, shape: &mut Shape) -> Option<()> {
        let mut words: Vec<String> = Vec::new();
        if self.eat(b'e') {
            words.push("@escaping".to_owned());
        }
        if self.eat(b'A') {
            words.push("@isolated(any)".to_owned());
        }
        if let Some(kind) = self.peek().and_then(differentiable) {
            self.at += 1;
            words.push(kind.trim_end().to_owned());
        }
        let callee = match self.next()? {
            b'y' => "@callee_unowned",
            b'g' => "@callee_guaranteed",
            b'x' => "@callee_owned",
            b't' => "@convention(thin)",
            _ => return None,
        };
        words.push(callee.to_owned());
        let convention = match self.peek() {
            Some(b'B') => "block",
            Some(b'C') => "c",
            Some(b'M') => "method",
            Some(b'K') => "closure",
            Some(b'W') => "witness_method",
            _ => "",
        };
        if !convention.is_empty() {
            self.at += 1;
            words.push(format!("@convention({convention})"));
        }
        for (letter, word) in
            [(b'A', "@yield_once"), (b'I', "@yield_once_2"), (b'G', "@yield_many")]
        {
            if self.eat(letter) {
                words.push(word.to_owned());
                break;
            }
        }
        for (letter, word) in [(b'h', "@Sendable"), (b'H', "@async")] {
            if self.eat(letter) {
                words.push(word.to_owned());
            }
        }
        shape.has_sending_result = self.eat(b'T');
        shape.before = words.join(" ");
        Some(())
    }

    fn values(&mut self, shape: &mut Shape) -> Option<()> {
        while let Some(how) = self.peek().and_then(parameter_convention) {
            self.at += 1;
            let text = format!("{how}{}", self.parameter_flags());
            shape.values.push(Value { text, is_parameter: true });
        }
        while let Some(how) = self.peek().and_then(result_convention) {
            self.at += 1;
            let text = format!("{how}{}", self.no_derivative());
            shape.values.push(Value { text, is_parameter: false });
        }
        while self.eat(b'Y') {
            let how = parameter_convention(self.next()?)?;
            let text = format!("@yields {how}{}", self.parameter_flags());
            shape.values.push(Value { text, is_parameter: false });
        }
        if self.eat(b'z') {
            let how = result_convention(self.next()?)?;
            let text = format!("@error {how}{}", self.no_derivative());
            shape.values.push(Value { text, is_parameter: false });
        }
        self.eat(b'_').then_some(())
    }

    fn no_derivative(&mut self) -> &'static str {
        if self.eat(b'w') { "@noDerivative " } else { "" }
    }

    fn parameter_flags(&mut self) -> String {
        let [derivative, sending, isolated, leading] =
            [b'w', b'T', b'I', b'L'].map(|it| self.eat(it));
        // The original does not write more than these together.
        let (isolated, leading) = if isolated || leading {
            let is_alone = !(derivative || sending || isolated && leading);
            (isolated && is_alone, leading && is_alone)
        } else {
            return [(derivative, "@noDerivative "), (sending, "sending ")]
                .iter()
                .filter(|(is_set, _)| *is_set)
                .map(|(_, text)| *text)
                .collect();
        };
        let text = if isolated { "isolated " } else { "" };
        format!("{text}{}", if leading { "sil_implicit_leading_param " } else { "" })
    }

    fn implementation_node(
        &mut self,
        shape: &Shape,
        types: &[Id],
        signature: Option<Id>,
        substituted: Option<(Id, Vec<Id>)>,
    ) -> Option<Id> {
        let mut kids = vec![self.leaf(Kind::Word, &shape.before)?];
        if let Some(signature) = signature {
            kids.push(self.leaf(Kind::Word, " ")?);
            kids.push(signature);
        }
        if let Some((signature, _)) = &substituted {
            kids.push(self.leaf(Kind::Word, " @substituted ")?);
            kids.push(*signature);
        }
        let mut text = String::from(" (");
        let mut is_in_parameters = true;
        let mut separator = "";
        let arrow = if shape.has_sending_result { ") -> sending (" } else { ") -> (" };
        for (value, ty) in shape.values.iter().zip(types) {
            if is_in_parameters && !value.is_parameter {
                text.push_str(arrow);
                separator = "";
                is_in_parameters = false;
            }
            text.push_str(separator);
            text.push_str(&value.text);
            kids.push(self.leaf(Kind::Word, &text)?);
            kids.push(*ty);
            text.clear();
            separator = ", ";
        }
        if is_in_parameters {
            text.push_str(arrow);
        }
        text.push(')');
        kids.push(self.leaf(Kind::Word, &text)?);
        if let Some((_, arguments)) = substituted {
            kids.push(self.leaf(Kind::Word, " for <")?);
            kids.extend(arguments);
            kids.push(self.leaf(Kind::Word, ">")?);
        }
        self.node(Kind::ImplType, kids)
    }
}

fn parameter_convention(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'i' => "@in ",
        b'c' => "@in_constant ",
        b'l' => "@inout ",
        b'b' => "@inout_aliasable ",
        b'n' => "@in_guaranteed ",
        b'X' => "@in_cxx ",
        b'x' => "@owned ",
        b'y' => "@unowned ",
        b'g' => "@guaranteed ",
        b'e' => "@deallocating ",
        b'v' => "@pack_owned ",
        b'p' => "@pack_guaranteed ",
        b'm' => "@pack_inout ",
        _ => return None,
    })
}

fn result_convention(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'r' => "@out ",
        b'o' => "@owned ",
        b'd' => "@unowned ",
        b'u' => "@unowned_inner_pointer ",
        b'a' => "@autoreleased ",
        b'k' => "@pack_out ",
        b'l' => "@guaranteed_address ",
        b'g' => "@guaranteed ",
        b'm' => "@inout ",
        _ => return None,
    })
}
