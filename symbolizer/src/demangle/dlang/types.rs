//! Types of D.

use super::{Parser, Part};

/// A function's type without what it returns.
pub(super) struct Function {
    /// `extern(C) `, or nothing for D's own.
    pub(super) convention: &'static str,
    /// ` pure nothrow`: each with a space before it.
    attributes: String,
    /// Without brackets.
    pub(super) parameters: String,
}

/// How a function is called; the letter begins its type.
pub(super) fn convention(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'F' => "",
        b'U' => "extern(C) ",
        b'W' => "extern(Windows) ",
        b'V' => "extern(Pascal) ",
        b'R' => "extern(C++) ",
        b'Y' => "extern(Objective-C) ",
        _ => return None,
    })
}

/// After `N`.
fn attribute(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'a' => " pure",
        b'b' => " nothrow",
        b'c' => " ref",
        b'd' => " @property",
        b'e' => " @trusted",
        b'f' => " @safe",
        b'i' => " @nogc",
        b'j' => " return",
        b'l' => " scope",
        b'm' => " @live",
        _ => return None,
    })
}

fn basic(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'v' => "void",
        b'g' => "byte",
        b'h' => "ubyte",
        b's' => "short",
        b't' => "ushort",
        b'i' => "int",
        b'k' => "uint",
        b'l' => "long",
        b'm' => "ulong",
        b'f' => "float",
        b'd' => "double",
        b'e' => "real",
        b'o' => "ifloat",
        b'p' => "idouble",
        b'j' => "ireal",
        b'q' => "cfloat",
        b'r' => "cdouble",
        b'c' => "creal",
        b'b' => "bool",
        b'a' => "char",
        b'u' => "wchar",
        b'w' => "dchar",
        b'n' => "typeof(null)",
        _ => return None,
    })
}

// === impl Parser ===

impl Parser<'_> {
    pub(super) fn type_name(&mut self, out: &mut String) -> Option<()> {
        self.nested(|this| this.one_type(out))?;
        (out.len() <= crate::demangle::MAX_DEMANGLED_BYTES).then_some(())
    }

    fn one_type(&mut self, out: &mut String) -> Option<()> {
        if self.peek()? == b'Q' {
            let target = self.reference()?;
            return self.elsewhere(target, |there| there.one_type(out));
        }
        if convention(self.peek()?).is_some() {
            return self.function_type(out, "");
        }
        match self.next()? {
            b'x' => self.wrapped("const", out),
            b'y' => self.wrapped("immutable", out),
            b'O' => self.wrapped("shared", out),
            b'N' => match self.next()? {
                b'g' => self.wrapped("inout", out),
                b'h' => self.wrapped("__vector", out),
                b'n' => {
                    out.push_str("noreturn");
                    Some(())
                }
                _ => None,
            },
            b'A' => {
                self.type_name(out)?;
                out.push_str("[]");
                Some(())
            }
            b'G' => {
                let len = self.number()?;
                self.type_name(out)?;
                out.push_str(&format!("[{len}]"));
                Some(())
            }
            b'H' => {
                let mut key = String::new();
                self.type_name(&mut key)?;
                self.type_name(out)?;
                out.push_str(&format!("[{key}]"));
                Some(())
            }
            b'P' if self.peek().and_then(convention).is_some() => {
                self.function_type(out, " function")
            }
            b'P' => {
                self.type_name(out)?;
                out.push('*');
                Some(())
            }
            b'D' => {
                let mut of_this = String::new();
                self.modifiers(&mut of_this);
                // The function it is of may have been there before.
                match self.peek()? {
                    b'Q' => {
                        let target = self.reference()?;
                        self.elsewhere(target, |there| there.function_type(out, " delegate"))?;
                    }
                    _ => self.function_type(out, " delegate")?,
                }
                out.push_str(&of_this);
                Some(())
            }
            b'I' | b'C' | b'S' | b'E' | b'T' => self.qualified(out, Part::Inner).map(|_| ()),
            b'B' => self.tuple(out),
            b'z' => {
                out.push_str(match self.next()? {
                    b'i' => "cent",
                    b'k' => "ucent",
                    _ => return None,
                });
                Some(())
            }
            letter => {
                out.push_str(basic(letter)?);
                Some(())
            }
        }
    }

    fn wrapped(&mut self, by: &str, out: &mut String) -> Option<()> {
        out.push_str(by);
        out.push('(');
        self.type_name(out)?;
        out.push(')');
        Some(())
    }

    /// Newer compilers end them, older ones count them.
    fn tuple(&mut self, out: &mut String) -> Option<()> {
        out.push_str("Tuple!(");
        match self.number() {
            Some(count) => {
                for index in 0..count {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    self.type_name(out)?;
                }
            }
            None => out.push_str(&self.parameters()?),
        }
        out.push(')');
        Some(())
    }

    /// `extern(C) int(char) pure delegate`.
    fn function_type(&mut self, out: &mut String, kind: &str) -> Option<()> {
        let function = self.function()?;
        out.push_str(function.convention);
        self.type_name(out)?;
        out.push_str(&format!("({}){}{kind}", function.parameters, function.attributes));
        Some(())
    }

    pub(super) fn function(&mut self) -> Option<Function> {
        self.nested(|this| {
            let convention = convention(this.next()?)?;
            let mut attributes = String::new();
            while this.peek() == Some(b'N')
                && let Some(attribute) = this.peek_at(1).and_then(attribute)
            {
                attributes.push_str(attribute);
                this.at += 2;
            }
            Some(Function { convention, attributes, parameters: this.parameters()? })
        })
    }

    fn parameters(&mut self) -> Option<String> {
        let mut out = String::new();
        loop {
            match self.peek()? {
                b'Z' => {}
                b'X' => out.push_str("..."),
                b'Y' => out.push_str(if out.is_empty() { "..." } else { ", ..." }),
                _ => {
                    if !out.is_empty() {
                        out.push_str(", ");
                    }
                    self.storage(&mut out);
                    self.type_name(&mut out)?;
                    continue;
                }
            }
            self.at += 1;
            return Some(out);
        }
    }

    /// How a parameter is given: `scope return ref `.
    fn storage(&mut self, out: &mut String) {
        loop {
            let (len, word) = match (self.peek(), self.peek_at(1)) {
                (Some(b'M'), _) => (1, "scope "),
                (Some(b'N'), Some(b'k')) => (2, "return "),
                (Some(b'I'), next) if !matches!(next, Some(b'0'..=b'9')) => (1, "in "),
                (Some(b'J'), _) => (1, "out "),
                (Some(b'K'), _) => (1, "ref "),
                (Some(b'L'), _) => (1, "lazy "),
                _ => return,
            };
            self.at += len;
            out.push_str(word);
        }
    }

    /// What kind of `this` there is: each word with a space before it.
    pub(super) fn modifiers(&mut self, out: &mut String) {
        loop {
            let (len, word) = match (self.peek(), self.peek_at(1)) {
                (Some(b'x'), _) => (1, " const"),
                (Some(b'y'), _) => (1, " immutable"),
                (Some(b'O'), _) => (1, " shared"),
                (Some(b'N'), Some(b'g')) => (2, " inout"),
                _ => return,
            };
            self.at += len;
            out.push_str(word);
        }
    }
}
