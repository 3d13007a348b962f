//! Names of the D language, as its ABI specifies them.
//!
//! ```text
//! _D 3std 4conv __T 4text TAya Tk Z Qr FNaNbNf Qv k Z Qr
//!    std .conv .text!(string, uint)    .text    (string, uint)
//! ```
//!
//! A name is a sequence of identifiers, of which those of functions have their parameters, and a type.
//! Parts that were there before are references to them (`Q` and a distance). Written as binutils does:
//! parameters and template arguments are shown, the type of the whole is not. Names are untrusted: depth,
//! work and output are bounded.

mod types;
mod values;

/// Deepest nesting of types, templates and references.
const MAX_DEPTH: u32 = 128;

/// Most parts of one name, those behind references counted each time.
const MAX_STEPS: u32 = 20_000;

/// What the last identifier of a name without a type says about the rest.
const ABOUT: [(&str, &str); 5] = [
    ("__init", "initializer for "),
    ("__vtbl", "vtable for "),
    ("__Class", "ClassInfo for "),
    ("__Interface", "Interface for "),
    ("__ModuleInfo", "ModuleInfo for "),
];

/// Identifiers that the compiler writes for what has a keyword in the source.
const KEYWORDS: [(&str, &str); 3] =
    [("__ctor", "this"), ("__dtor", "~this"), ("__postblit", POSTBLIT)];
const POSTBLIT: &str = "this(this)";

/// Demangles `name`; `None` when it is not one of D.
pub(super) fn demangle(name: &str) -> Option<String> {
    if name == "_Dmain" {
        return Some("D main".to_owned());
    }
    // What compilers and linkers append to copies of a function.
    let (mangled, suffix) = name.split_at(name.find('.').unwrap_or(name.len()));
    if let Some(target) = thunk(mangled) {
        let target =
            if target.starts_with("_D") { target.to_owned() } else { format!("_D{target}") };
        return demangle(&format!("{target}{suffix}")).map(|name| format!("thunk to {name}"));
    }
    let mut parser =
        Parser { text: mangled.as_bytes(), at: 0, depth: 0, steps: 0, is_typed: false };
    let mut out = String::new();
    parser.mangled_name(&mut out)?;
    if parser.at != parser.text.len() || out.is_empty() {
        return None;
    }
    if !suffix.is_empty() {
        out.push_str(&format!(" [clone {suffix}]"));
    }
    Some(out)
}

/// The target of a function that corrects `this` for an interface: `_DThn16_3foo…`, `_DTi16_D3foo…`.
fn thunk(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("_DTh").or_else(|| name.strip_prefix("_DTi"))?;
    let rest = rest.strip_prefix('n').unwrap_or(rest);
    let target = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if target.len() == rest.len() || target.starts_with("_DT") {
        return None;
    }
    if target.starts_with("_D") { Some(target) } else { target.strip_prefix('_') }
}

