//! Tokens of a selector: text in, one token at a time out, with the position of each.

use super::{MatchOp, SelectorError};

/// Reads tokens from the front of a text.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// Byte offset of what comes next.
    at: usize,
}

/// A piece of a selector.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `{`
    Open,
    /// `}`
    Close,
    /// `,`
    Comma,
    /// A comparison.
    Op(MatchOp),
    /// A label name as it stands.
    Name(&'a str),
    /// Text that stood in quotes, unescaped.
    Quoted(String),
    /// A character that cannot start a token.
    Other(char),
    /// Nothing is left.
    End,
}

/// Whether a label name needs no quotes.
pub(super) fn is_bare_name(name: &str) -> bool {
    name.chars().next().is_some_and(is_name_start) && name.chars().all(is_name_part)
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit()
}

// === impl Token ===

impl Token<'_> {
    /// The error that this token, at `at`, is not what was expected.
    pub(super) fn unexpected(&self, at: usize, expected: &'static str) -> SelectorError {
        let found = match self {
            Self::Open => "`{`".to_owned(),
            Self::Close => "`}`".to_owned(),
            Self::Comma => "`,`".to_owned(),
            Self::Op(op) => format!("`{}`", op.as_str()),
            Self::Name(name) => format!("`{}`", cut(name)),
            Self::Quoted(text) => format!("the quoted {:?}", cut(text)),
            Self::Other(c) => format!("{c:?}"),
            Self::End => "the end".to_owned(),
        };
        SelectorError::Syntax { at, expected, found }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

// === impl Lexer ===

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut lexer = Self { text, at: 0 };
        lexer.skip_space();
        lexer
    }

    /// 1-based position of the next token, in characters.
    pub(super) fn position(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    pub(super) fn next_token(&mut self) -> Result<Token<'a>, SelectorError> {
        let token = self.read()?;
        self.skip_space();
        Ok(token)
    }

    /// Takes the next token if it is `token`.
    pub(super) fn take_if(&mut self, token: &Token<'_>) -> Result<bool, SelectorError> {
        let before = self.at;
        if self.next_token()? == *token {
            return Ok(true);
        }
        self.at = before;
        Ok(false)
    }

    pub(super) fn expect(
        &mut self,
        token: &Token<'_>,
        expected: &'static str,
    ) -> Result<(), SelectorError> {
        let at = self.position();
        let next = self.next_token()?;
        if next == *token { Ok(()) } else { Err(next.unexpected(at, expected)) }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn read(&mut self) -> Result<Token<'a>, SelectorError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        let fixed = [
            ("{", Token::Open),
            ("}", Token::Close),
            (",", Token::Comma),
            ("=~", Token::Op(MatchOp::Matches)),
            ("!~", Token::Op(MatchOp::NotMatches)),
            ("!=", Token::Op(MatchOp::NotEqual)),
            ("=", Token::Op(MatchOp::Equal)),
        ];
        for (text, token) in fixed {
            if rest.starts_with(text) {
                self.at += text.len();
                return Ok(token);
            }
        }
        match first {
            '"' | '\'' | '`' => self.quoted(first),
            c if is_name_start(c) => {
                let end = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
                self.at += end;
                Ok(Token::Name(&rest[..end]))
            }
            c => {
                self.at += c.len_utf8();
                Ok(Token::Other(c))
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token<'a>, SelectorError> {
        let start = self.position();
        self.at += 1;
        // Escapes give bytes as well as characters, so UTF-8 is checked at the end.
        let mut bytes = Vec::new();
        while let Some(c) = self.rest().chars().next() {
            if c == '\\' && quote != '`' {
                self.escape(quote, &mut bytes)?;
                continue;
            }
            self.at += c.len_utf8();
            if c == quote {
                return match String::from_utf8(bytes) {
                    Ok(text) => Ok(Token::Quoted(text)),
                    Err(_) => {
                        let what = "the escapes of this text do not make valid UTF-8";
                        Err(SelectorError::Quoted { at: start, what })
                    }
                };
            }
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Err(SelectorError::Quoted { at: start, what: "this quote is not closed" })
    }

    /// Go's escapes: `\n`, `\x41`, `\101`, `\u00e9`, `\U0001f600`, and the quote in use.
    fn escape(&mut self, quote: char, out: &mut Vec<u8>) -> Result<(), SelectorError> {
        let at = self.position();
        let bad = |what| SelectorError::Quoted { at, what };
        self.at += 1;
        let c = self.rest().chars().next().ok_or(bad("an escape is cut off"))?;
        self.at += c.len_utf8();
        let simple = match c {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            c if c == quote => u8::try_from(c).ok(),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            return Ok(());
        }
        let (digits, radix) = match c {
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return Err(bad("unknown escape (use \\\\ for a backslash, or `…` for raw text)")),
        };
        let number = self.digits(digits, radix).ok_or(bad("an escape lacks digits"))?;
        if matches!(c, 'u' | 'U') {
            let c = char::from_u32(number).ok_or(bad("an escape is not a character"))?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            out.push(u8::try_from(number).map_err(|_| bad("an octal escape is over \\377"))?);
        }
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let text = self.rest().get(..count)?;
        if !text.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        self.at += count;
        u32::from_str_radix(text, radix).ok()
    }
}
