//! Identifiers, and references to what was there before.

use super::{
    parser::Parser,
    tree::{Id, Kind, Nominal},
};

/// Longest identifier, bytes: a letter can stand for many.
const MAX_NAME_BYTES: usize = 4096;

/// Letters that can stand for words.
const MAX_WORDS: usize = 26;

/// Most copies of one part that a reference pushes.
const MAX_REPEATS: u64 = 2048;

/// `S` and a letter: the most used declarations of the library, in the order of the letters.
const STANDARD: &[(u8, Nominal, &str)] = &[
    (b'A', Nominal::Struct, "AutoreleasingUnsafeMutablePointer"),
    (b'B', Nominal::Protocol, "BinaryFloatingPoint"),
    (b'D', Nominal::Struct, "Dictionary"),
    (b'E', Nominal::Protocol, "Encodable"),
    (b'F', Nominal::Protocol, "FloatingPoint"),
    (b'G', Nominal::Protocol, "RandomNumberGenerator"),
    (b'H', Nominal::Protocol, "Hashable"),
    (b'I', Nominal::Struct, "DefaultIndices"),
    (b'J', Nominal::Struct, "Character"),
    (b'K', Nominal::Protocol, "BidirectionalCollection"),
    (b'L', Nominal::Protocol, "Comparable"),
    (b'M', Nominal::Protocol, "MutableCollection"),
    (b'N', Nominal::Struct, "ClosedRange"),
    (b'O', Nominal::Struct, "ObjectIdentifier"),
    (b'P', Nominal::Struct, "UnsafePointer"),
    (b'Q', Nominal::Protocol, "Equatable"),
    (b'R', Nominal::Struct, "UnsafeBufferPointer"),
    (b'S', Nominal::Struct, "String"),
    (b'T', Nominal::Protocol, "Sequence"),
    (b'U', Nominal::Protocol, "UnsignedInteger"),
    (b'V', Nominal::Struct, "UnsafeRawPointer"),
    (b'W', Nominal::Struct, "UnsafeRawBufferPointer"),
    (b'X', Nominal::Protocol, "RangeExpression"),
    (b'Y', Nominal::Protocol, "RawRepresentable"),
    (b'Z', Nominal::Protocol, "SignedInteger"),
    (b'a', Nominal::Struct, "Array"),
    (b'b', Nominal::Struct, "Bool"),
    (b'd', Nominal::Struct, "Double"),
    (b'e', Nominal::Protocol, "Decodable"),
    (b'f', Nominal::Struct, "Float"),
    (b'h', Nominal::Struct, "Set"),
    (b'i', Nominal::Struct, "Int"),
    (b'j', Nominal::Protocol, "Numeric"),
    (b'k', Nominal::Protocol, "RandomAccessCollection"),
    (b'l', Nominal::Protocol, "Collection"),
    (b'm', Nominal::Protocol, "RangeReplaceableCollection"),
    (b'n', Nominal::Struct, "Range"),
    (b'p', Nominal::Struct, "UnsafeMutablePointer"),
    (b'q', Nominal::Enum, "Optional"),
    (b'r', Nominal::Struct, "UnsafeMutableBufferPointer"),
    (b's', Nominal::Struct, "Substring"),
    (b't', Nominal::Protocol, "IteratorProtocol"),
    (b'u', Nominal::Struct, "UInt"),
    (b'v', Nominal::Struct, "UnsafeMutableRawPointer"),
    (b'w', Nominal::Struct, "UnsafeMutableRawBufferPointer"),
    (b'x', Nominal::Protocol, "Strideable"),
    (b'y', Nominal::Protocol, "StringProtocol"),
    (b'z', Nominal::Protocol, "BinaryInteger"),
];

/// `Sc` and a letter: those of concurrency.
const CONCURRENCY: &[(u8, Nominal, &str)] = &[
    (b'A', Nominal::Protocol, "Actor"),
    (b'C', Nominal::Struct, "CheckedContinuation"),
    (b'E', Nominal::Struct, "CancellationError"),
    (b'F', Nominal::Protocol, "Executor"),
    (b'G', Nominal::Struct, "TaskGroup"),
    (b'I', Nominal::Protocol, "AsyncIteratorProtocol"),
    (b'J', Nominal::Struct, "UnownedJob"),
    (b'M', Nominal::Class, "MainActor"),
    (b'P', Nominal::Struct, "TaskPriority"),
    (b'S', Nominal::Struct, "AsyncStream"),
    (b'T', Nominal::Struct, "Task"),
    (b'c', Nominal::Struct, "UnsafeContinuation"),
    (b'e', Nominal::Struct, "UnownedSerialExecutor"),
    (b'f', Nominal::Protocol, "SerialExecutor"),
    (b'g', Nominal::Struct, "ThrowingTaskGroup"),
    (b'h', Nominal::Protocol, "TaskExecutor"),
    (b'i', Nominal::Protocol, "AsyncSequence"),
    (b's', Nominal::Struct, "AsyncThrowingStream"),
    (b't', Nominal::Struct, "UnsafeCurrentTask"),
];