/// Whose identifiers are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The symbol's own: what follows is its type, or nothing.
    Symbol,
    /// Those of a type or a template's argument: anything may follow.
    Inner,
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
    steps: u32,
    /// The type of the symbol was read with its last identifier.
    is_typed: bool,
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.checked_add(ahead)?).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn eat(&mut self, text: &str) -> bool {
        let is_next = self.text[self.at..].starts_with(text.as_bytes());
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    /// Reads something that may nest.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.steps += 1;
        if self.depth >= MAX_DEPTH || self.steps > MAX_STEPS {
            return None;
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn number(&mut self) -> Option<usize> {
        let start = self.at;
        let mut number: usize = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
            self.at += 1;
        }
        (self.at > start).then_some(number)
    }

    fn take(&mut self, len: usize) -> Option<&'a str> {
        let bytes = self.text.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        std::str::from_utf8(bytes).ok()
    }

    /// Where the reference that comes next leads to: a distance from its `Q`, letters as digits, the last
    /// of them small.
    fn reference(&mut self) -> Option<usize> {
        let start = self.at;
        if self.next()? != b'Q' {
            return None;
        }
        let mut distance: usize = 0;
        loop {
            let letter = self.next()?;
            let digit = match letter {
                b'a'..=b'z' => letter - b'a',
                b'A'..=b'Z' => letter - b'A',
                _ => return None,
            };
            distance = distance.checked_mul(26)?.checked_add(usize::from(digit))?;
            if letter.is_ascii_lowercase() {
                break;
            }
        }
        // Only what is earlier is known: no reference leads to itself.
        start.checked_sub(distance).filter(|_| distance > 0)
    }

    /// The same without reading it.
    fn peek_reference(&mut self) -> Option<usize> {
        let start = self.at;
        let target = self.reference();
        self.at = start;
        target
    }

    /// Reads elsewhere, and goes on here.
    fn elsewhere<T>(&mut self, at: usize, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let here = std::mem::replace(&mut self.at, at);
        let done = self.nested(read);
        self.at = here;
        done
    }

    /// `_D`, the identifiers, the type.
    fn mangled_name(&mut self, out: &mut String) -> Option<()> {
        if !self.eat("_D") {
            return None;
        }
        let start = out.len();
        let last = self.qualified(out, Part::Symbol)?;
        if std::mem::take(&mut self.is_typed) {
            return Some(());
        }
        if !self.eat("Z") {
            return self.type_name(&mut String::new());
        }
        let about = ABOUT.iter().find(|(name, _)| out[last..] == **name);
        if let Some((_, about)) = about {
            let end = last.saturating_sub(1).max(start);
            out.truncate(end);
            out.insert_str(start, about);
        }
        Some(())
    }

    /// Identifiers with the parameters of functions among them. Answers where the last one begins.
    fn qualified(&mut self, out: &mut String, part: Part) -> Option<usize> {
        self.nested(|this| {
            let start = out.len();
            let mut last = start;
            loop {
                // What has no name.
                while this.peek() == Some(b'0') {
                    this.at += 1;
                }
                if !this.is_identifier() {
                    break;
                }
                if out.len() > start {
                    out.push('.');
                }
                last = out.len();
                this.identifier(out)?;
                let (before, at) = (out.len(), this.at);
                if !this.is_function() {
                    continue;
                }
                let is_read = this.function_of_name(part, out).is_some();
                let ends_here = part == Part::Symbol && this.at < this.text.len();
                if is_read && this.is_typed {
                    return Some(last);
                }
                if out[last..before] == *POSTBLIT {
                    // Its parameters would be a second pair of brackets.
                    out.truncate(before);
                }
                if !is_read || !(this.is_identifier() || ends_here) {
                    // It was something else: a scope parameter that follows a type, say.
                    this.is_typed = false;
                    out.truncate(before);
                    this.at = at;
                    break;
                }
            }
            (out.len() > start).then_some(last)
        })
    }

    fn is_identifier(&mut self) -> bool {
        match self.peek() {
            Some(b'0'..=b'9') => true,
            Some(b'_') => {
                matches!((self.peek_at(1), self.peek_at(2)), (Some(b'_'), Some(b'T' | b'U')))
            }
            // References lead to types as well.
            Some(b'Q') => {
                let target = self.peek_reference().and_then(|at| self.text.get(at));
                target.is_some_and(u8::is_ascii_digit)
            }
            _ => false,
        }
    }

    /// What follows may be the type of a function, or that of one with `this`.
    fn is_function(&self) -> bool {
        self.peek().is_some_and(|next| next == b'M' || types::convention(next).is_some())
    }

    /// Parameters, and what kind of `this` the function has, which is not shown of types.
    fn function_of_name(&mut self, part: Part, out: &mut String) -> Option<()> {
        let mut of_this = String::new();
        if self.eat("M") {
            self.modifiers(&mut of_this);
        }
        let function = match self.peek()? {
            // The type of a function that was there before, what it returns included.
            b'Q' if part == Part::Symbol => {
                let target = self.reference()?;
                self.is_typed = true;
                self.elsewhere(target, Self::function)?
            }
            _ => self.function()?,
        };
        out.push('(');
        out.push_str(&function.parameters);
        out.push(')');
        if part == Part::Symbol {
            out.push_str(&of_this);
        }
        Some(())
    }

    fn identifier(&mut self, out: &mut String) -> Option<()> {
        self.nested(|this| match this.peek()? {
            b'Q' => {
                let target = this.reference()?;
                this.elsewhere(target, |there| there.named(out))
            }
            b'_' => this.template(out),
            _ => this.named(out),
        })
    }

    /// A length and so many characters.
    fn named(&mut self, out: &mut String) -> Option<()> {
        let len = self.number().filter(|len| *len > 0)?;
        let start = self.at;
        let name = self.take(len)?;
        // Older compilers give the length of a template, too.
        if name.starts_with("__T") || name.starts_with("__U") {
            let (end, before) = (self.at, out.len());
            self.at = start;
            if self.template(out).is_some() && self.at == end {
                return Some(());
            }
            out.truncate(before);
            self.at = end;
        }
        let keyword = KEYWORDS.iter().find(|(mangled, _)| *mangled == name);
        out.push_str(keyword.map_or(name, |(_, keyword)| keyword));
        (out.len() <= super::MAX_DEMANGLED_BYTES).then_some(())
    }

    /// A name and arguments: `text!(uint)`.
    fn template(&mut self, out: &mut String) -> Option<()> {
        if !(self.eat("__T") || self.eat("__U")) {
            return None;
        }
        self.identifier(out)?;
        out.push_str("!(");
        let mut is_first = true;
        while !self.eat("Z") {
            if !is_first {
                out.push_str(", ");
            }
            is_first = false;
            self.nested(|this| this.template_argument(out))?;
        }
        out.push(')');
        Some(())
    }

    fn template_argument(&mut self, out: &mut String) -> Option<()> {
        // One that was chosen by a specialization looks like any other.
        self.eat("H");
        match self.next()? {
            b'T' => self.type_name(out),
            b'V' => self.typed_value(out),
            b'S' if self.peek() == Some(b'_') && self.peek_at(1) == Some(b'D') => {
                self.nested(|this| this.mangled_name(out))
            }
            b'S' => self.qualified(out, Part::Inner).map(|_| ()),
            b'X' => {
                let len = self.number()?;
                out.push_str(self.take(len)?);
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
