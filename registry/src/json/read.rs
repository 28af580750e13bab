//! Text -> [`Json`], with line and column of what is wrong.

use super::{Json, MAX_DEPTH, Number, Object};
use std::fmt;

/// What is accepted beyond JSON's grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// Nothing.
    Strict,
    /// `/* */` and `//` between tokens, as Apache Avro's parser accepts them.
    Comments,
}

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    what: String,
    line: usize,
    column: usize,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {}, column {}", self.what, self.line, self.column)
    }
}

impl std::error::Error for Error {}

/// Reads one value and nothing behind it.
pub fn read(text: &str, syntax: Syntax) -> Result<Json, Error> {
    let mut reader = Reader { text, at: 0, syntax };
    reader.blank()?;
    let value = reader.value(0)?;
    reader.blank()?;
    if reader.at < text.len() {
        return Err(reader.wrong("something follows the end of the document"));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    syntax: Syntax,
}

impl Reader<'_> {
    fn wrong(&self, what: impl Into<String>) -> Error {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Error { what: what.into(), line, column }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Past white space and, where they are accepted, comments.
    fn blank(&mut self) -> Result<(), Error> {
        loop {
            while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
                self.at += 1;
            }
            let rest = &self.text[self.at..];
            if self.syntax != Syntax::Comments || !rest.starts_with("/") {
                return Ok(());
            }
            let length = match rest.as_bytes().get(1) {
                Some(b'/') => rest.find('\n').unwrap_or(rest.len()),
                Some(b'*') => rest.find("*/").ok_or_else(|| self.wrong("a comment without an end"))? + 2,
                _ => return Ok(()),
            };
            self.at += length;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, Error> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(format!("more than {MAX_DEPTH} arrays and objects inside each other")));
        }
        match self.peek() {
            None => Err(self.wrong("the document ends where a value should be")),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?.into())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => {
                for (word, value) in
                    [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)]
                {
                    let rest = &self.text[self.at..];
                    let is_word = rest.starts_with(word)
                        && !rest[word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
                    if is_word {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                let found: String = self.text[self.at..].chars().take(10).collect();
                Err(self.wrong(format!("{found:?} is no value: a string needs double quotes")))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Error> {
        self.at += 1;
        let mut members = Object::new();
        self.blank()?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.blank()?;
            if self.peek() != Some(b'"') {
                return Err(self.wrong("the name of a member, in double quotes, should be here"));
            }
            let name = self.string()?;
            self.blank()?;
            if self.peek() != Some(b':') {
                return Err(self.wrong(format!("a colon should follow {name:?}")));
            }
            self.at += 1;
            self.blank()?;
            let value = self.value(depth + 1)?;
            members.insert(name.into(), value);
            self.blank()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                _ => return Err(self.wrong("a comma or the end of the object should be here")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, Error> {
        self.at += 1;
        let mut elements = Vec::new();
        self.blank()?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(elements));
        }
        loop {
            self.blank()?;
            elements.push(self.value(depth + 1)?);
            self.blank()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(elements));
                }
                _ => return Err(self.wrong("a comma or the end of the array should be here")),
            }
        }
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("a digit should be here")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json, Error> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.wrong("a number must not begin with 0"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(Number::from_text(&self.text[start..self.at])))
    }

    fn string(&mut self) -> Result<String, Error> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .ok_or_else(|| self.wrong("a string without an end"))?;
            out.push_str(&rest[..end]);
            self.at += end;
            match rest.as_bytes()[end] {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                _ => {
                    return Err(
                        self.wrong("a control character in a string: write it as \\n, \\t or \\u001f")
                    );
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.wrong("an escape that JSON does not know")),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let high = self.hex()?;
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(code).ok_or_else(|| self.wrong("no character"));
            }
        }
        char::from_u32(high).ok_or_else(|| self.wrong("half of a surrogate pair is no character"))
    }

    /// Reads `\uXXXX`.
    fn hex(&mut self) -> Result<u32, Error> {
        let digits = self.text.get(self.at + 2..self.at + 6).unwrap_or("");
        let is_hex = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match u32::from_str_radix(digits, 16) {
            Ok(code) if is_hex => {
                self.at += 6;
                Ok(code)
            }
            _ => Err(self.wrong("four hexadecimal digits should follow \\u")),
        }
    }
}