/// Longest identifier that is decoded, bytes: the work grows with the square.
const MAX_PUNYCODE_BYTES: usize = 2048;

/// What the letters in names of operators stand for.
const OPERATOR_LETTERS: &[u8; 26] = b"& @/= >    <*!|+?%-~   ^ .";

// === impl Parser ===

impl<'a> Parser<'a> {
    /// A length and so many characters, or a `0` and pieces of which some are words from before.
    pub(super) fn identifier(&mut self) -> Option<Id> {
        let mut has_words = self.eat(b'0');
        let is_punycode = has_words && self.eat(b'0');
        has_words &= !is_punycode;
        let mut name = String::new();
        loop {
            while has_words && self.peek().is_some_and(|next| next.is_ascii_alphabetic()) {
                let letter = self.next()?;
                // The last one is written large.
                has_words = letter.is_ascii_lowercase();
                let word = usize::from(letter.to_ascii_lowercase() - b'a');
                name.push_str(self.words.get(word)?);
                if name.len() > MAX_NAME_BYTES {
                    return None;
                }
            }
            if self.eat(b'0') {
                break;
            }
            let len = usize::try_from(self.natural()?).ok()?;
            // It keeps digits apart from the length.
            if is_punycode {
                self.eat(b'_');
            }
            let piece = self.take(len)?;
            if is_punycode {
                name.push_str(&decode_punycode(piece)?);
            } else {
                self.add_words(piece);
                name.push_str(piece);
            }
            if !has_words {
                break;
            }
        }
        if name.is_empty() {
            return None;
        }
        let made = self.leaf(Kind::Name, &name);
        self.remember(made)
    }

    /// Words begin with a letter, and where a large letter follows another character.
    fn add_words(&mut self, piece: &'a str) {
        let bytes = piece.as_bytes();
        let mut start = None;
        for at in 0..=bytes.len() {
            let byte = bytes.get(at).copied().unwrap_or(b'_');
            if let Some(first) = start {
                let begins_next = byte.is_ascii_uppercase() && !bytes[at - 1].is_ascii_uppercase();
                if byte == b'_' || begins_next {
                    if at - first >= 2
                        && self.words.len() < MAX_WORDS
                        && let Some(word) = piece.get(first..at)
                    {
                        self.words.push(word);
                    }
                    start = None;
                }
            }
            if start.is_none() && !byte.is_ascii_digit() && byte != b'_' {
                start = Some(at);
            }
        }
    }

    /// After `A`: one or more parts from before.
    pub(super) fn substitution(&mut self) -> Option<()> {
        loop {
            let count = match self.peek()? {
                b'0'..=b'9' => Some(self.natural()?),
                _ => None,
            };
            let letter = self.next()?;
            let index = match letter {
                b'a'..=b'z' => usize::from(letter - b'a'),
                b'A'..=b'Z' => usize::from(letter - b'A'),
                b'_' => usize::try_from(count.map_or(26, |n| n.saturating_add(27))).ok()?,
                _ => return None,
            };
            let part = *self.substitutions.get(index)?;
            let repeats = if letter == b'_' { 1 } else { count.unwrap_or(1) };
            self.push_repeatedly(part, repeats)?;
            if !letter.is_ascii_lowercase() {
                return Some(());
            }
        }
    }

    fn push_repeatedly(&mut self, part: Id, repeats: u64) -> Option<()> {
        if !(1..=MAX_REPEATS).contains(&repeats) {
            return None;
        }
        self.stack.extend((0..repeats).map(|_| part));
        Some(())
    }

    /// After `S`.
    pub(super) fn standard_type(&mut self) -> Option<()> {
        match self.peek()? {
            b'o' => {
                self.at += 1;
                let module = self.leaf(Kind::Module, "__C")?;
                self.stack.push(module);
            }
            b'C' => {
                self.at += 1;
                let module = self.leaf(Kind::Module, "__C_Synthesized")?;
                self.stack.push(module);
            }
            b'g' => {
                self.at += 1;
                let wrapped = self.pop_type()?;
                let optional = self.swift_type(Nominal::Enum, "Optional")?;
                let bound = self.node(Kind::Bound, vec![optional, wrapped]);
                let bound = self.remember(bound)?;
                self.stack.push(bound);
            }
            first => {
                let repeats = if first.is_ascii_digit() { self.natural()? } else { 1 };
                let table = if self.eat(b'c') { CONCURRENCY } else { STANDARD };
                let letter = self.next()?;
                let (_, nominal, name) = table.iter().find(|(it, ..)| *it == letter)?;
                let made = self.swift_type(*nominal, name)?;
                self.push_repeatedly(made, repeats)?;
            }
        }
        Some(())
    }

