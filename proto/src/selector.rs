//! Prometheus label matchers: `{service="checkout", version=~"v2.*"}`.
//!
//! In: the text a person typed, untrusted and bounded. Out: a [`Selector`] that says of a set of
//! labels whether it matches. As in Prometheus, a label that is absent counts as empty, regular
//! expressions are anchored at both ends, and values are quoted (`"…"` and `'…'` with Go's escapes,
//! `` `…` `` raw). Beyond it, the braces may be left out, and a label name may be quoted.
//! Not done here: finding the samples.

mod lexer;

use std::{fmt, str::FromStr};

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use lexer::{Lexer, Token};

/// Longest selector accepted, bytes.
pub const MAX_SELECTOR_BYTES: usize = 16 << 10;

/// Most matchers in one selector.
pub const MAX_MATCHERS: usize = 64;

/// Largest compiled regular expression, bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// Matchers that must all hold. Without any, everything matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// The anchored expression, for the operators that have one.
    regex: Option<Regex>,
}

/// How a label's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
}

/// A selector that cannot be used. Positions are 1-based, in characters.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// Longer than [`MAX_SELECTOR_BYTES`].
    #[error("selector of {0} bytes: at most {MAX_SELECTOR_BYTES} are accepted")]
    TooLong(usize),
    /// More than [`MAX_MATCHERS`].
    #[error("selector with more than {MAX_MATCHERS} matchers")]
    TooMany,
    /// Something else was expected at a position.
    #[error("selector, position {at}: expected {expected}, found {found}")]
    Syntax {
        /// Where.
        at: usize,
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A quoted text that is not closed or has a bad escape.
    #[error("selector, position {at}: {what}")]
    Quoted {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A label name that is empty.
    #[error("selector: a label name is empty")]
    EmptyName,
    /// A regular expression that does not compile or is too large.
    #[error(
        "selector: the regular expression {pattern:?} of label {name:?} is not usable: {reason}"
    )]
    Regex {
        /// Label it is for.
        name: String,
        /// As given, cut if long.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
}

// === impl MatchOp ===

impl MatchOp {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }
}

// === impl Matcher ===

impl Matcher {
    /// A condition on the label `name`.
    ///
    /// # Errors
    /// When the name is empty, or `value` is not a regular expression where the operator takes one.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, SelectorError> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() {
            return Err(SelectorError::EmptyName);
        }
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Matches | MatchOp::NotMatches => Some(anchored(&name, &value)?),
        };
        Ok(Self { name, op, value, regex })
    }

    /// Name of the label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is compared.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it is compared with.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether the label's value (empty when it is absent) meets the condition.
    pub fn matches(&self, value: &str) -> bool {
        let regex = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Matches => regex(),
            MatchOp::NotMatches => !regex(),
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

/// With the value quoted, and the name where it must be.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if lexer::is_bare_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            quote(f, &self.name)?;
        }
        f.write_str(self.op.as_str())?;
        quote(f, &self.value)
    }
}

// === impl Selector ===

impl Selector {
    /// Reads a selector. Empty text and `{}` match everything.
    ///
    /// # Errors
    /// Says what is wrong and at which position.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(SelectorError::TooLong(text.len()));
        }
        let mut lexer = Lexer::new(text);
        let braces = lexer.take_if(&Token::Open)?;
        let mut selector = Self::default();
        let end = if braces { Token::Close } else { Token::End };
        while !lexer.take_if(&end)? {
            selector.push(parse_matcher(&mut lexer, braces)?)?;
            if !lexer.take_if(&Token::Comma)? {
                let expected = if braces { "`,` or `}`" } else { "`,` or the end" };
                lexer.expect(&end, expected)?;
                break;
            }
        }
        if braces {
            lexer.expect(&Token::End, "the end after `}`")?;
        }
        Ok(selector)
    }

    /// The samples of one service.
    pub fn service(service: &str) -> Self {
        let matcher = Matcher {
            name: crate::labels::SERVICE.to_owned(),
            op: MatchOp::Equal,
            value: service.to_owned(),
            regex: None,
        };
        Self { matchers: vec![matcher] }
    }

    /// Adds a condition.
    ///
    /// # Errors
    /// When there are [`MAX_MATCHERS`] already.
    pub fn push(&mut self, matcher: Matcher) -> Result<(), SelectorError> {
        if self.matchers.len() >= MAX_MATCHERS {
            return Err(SelectorError::TooMany);
        }
        self.matchers.push(matcher);
        Ok(())
    }

    /// The conditions.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// The value that `name` must equal, where a matcher says so.
    pub fn required(&self, name: &str) -> Option<&str> {
        let equal = |m: &&Matcher| m.op == MatchOp::Equal && m.name == name;
        self.matchers.iter().find(equal).map(Matcher::value)
    }

    /// Whether labels match; `value` answers the value of a label, `None` when it is absent.
    pub fn matches<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(value(&matcher.name).unwrap_or("")))
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

/// In braces, so that it can be typed again.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, matcher) in self.matchers.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{matcher}")?;
        }
        f.write_str("}")
    }
}

fn parse_matcher(lexer: &mut Lexer<'_>, braces: bool) -> Result<Matcher, SelectorError> {
    let expected = if braces { "a label name or `}`" } else { "a label name" };
    let at = lexer.position();
    let name = match lexer.next_token()? {
        Token::Name(name) => name.to_owned(),
        Token::Quoted(name) => name,
        other => return Err(other.unexpected(at, expected)),
    };
    let at = lexer.position();
    let op = match lexer.next_token()? {
        Token::Op(op) => op,
        other => return Err(other.unexpected(at, "`=`, `!=`, `=~` or `!~`")),
    };
    let at = lexer.position();
    match lexer.next_token()? {
        Token::Quoted(value) => Matcher::new(name, op, value),
        other => Err(other.unexpected(at, "a value in quotes")),
    }
}

/// Anchored at both ends; `.` matches line breaks too. The expression is compiled on its own first,
/// so that one that only balances inside our group (`a)|(b`) is refused.
fn anchored(name: &str, pattern: &str) -> Result<Regex, SelectorError> {
    let compile = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES).build()
    };
    compile(pattern).and_then(|_| compile(&format!("^(?s:{pattern})$"))).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let pattern = pattern.chars().take(80).collect();
        SelectorError::Regex { name: name.to_owned(), pattern, reason: reason.to_owned() }
    })
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests;
