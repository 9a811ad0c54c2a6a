//! Reads EDN, the notation of Clojure's data, one row after another.
//!
//! A file is either rows one after another or one vector or list of rows. The reader holds one row at a time. It keeps its
//! own stack, and refuses what is nested deeper than [`DEPTH_MAX`], so no input overflows the program's stack, here or
//! where values are dropped or compared. Tags, metadata and discarded forms (`#inst`, `^{…}`, `#_`) are left out: what
//! they stand before, or what stands after them, is read.
//!
//! Left out: reader conditionals and whatever else is code and not data.

use std::fmt;
use std::io::{self, BufRead};

/// Deepest nesting that is read. Histories of real tests have fewer than ten levels.
pub const DEPTH_MAX: usize = 128;

/// Longest text, number or name in bytes.
pub const TOKEN_BYTES_MAX: usize = 1 << 20;

/// Most values in one row.
pub const ROW_VALUES_MAX: usize = 1 << 20;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edn {
    /// `nil`.
    Nil,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A text.
    Text(String),
    /// A keyword without its colon.
    Keyword(String),
    /// Anything else as it is written: a larger number, a decimal, a ratio, a symbol, a character.
    Other(String),
    /// A vector, a list or a set.
    List(Vec<Edn>),
    /// A map, in the order of the file.
    Map(Vec<(Edn, Edn)>),
}

impl Edn {
    /// The value under a keyword, if this is a map that has it.
    pub fn get(&self, keyword: &str) -> Option<&Edn> {
        let Self::Map(pairs) = self else {
            return None;
        };
        let of_name = |key: &Edn| matches!(key, Self::Keyword(name) if name == keyword);
        pairs.iter().find(|(key, _)| of_name(key)).map(|(_, value)| value)
    }
}