    pub(super) fn swift_type(&mut self, nominal: Nominal, name: &str) -> Option<Id> {
        let module = self.leaf(Kind::Module, "Swift")?;
        let name = self.leaf(Kind::Name, name)?;
        self.node(Kind::Nominal(nominal), vec![module, name])
    }

    /// After `L`: which of several declarations of one name it is.
    pub(super) fn discriminated_name(&mut self) -> Option<Id> {
        match self.peek()? {
            b'L' => {
                self.at += 1;
                let file = self.pop_kind(Kind::Name)?;
                let name = self.pop_name()?;
                self.private_name(file, vec![name])
            }
            b'l' => {
                self.at += 1;
                let file = self.pop_kind(Kind::Name)?;
                self.private_name(file, Vec::new())
            }
            letter @ (b'a'..=b'j' | b'A'..=b'J') => {
                self.at += 1;
                let name = self.pop_name()?;
                self.tree.add(Kind::Related, char::from(letter).to_string(), 0, vec![name])
            }
            _ => {
                let number = self.index()?.checked_add(1)?;
                let name = self.pop_name()?;
                self.numbered(Kind::Local, number, vec![name])
            }
        }
    }

    fn private_name(&mut self, file: Id, kids: Vec<Id>) -> Option<Id> {
        let file = self.tree.text(file).to_owned();
        self.tree.add(Kind::Private, file, 0, kids)
    }

    /// After `o`: letters in the name on top stand for the characters of operators.
    pub(super) fn operator_name(&mut self) -> Option<Id> {
        let letters = self.pop_kind(Kind::Name)?;
        let mut name = String::new();
        for letter in self.tree.text(letters).chars() {
            name.push(match letter {
                'a'..='z' => {
                    let index = u32::from(letter).checked_sub(u32::from('a'))? as usize;
                    char::from(*OPERATOR_LETTERS.get(index).filter(|it| **it != b' ')?)
                }
                other if other.is_ascii() => return None,
                other => other,
            });
        }
        let place = match self.next()? {
            b'i' => " infix",
            b'p' => " prefix",
            b'P' => " postfix",
            _ => return None,
        };
        self.leaf(Kind::Operator(place), &name)
    }
}

/// Decodes an identifier that has characters beyond ASCII: RFC 3492 with other digits and separator.
fn decode_punycode(text: &str) -> Option<String> {
    const BASE: u32 = 36;
    if text.len() > MAX_PUNYCODE_BYTES {
        return None;
    }
    let (plain, encoded) = text.rsplit_once('_').unwrap_or(("", text));
    let mut points: Vec<u32> = plain.chars().map(u32::from).collect();
    let (mut point, mut at, mut bias, mut is_first) = (128_u32, 0_u32, 72_u32, true);
    let mut digits = encoded.bytes().peekable();
    while digits.peek().is_some() {
        let before = at;
        let mut weight: u32 = 1;
        for step in 1_u32.. {
            let digit = match digits.next()? {
                letter @ b'a'..=b'z' => letter - b'a',
                letter @ b'A'..=b'J' => letter - b'A' + 26,
                _ => return None,
            };
            at = at.checked_add(u32::from(digit).checked_mul(weight)?)?;
            let threshold = (BASE.checked_mul(step)?).saturating_sub(bias).clamp(1, 26);
            if u32::from(digit) < threshold {
                break;
            }
            weight = weight.checked_mul(BASE - threshold)?;
        }
        let len = u32::try_from(points.len()).ok()?.checked_add(1)?;
        let mut delta = (at - before) / if is_first { 700 } else { 2 };
        delta += delta / len;
        bias = 0;
        while delta > 455 {
            delta /= BASE - 1;
            bias += BASE;
        }
        bias += BASE * delta / (delta + 38);
        is_first = false;
        point = point.checked_add(at / len)?;
        at %= len;
        points.insert(at as usize, point);
        at += 1;
    }
    // ASCII characters that no identifier has are written as surrogates, which no text has.
    let plain = |point: u32| if (0xd800..0xd880).contains(&point) { point - 0xd800 } else { point };
    points.into_iter().map(|point| char::from_u32(plain(point))).collect()
}
