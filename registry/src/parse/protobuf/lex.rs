//! Characters -> words, strings and punctuation of the Protobuf language, with line and column of what is wrong.
//!
//! A word is a run of letters, digits, `_`, `-` and `.`, as in the parser of Confluent's registry: names, full names and
//! numbers are all words, and who reads one knows which of them it must be.

use crate::parse::Problem;

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // Editors on some systems put a byte order mark in front.
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0 }
    }

    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Problem {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Problem::new(format!("{what}, at line {line}, column {column}"))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) -> Result<(), Problem> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or("");
            let skipped = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', '\x0b', '\x0c']).len();
            self.at += skipped;
            let rest = rest.get(skipped..).unwrap_or("");
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let end =
                    comment.find("*/").ok_or_else(|| self.wrong("this comment is never closed with */"))?;
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    /// The next character that is no blank; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<char>, Problem> {
        self.blank()?;
        Ok(self.text.get(self.at..).and_then(|rest| rest.chars().next()))
    }

    pub(super) fn eat(&mut self, wanted: char) -> Result<bool, Problem> {
        let found = self.peek()? == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        Ok(found)
    }

    pub(super) fn require(&mut self, wanted: char) -> Result<(), Problem> {
        if self.eat(wanted)? {
            return Ok(());
        }
        let found = self.found()?;
        Err(self.wrong(format_args!("expected '{wanted}' but found {found}")))
    }

    /// What stands here, for a message.
    pub(super) fn found(&mut self) -> Result<String, Problem> {
        Ok(self.peek()?.map_or_else(|| "the end of the text".to_owned(), |found| format!("{found:?}")))
    }

    pub(super) fn word(&mut self) -> Result<&'a str, Problem> {
        self.blank()?;
        let start = self.at;
        while let Some(byte) = self.byte() {
            let sign_of_exponent = byte == b'+' && {
                let before = self.text.get(start..self.at).unwrap_or("");
                before.ends_with(['e', 'E'])
                    && before.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
            };
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') || sign_of_exponent) {
                break;
            }
            self.at += 1;
        }
        match self.text.get(start..self.at) {
            Some(word) if !word.is_empty() => Ok(word),
            _ => {
                let found = self.found()?;
                Err(self.wrong(format_args!("expected a name or a number but found {found}")))
            }
        }
    }

    /// A word that is the name of a declaration.
    pub(super) fn name(&mut self) -> Result<String, Problem> {
        let word = self.word()?;
        let starts_well = !word.starts_with(|c: char| c.is_ascii_digit());
        if starts_well && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Ok(word.to_owned());
        }
        Err(self.wrong(format_args!(
            "{word:?} is no name; use letters, digits and _, and do not start with a digit"
        )))
    }

    /// A word that is a type or a package: names with dots between them.
    pub(super) fn full_name(&mut self) -> Result<String, Problem> {
        let word = self.word()?;
        self.require_full_name(word)?;
        Ok(word.to_owned())
    }

    /// Refuses a word that is no name of a type or package.
    pub(super) fn require_full_name(&self, word: &str) -> Result<(), Problem> {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(|c: char| c.is_ascii_digit())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if word.strip_prefix('.').unwrap_or(word).split('.').all(part) {
            return Ok(());
        }
        Err(self.wrong(format_args!("{word:?} is no name of a type or package")))
    }

    /// A whole number in decimal, hexadecimal (`0x`) or octal (`0`) digits.
    pub(super) fn integer(&mut self) -> Result<i32, Problem> {
        let word = self.word()?;
        integer(word).ok_or_else(|| {
            self.wrong(format_args!("{word:?} is no whole number between {} and {}", i32::MIN, i32::MAX))
        })
    }

    /// Text between quotes; several such texts in a row are one.
    pub(super) fn quoted(&mut self) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        loop {
            let quote = match self.peek()? {
                Some(quote @ ('"' | '\'')) => quote,
                _ => {
                    let found = self.found()?;
                    return Err(self.wrong(format_args!("expected text between quotes but found {found}")));
                }
            };
            self.at += 1;
            self.until(quote, &mut bytes)?;
            if !matches!(self.peek()?, Some('"' | '\'')) {
                return Ok(bytes);
            }
        }
    }

    fn until(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), Problem> {
        loop {
            let Some(found) = self.text.get(self.at..).and_then(|rest| rest.chars().next()) else {
                return Err(self.wrong("this text is never closed with a quote"));
            };
            self.at += found.len_utf8();
            if found == quote {
                return Ok(());
            } else if found == '\\' {
                self.escape(bytes)?;
            } else {
                bytes.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), Problem> {
        let Some(found) = self.text.get(self.at..).and_then(|rest| rest.chars().next()) else {
            return Err(self.wrong("this text is never closed with a quote"));
        };
        self.at += found.len_utf8();
        match found {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            'x' | 'X' => bytes.push((self.digits(16, 2)? & 0xff) as u8),
            '0'..='7' => {
                self.at -= 1;
                bytes.push((self.digits(8, 3)? & 0xff) as u8);
            }
            'u' | 'U' => {
                let code = self.digits(16, if found == 'u' { 4 } else { 8 })?;
                let c = char::from_u32(code).ok_or_else(|| self.wrong("this escape names no character"))?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        Ok(())
    }

    fn digits(&mut self, radix: u32, most: usize) -> Result<u32, Problem> {
        let mut value = 0u32;
        let mut read = 0;
        while read < most {
            let Some(digit) = self.byte().and_then(|byte| char::from(byte).to_digit(radix)) else { break };
            value = value.wrapping_mul(radix).wrapping_add(digit);
            self.at += 1;
            read += 1;
        }
        if read == 0 {
            return Err(self.wrong("expected a digit after this \\ and its letter"));
        }
        Ok(value)
    }
}

fn integer(word: &str) -> Option<i32> {
    let (negative, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
    let magnitude = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        i64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8)
    } else {
        digits.parse::<i64>()
    };
    // A second sign is not a digit.
    let magnitude = magnitude.ok().filter(|_| !digits.contains(['-', '+']))?;
    i32::try_from(if negative { -magnitude } else { magnitude }).ok()
}
