//! Values among a template's arguments.

use super::Parser;

// === impl Parser ===

impl Parser<'_> {
    /// A type, which is not shown but for a structure's, and a value of it.
    pub(super) fn typed_value(&mut self, out: &mut String) -> Option<()> {
        let kind = self.kind_of_type()?;
        let mut name = String::new();
        self.type_name(&mut name)?;
        self.value(kind, &name, out)
    }

    /// The letter of the type that comes next.
    fn kind_of_type(&mut self) -> Option<u8> {
        if self.peek()? != b'Q' {
            return self.peek();
        }
        let target = self.peek_reference()?;
        self.elsewhere(target, Self::kind_of_type)
    }

    fn value(&mut self, kind: u8, name: &str, out: &mut String) -> Option<()> {
        self.nested(|this| match this.peek()? {
            b'n' => {
                this.at += 1;
                out.push_str("null");
                Some(())
            }
            b'N' => {
                this.at += 1;
                out.push('-');
                this.integer(kind, out)
            }
            b'i' => {
                this.at += 1;
                this.integer(kind, out)
            }
            // Of older compilers.
            b'0'..=b'9' => this.integer(kind, out),
            b'e' => {
                this.at += 1;
                this.real(out)
            }
            b'c' => this.complex(out),
            b'a' | b'w' | b'd' => this.string(out),
            b'A' => {
                this.at += 1;
                let pairs = kind == b'H';
                this.values(pairs, ["[", "]"], out)
            }
            b'S' => {
                this.at += 1;
                out.push_str(name);
                this.values(false, ["(", ")"], out)
            }
            b'f' => {
                this.at += 1;
                this.mangled_name(out)
            }
            _ => None,
        })?;
        (out.len() <= crate::demangle::MAX_DEMANGLED_BYTES).then_some(())
    }

    /// A number of values, or of pairs.
    fn values(&mut self, pairs: bool, [open, close]: [&str; 2], out: &mut String) -> Option<()> {
        let count = self.number()?;
        out.push_str(open);
        for index in 0..count {
            if index > 0 {
                out.push_str(", ");
            }
            // Nothing says what type these have.
            self.value(0, "", out)?;
            if pairs {
                out.push(':');
                self.value(0, "", out)?;
            }
        }
        out.push_str(close);
        Some(())
    }

    fn integer(&mut self, kind: u8, out: &mut String) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        if digits.is_empty() {
            return None;
        }
        match kind {
            b'b' => out.push_str(if digits.bytes().all(|digit| digit == b'0') {
                "false"
            } else {
                "true"
            }),
            b'a' | b'u' | b'w' => out.push_str(&character(kind, digits.parse().ok()?)),
            b'h' | b't' | b'k' => out.push_str(&format!("{digits}u")),
            b'l' => out.push_str(&format!("{digits}L")),
            b'm' => out.push_str(&format!("{digits}uL")),
            _ => out.push_str(digits),
        }
        Some(())
    }

    /// Hexadecimal: `0A8P6` is 0x0.A8p6.
    fn real(&mut self, out: &mut String) -> Option<()> {
        for (mangled, shown) in [("NAN", "NaN"), ("INF", "Inf"), ("NINF", "-Inf")] {
            if self.eat(mangled) {
                out.push_str(shown);
                return Some(());
            }
        }
        if self.eat("N") {
            out.push('-');
        }
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit);
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(|digit| is_hex(*digit)) {
            digits.push(char::from(digit));
            self.at += 1;
        }
        let (whole, part) = digits.split_at_checked(1)?;
        out.push_str(&format!("0x{whole}.{part}p"));
        if !self.eat("P") {
            return None;
        }
        if self.eat("N") {
            out.push('-');
        }
        out.push_str(&self.number()?.to_string());
        Some(())
    }

    fn complex(&mut self, out: &mut String) -> Option<()> {
        if !self.eat("c") {
            return None;
        }
        self.real(out)?;
        out.push('+');
        if !self.eat("c") {
            return None;
        }
        self.real(out)?;
        out.push('i');
        Some(())
    }

    /// Bytes of text in UTF-8, whatever its characters are in the program.
    fn string(&mut self, out: &mut String) -> Option<()> {
        let width = self.next()?;
        let len = self.number()?;
        if !self.eat("_") {
            return None;
        }
        out.push('"');
        for _ in 0..len {
            let digits = self.take(2)?;
            let byte = u8::from_str_radix(digits, 16).ok()?;
            match byte {
                b'\t' => out.push_str("\\t"),
                b'\n' => out.push_str("\\n"),
                b'\r' => out.push_str("\\r"),
                b'\x0b' => out.push_str("\\v"),
                b'\x0c' => out.push_str("\\f"),
                b' '..=b'~' => out.push(char::from(byte)),
                _ => out.push_str(&format!("\\x{digits}")),
            }
            if out.len() > crate::demangle::MAX_DEMANGLED_BYTES {
                return None;
            }
        }
        out.push('"');
        if width != b'a' {
            out.push(char::from(width));
        }
        Some(())
    }
}

fn character(kind: u8, code: u32) -> String {
    match (kind, code) {
        (b'a', 0x20..=0x7e) => {
            char::from_u32(code).map_or_else(String::new, |it| format!("'{it}'"))
        }
        (b'a', _) => format!("'\\x{code:02x}'"),
        (b'u', _) => format!("'\\u{code:04x}'"),
        _ => format!("'\\U{code:08x}'"),
    }
}