/// As it is written, but for spaces.
impl fmt::Display for Edn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(truth) => truth.fmt(f),
            Self::Int(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Keyword(name) => write!(f, ":{name}"),
            Self::Other(text) => f.write_str(text),
            Self::List(list) => {
                f.write_str("[")?;
                for (place, value) in list.iter().enumerate() {
                    if place > 0 {
                        f.write_str(" ")?;
                    }
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Map(pairs) => {
                f.write_str("{")?;
                for (place, (key, value)) in pairs.iter().enumerate() {
                    if place > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{key} {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A place in a file, both counted from 1; columns in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a row cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EdnError {
    /// The source failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// What is there is not EDN.
    #[error("{what}")]
    Syntax {
        /// Where.
        at: Position,
        /// What was expected and what is there.
        what: String,
    },
}

fn syntax<T>(at: Position, what: impl Into<String>) -> Result<T, EdnError> {
    Err(EdnError::Syntax { at, what: what.into() })
}

/// Reads rows.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    at: Position,
    /// What closes the vector or list around all rows, and where it was opened.
    around: Option<(u8, Position)>,
    has_begun: bool,
}

/// A form that has begun and waits for what is in it.
enum Open {
    List {
        close: u8,
        at: Position,
        items: Vec<Edn>,
    },
    Map {
        at: Position,
        items: Vec<Edn>,
    },
    /// The next form is left out.
    Discard {
        at: Position,
    },
    /// The next form is read as if the tag were not there.
    Tag {
        at: Position,
    },
}

impl<R: BufRead> Reader<R> {
    /// Reads from the beginning of a file.
    pub fn new(source: R) -> Self {
        Self::at(source, Position { line: 1, column: 1 })
    }

    /// Reads from the middle of a file.
    pub fn at(source: R, at: Position) -> Self {
        Self {
            source,
            at,
            around: None,
            has_begun: false,
        }
    }

    /// The next row and where it begins; none at the end.
    pub fn next_row(&mut self) -> Result<Option<(Position, Edn)>, EdnError> {
        if !self.has_begun {
            self.has_begun = true;
            self.enter()?;
        }
        self.skip()?;
        let at = self.at;
        match (self.peek()?, self.around) {
            (None, None) => Ok(None),
            (None, Some((close, opened))) => syntax(
                at,
                format!(
                    "the file ends before the {:?} that closes what was opened at {opened}",
                    char::from(close)
                ),
            ),
            (Some(byte), Some((close, _))) if byte == close => {
                self.next()?;
                self.around = None;
                self.skip()?;
                match self.peek()? {
                    None => Ok(None),
                    Some(_) => syntax(self.at, "expected the end of the file after the list of all rows"),
                }
            }
            _ => match self.form()? {
                Some(row) => Ok(Some((at, row))),
                // Only discarded forms stood here, and the rows end behind them.
                None => self.next_row(),
            },
        }
    }

    /// A form: a value, or none if only discarded ones were left.
    pub fn next_form(&mut self) -> Result<Option<Edn>, EdnError> {
        self.skip()?;
        match self.peek()? {
            None => Ok(None),
            Some(_) => self.form(),
        }
    }

    /// Goes into the vector or list of all rows, if there is one. Tags before it are passed over.
    fn enter(&mut self) -> Result<(), EdnError> {
        // A byte order mark.
        if self.source.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            self.source.consume(3);
        }
        self.skip()?;
        let at = self.at;
        let close = match self.peek()? {
            Some(b'[') => b']',
            Some(b'(') => b')',
            _ => return Ok(()),
        };
        self.next()?;
        self.around = Some((close, at));
        Ok(())
    }

    /// Reads one form. None if the file, or what is around the rows, ends after discarded forms.
    fn form(&mut self) -> Result<Option<Edn>, EdnError> {
        let mut open: Vec<Open> = Vec::new();
        let mut values = 0usize;
        let begun = self.at;
        let mut discarded = false;
        loop {
            self.skip()?;
            let at = self.at;
            let Some(byte) = self.peek()? else {
                return match open.last() {
                    None if discarded => Ok(None),
                    None => syntax(at, "expected a value, found the end of the file"),
                    Some(one) => syntax(at, format!("the file ends within what began at {}", one.at())),
                };
            };
            values += 1;
            if values > ROW_VALUES_MAX {
                return syntax(
                    at,
                    format!("more than {ROW_VALUES_MAX} values in what began at {begun}"),
                );
            }
            if open.is_empty() && discarded && self.around.is_some_and(|(close, _)| close == byte) {
                return Ok(None);
            }
            if open.len() > DEPTH_MAX {
                return syntax(at, format!("nested more than {DEPTH_MAX} levels deep"));
            }
            let value = match byte {
                b'(' | b'[' => {
                    self.next()?;
                    let close = if byte == b'(' { b')' } else { b']' };
                    open.push(Open::List {
                        close,
                        at,
                        items: Vec::new(),
                    });
                    continue;
                }
                b'{' => {
                    self.next()?;
                    open.push(Open::Map { at, items: Vec::new() });
                    continue;
                }
                b'^' => {
                    self.next()?;
                    open.push(Open::Discard { at });
                    continue;
                }
                b'\'' => {
                    self.next()?;
                    continue;
                }
                b')' | b']' | b'}' => {
                    self.next()?;
                    close(&mut open, byte, at)?
                }
                b'"' => Edn::Text(self.text()?),
                b'#' => match self.dispatch(&mut open)? {
                    Some(value) => value,
                    None => continue,
                },
                b'\\' => Edn::Other(self.character()?),
                _ => atom(&self.token()?, at)?,
            };
            // Where does the value belong?
            loop {
                match open.last_mut() {
                    None => return Ok(Some(value)),
                    Some(Open::Tag { .. }) => {
                        open.pop();
                        continue;
                    }
                    Some(Open::Discard { .. }) => {
                        open.pop();
                        discarded = true;
                    }
                    Some(Open::List { items, .. } | Open::Map { items, .. }) => items.push(value),
                }
                break;
            }
        }
    }

    /// What begins with `#`. None if it is not a value by itself.
    fn dispatch(&mut self, open: &mut Vec<Open>) -> Result<Option<Edn>, EdnError> {
        let at = self.at;
        self.next()?;
        match self.peek()? {
            Some(b'{') => {
                self.next()?;
                open.push(Open::List {
                    close: b'}',
                    at,
                    items: Vec::new(),
                });
                Ok(None)
            }
            Some(b'_') => {
                self.next()?;
                open.push(Open::Discard { at });
                Ok(None)
            }
            Some(b'"') => Ok(Some(Edn::Text(self.text()?))),
            Some(b'#') => {
                self.next()?;
                Ok(Some(Edn::Other(format!("##{}", self.token()?))))
            }
            Some(b'\'' | b'^') => {
                if self.next()? == Some(b'^') {
                    open.push(Open::Discard { at });
                }
                Ok(None)
            }
            Some(byte) if byte == b':' || byte.is_ascii_alphabetic() => {
                self.token()?;
                open.push(Open::Tag { at });
                Ok(None)
            }
            _ => syntax(at, "expected a tag, a set or a discarded form after #"),
        }
    }

    /// A text in quotes.
    fn text(&mut self) -> Result<String, EdnError> {
        let at = self.at;
        self.next()?;
        let mut bytes = Vec::new();
        loop {
            if bytes.len() > TOKEN_BYTES_MAX {
                return syntax(at, format!("a text of more than {TOKEN_BYTES_MAX} bytes"));
            }
            match self.next()? {
                None => return syntax(self.at, format!("the file ends within the text that began at {at}")),
                Some(b'"') => break,
                Some(b'\\') => {
                    let escape = self.at;
                    match self.next()? {
                        Some(b'n') => bytes.push(b'\n'),
                        Some(b't') => bytes.push(b'\t'),
                        Some(b'r') => bytes.push(b'\r'),
                        Some(b'b') => bytes.push(8),
                        Some(b'f') => bytes.push(12),
                        Some(b'u') => {
                            let mut digits = String::new();
                            for _ in 0..4 {
                                digits.extend(self.next()?.map(char::from));
                            }
                            let code = u32::from_str_radix(&digits, 16).ok();
                            // Half of a pair says nothing by itself.
                            let Some(code) = code else {
                                return syntax(escape, format!("expected four hexadecimal digits, found {digits:?}"));
                            };
                            let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                            bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                        }
                        Some(other) => bytes.push(other),
                        None => {}
                    }
                }
                Some(byte) => bytes.push(byte),
            }
        }
        utf8(bytes, at)
    }

    /// `\a`, `\newline`, `\(`.
    fn character(&mut self) -> Result<String, EdnError> {
        let at = self.at;
        let mut bytes: Vec<u8> = self.next()?.into_iter().collect();
        match self.next()? {
            Some(byte) => bytes.push(byte),
            None => return syntax(at, "the file ends within a character"),
        }
        while let Some(byte) = self.peek()?
            && !ends_token(byte)
            && bytes.len() < 16
        {
            bytes.push(byte);
            self.next()?;
        }
        utf8(bytes, at)
    }

    /// What stands until the next space or bracket.
    fn token(&mut self) -> Result<String, EdnError> {
        let at = self.at;
        let mut bytes = Vec::new();
        while let Some(byte) = self.peek()?
            && !ends_token(byte)
        {
            if bytes.len() >= TOKEN_BYTES_MAX {
                return syntax(at, format!("a name of more than {TOKEN_BYTES_MAX} bytes"));
            }
            bytes.push(byte);
            self.next()?;
        }
        utf8(bytes, at)
    }

    /// Passes over spaces, commas and comments.
    fn skip(&mut self) -> Result<(), EdnError> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' | b',') => {
                    self.next()?;
                }
                Some(b';') => while !matches!(self.next()?, None | Some(b'\n')) {},
                _ => return Ok(()),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, EdnError> {
        Ok(self.source.fill_buf()?.first().copied())
    }

    fn next(&mut self) -> Result<Option<u8>, EdnError> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.source.consume(1);
            if byte == b'\n' {
                self.at.line += 1;
                self.at.column = 1;
            } else {
                self.at.column += 1;
            }
        }
        Ok(byte)
    }
}

impl Open {
    fn at(&self) -> Position {
        match self {
            Self::List { at, .. } | Self::Map { at, .. } | Self::Discard { at } | Self::Tag { at } => *at,
        }
    }
}

/// The value that the bracket `byte` completes.
fn close(open: &mut Vec<Open>, byte: u8, at: Position) -> Result<Edn, EdnError> {
    let found = char::from(byte);
    match open.pop() {
        Some(Open::List { close, items, .. }) if close == byte => Ok(Edn::List(items)),
        Some(Open::Map { items, at: begun }) if byte == b'}' => {
            if items.len() % 2 == 1 {
                return syntax(at, format!("the map that began at {begun} has a key without a value"));
            }
            let mut items = items.into_iter();
            let mut pairs = Vec::with_capacity(items.len() / 2);
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Ok(Edn::Map(pairs))
        }
        Some(Open::List { close, at: begun, .. }) => {
            let expected = char::from(close);
            syntax(
                at,
                format!("expected {expected:?} for what began at {begun}, found {found:?}"),
            )
        }
        Some(Open::Map { at: begun, .. }) => syntax(
            at,
            format!("expected '}}' for the map that began at {begun}, found {found:?}"),
        ),
        Some(Open::Discard { at: begun } | Open::Tag { at: begun }) => syntax(
            at,
            format!("expected a form after what stands at {begun}, found {found:?}"),
        ),
        None => syntax(at, format!("found {found:?}, and nothing is open")),
    }
}

/// A number, a keyword or a symbol.
fn atom(token: &str, at: Position) -> Result<Edn, EdnError> {
    Ok(match token {
        "" => return syntax(at, "expected a value"),
        "nil" => Edn::Nil,
        "true" => Edn::Bool(true),
        "false" => Edn::Bool(false),
        _ => match token.strip_prefix(':') {
            Some("") => return syntax(at, "a keyword without a name"),
            Some(name) => Edn::Keyword(name.to_owned()),
            // An arbitrary-precision number that fits is the same number.
            None => match token.strip_suffix('N').unwrap_or(token).parse() {
                Ok(number) => Edn::Int(number),
                Err(_) => Edn::Other(token.to_owned()),
            },
        },
    })
}

fn ends_token(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' | b',' | b';' | b'"' | b'(' | b')' | b'[' | b']' | b'{' | b'}'
    )
}

fn utf8(bytes: Vec<u8>, at: Position) -> Result<String, EdnError> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => syntax(at, "bytes that are not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<String>, String> {
        let mut reader = Reader::new(text.as_bytes());
        let mut rows = Vec::new();
        loop {
            match reader.next_row() {
                Ok(Some((_, row))) => rows.push(row.to_string()),
                Ok(None) => return Ok(rows),
                Err(EdnError::Syntax { at, what }) => return Err(format!("{at}: {what}")),
                Err(EdnError::Io(error)) => return Err(error.to_string()),
            }
        }
    }

    #[test]
    fn rows_stand_alone_or_in_one_vector_or_list() {
        let expected = Ok(vec!["{:a 1}".to_owned(), "{:b [1 nil]}".to_owned()]);
        for text in [
            "{:a 1}\n{:b [1 nil]}\n",
            "[{:a 1} {:b (1, nil)}]",
            "; first\n({:a 1}\n ; between\n {:b [1 #_ {:x 2} nil]})\n; last",
        ] {
            assert_eq!(rows(text), expected, "{text}");
        }
        assert_eq!(rows(""), Ok(Vec::new()));
        assert_eq!(rows("[]"), Ok(Vec::new()));
        assert_eq!(rows("[{:a 1} #_ {:b 2}]"), Ok(vec!["{:a 1}".to_owned()]));
        assert_eq!(rows("#_ {:b 2}"), Ok(Vec::new()));
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let text = r##"{:k "a\n\u0041\"" -3 +4 12345678901234567890 1.5 7N 1/2 sym \a}
            #jepsen.history.Op{:f :x/y, :s #{1 2}} ^{:m 1} [#inst "2020" ##NaN 'q true false \newline #"re" #:n{:a 1}]"##;
        assert_eq!(
            rows(text).expect("reads"),
            [
                r#"{:k "a\nA\"", -3 4, 12345678901234567890 1.5, 7 1/2, sym \a}"#,
                "{:f :x/y, :s [1 2]}",
                r#"["2020" ##NaN q true false \newline "re" {:a 1}]"#,
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_column() {
        for (text, expected) in [
            (
                "[{:a 1}\n {:b 2)",
                "2:7: expected '}' for the map that began at 2:2, found ')'",
            ),
            (
                "[{:a 1}",
                "1:8: the file ends before the ']' that closes what was opened at 1:1",
            ),
            ("{:a", "1:4: the file ends within what began at 1:1"),
            ("{:a}", "1:4: the map that began at 1:1 has a key without a value"),
            ("{:a \"x", "1:7: the file ends within the text that began at 1:5"),
            ("[1] 2", "1:5: expected the end of the file after the list of all rows"),
            (
                "{:a \"\\uZZZZ\"}",
                "1:7: expected four hexadecimal digits, found \"ZZZZ\"",
            ),
            ("}", "1:1: found '}', and nothing is open"),
            ("{:a : }", "1:5: a keyword without a name"),
            ("# 1", "1:1: expected a tag, a set or a discarded form after #"),
            ("{:a #_ }", "1:8: expected a form after what stands at 1:5, found '}'"),
        ] {
            assert_eq!(rows(text), Err(expected.to_owned()), "{text}");
        }
        assert!(rows("{:a \u{e9}}").is_ok());
        let mut reader = Reader::new(&b"{:a \xff}"[..]);
        assert!(matches!(reader.next_row(), Err(EdnError::Syntax { .. })));
    }

    #[test]
    fn hostile_nesting_and_length_are_refused() {
        for opening in ["[", "(", "{:a ", "#{", "#t ", "#_ ", "^"] {
            let error = rows(&opening.repeat(1_000_000)).expect_err("too deep");
            assert!(error.contains("nested more than 128 levels"), "{opening}: {error}");
        }
        let long = format!("{{:a {}}}", "1 ".repeat(ROW_VALUES_MAX + 1));
        assert!(rows(&long).expect_err("too many").contains("more than 1048576 values"));
        let long = format!("{{:a \"{}\"}}", "x".repeat(TOKEN_BYTES_MAX + 2));
        assert!(rows(&long).expect_err("too long").contains("a text of more than"));
    }
}
