//! The text form of values and key values, for the command line.
//!
//! ```text
//! key values  pairs with white space between them
//! pair        key = value       os=linux
//!             key : type = value      cpu:u8=4
//! key         anything without white space, `=`, `:`, quotes; or in backquotes
//! value       `"…"`, a string; or up to the next white space:
//!             true, false       bool
//!             an integer        i64     (no leading zeros, so 007 is a string)
//!             a decimal         f64     (with a point, so 12e4567, a commit, is a string)
//!             *                 the wildcard, where a pattern is expected; else a string
//!             anything else     string
//! ```
//! Quoted text takes the escapes `\"`, `` \` ``, `\\`, `\n`, `\r`, `\t` and `\u{…}` with the
//! character's hexadecimal number. As one argument of a command line each pair stands alone and its
//! value runs to the end, white space included: the shell took the quotes away.

use std::fmt::{self, Write as _};
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

use crate::{Error, KeyValues, Origin, Value, ValueRef, ValueType};

impl KeyValues {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`Error::Text`] with the place of a fault, and whatever the origin forbids.
    pub fn parse(origin: Origin, text: &str) -> Result<Self, Error> {
        let mut builder = Self::builder(origin);
        let mut at = 0;
        loop {
            at += text[at..].len() - text[at..].trim_start().len();
            if at == text.len() {
                return builder.build();
            }
            let pair = read_pair(&text[at..], origin, Extent::Word);
            let (key, value, len) = pair.map_err(|error| shift(error, at))?;
            builder.push(key, value)?;
            at += len;
        }
    }

    /// Reads the text form from arguments of a command line, one pair each.
    ///
    /// # Errors
    /// As [`KeyValues::parse`]; a place is within its argument.
    pub fn parse_args<A: AsRef<str>>(origin: Origin, args: impl IntoIterator<Item = A>) -> Result<Self, Error> {
        let mut builder = Self::builder(origin);
        for arg in args {
            let (key, value, _) = read_pair(arg.as_ref(), origin, Extent::All)?;
            builder.push(key, value)?;
        }
        builder.build()
    }
}

/// How far an unquoted value goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// To the next white space.
    Word,
    /// To the end.
    All,
}

/// Reads the pair that `text` starts with, and says how long it is.
fn read_pair(text: &str, origin: Origin, extent: Extent) -> Result<(String, Value, usize), Error> {
    let (key, mut at) = read_key(text)?;
    let mut value_type = None;
    if text[at..].starts_with(':') {
        at += 1;
        let name = word(&text[at..], |c| c == '=' || c.is_whitespace());
        let hint = "; a key with \":\" in it goes in backquotes";
        let parsed = ValueType::from_str(name);
        value_type = Some(parsed.map_err(|error| fault(at, format!("{error}{hint}")))?);
        at += name.len();
    }
    if !text[at..].starts_with('=') {
        return Err(fault(at, "expected \"=\" and a value after the key, as in os=linux"));
    }
    at += 1;
    let (value, len) =
        read_value(&text[at..], value_type, origin, extent).map_err(|error| shift(error.at(&key), at))?;
    Ok((key, value, at + len))
}

fn read_key(text: &str) -> Result<(String, usize), Error> {
    if text.starts_with('`') {
        return unquote(text);
    }
    let key = word(text, |c| c.is_whitespace() || "=:`\"".contains(c));
    if key.is_empty() {
        return Err(fault(0, "expected a key; put an unusual one in backquotes"));
    }
    Ok((key.to_owned(), key.len()))
}

fn read_value(
    text: &str,
    value_type: Option<ValueType>,
    origin: Origin,
    extent: Extent,
) -> Result<(Value, usize), Error> {
    let pattern = matches!(origin, Origin::Pattern | Origin::Willow);
    if text.starts_with('"') {
        let (string, len) = unquote(text)?;
        if value_type.is_some_and(|value_type| value_type != ValueType::String) {
            return Err(fault(0, "a quoted value is a string; leave out the quotes or the type"));
        }
        let ends = text[len..].chars().next().is_none_or(char::is_whitespace);
        if !ends || extent == Extent::All && len < text.len() {
            return Err(fault(len, "expected nothing more after the closing quote"));
        }
        return Ok((Value::string(string)?, len));
    }
    let bare = if extent == Extent::All { text } else { word(text, char::is_whitespace) };
    if bare.is_empty() && value_type != Some(ValueType::String) {
        return Err(fault(0, "expected a value; write \"\" for an empty string"));
    }
    let value = match value_type {
        Some(value_type) => Value::parse_as(bare, value_type)?,
        None if bare == "*" && pattern => Value::Any,
        None => infer(bare)?,
    };
    Ok((value, bare.len()))
}

/// The value that unquoted text stands for, where no type is given.
fn infer(text: &str) -> Result<Value, Error> {
    match text {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        _ if is_integer(text) => Value::parse_as(text, ValueType::I64).map_err(|_| {
            let hint = "write :u64= before an unsigned integer, or quotes around a string";
            fault(0, format!("{text} is beyond i64; {hint}"))
        }),
        _ if is_decimal(text) => Value::parse_as(text, ValueType::F64),
        _ => Value::string(text),
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    is_digits(digits) && (digits == "0" || !digits.starts_with('0'))
}

fn is_decimal(text: &str) -> bool {
    let Some((integer, rest)) = text.split_once('.') else {
        return false;
    };
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, exponent),
        None => (rest, "0"),
    };
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    is_integer(integer) && is_digits(fraction) && is_digits(exponent)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Value {
    /// Reads unquoted text as a value of a type.
    ///
    /// # Errors
    /// Text that is not of the type, or does not fit it.
    pub fn parse_as(text: &str, value_type: ValueType) -> Result<Self, Error> {
        fn integer<T: FromStr<Err = ParseIntError>>(text: &str, value_type: ValueType) -> Result<T, Error> {
            let numeric = is_digits(text.strip_prefix('-').unwrap_or(text));
            text.parse().map_err(|error: ParseIntError| match error.kind() {
                IntErrorKind::Empty => shape("an integer", text),
                _ if numeric => Error::OutOfRange { value: text.to_owned(), value_type },
                _ => shape("an integer", text),
            })
        }
        let range = |_| Error::OutOfRange { value: text.to_owned(), value_type };
        Ok(match value_type {
            ValueType::Bool => match text {
                "true" => Self::Bool(true),
                "false" => Self::Bool(false),
                _ => return Err(shape("true or false", text)),
            },
            ValueType::U8 => Self::U8(integer(text, value_type)?),
            ValueType::U16 => Self::U16(integer(text, value_type)?),
            ValueType::U32 => Self::U32(integer(text, value_type)?),
            ValueType::U64 => Self::U64(integer(text, value_type)?),
            ValueType::I8 => Self::I8(integer(text, value_type)?),
            ValueType::I16 => Self::I16(integer(text, value_type)?),
            ValueType::I32 => Self::I32(integer(text, value_type)?),
            ValueType::I64 => Self::I64(integer(text, value_type)?),
            ValueType::F32 => Self::f32(text.parse().map_err(|_| shape("a number", text))?).map_err(range)?,
            ValueType::F64 => Self::f64(text.parse().map_err(|_| shape("a number", text))?).map_err(range)?,
            ValueType::String => Self::string(text)?,
            ValueType::Any if text == "*" => Self::Any,
            ValueType::Any => return Err(shape("*", text)),
        })
    }
}

fn shape(expected: &'static str, found: &str) -> Error {
    Error::Shape { expected, found: format!("{:?}", found.chars().take(40).collect::<String>()) }
}

/// The start of `text` up to the first character that ends it.
fn word(text: &str, end: impl Fn(char) -> bool) -> &str {
    &text[..text.find(end).unwrap_or(text.len())]
}

fn fault(at: usize, reason: impl Into<String>) -> Error {
    Error::Text { at, reason: reason.into() }
}

/// The error, found in text that starts at `by`. What has no place yet gets that one.
fn shift(error: Error, by: usize) -> Error {
    match error {
        Error::Text { at, reason } => Error::Text { at: at + by, reason },
        Error::At { key, error } => match *error {
            Error::Text { at, reason } => fault(at + by, format!("key {key:?}: {reason}")),
            error => error.at(&key),
        },
        error => error,
    }
}

/// Reads the quoted text that `text` starts with, whose first character is the quote: `"` or a
/// backquote. Returns what it stands for and how many bytes it takes, quotes included.
///
/// # Errors
/// [`Error::Text`] for a missing closing quote or an unknown escape.
pub fn unquote(text: &str) -> Result<(String, usize), Error> {
    let mut chars = text.char_indices();
    let quote = chars.next().map_or('"', |(_, quote)| quote);
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((out, at + c.len_utf8())),
            '\\' => {
                let (_, escape) = chars.next().ok_or_else(|| fault(at, "an escape is cut short"))?;
                out.push(match escape {
                    '"' | '`' | '\\' => escape,
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let (c, len) = read_unicode(chars.as_str())
                            .ok_or_else(|| fault(at, "expected \\u{…} with a character's number"))?;
                        for _ in 0..len {
                            chars.next();
                        }
                        c
                    }
                    _ => {
                        let known = "\\\", \\`, \\\\, \\n, \\r, \\t, \\u{…}";
                        return Err(fault(at, format!("unknown escape; there are {known}")));
                    }
                });
            }
            _ => out.push(c),
        }
    }
    Err(fault(0, format!("a closing {quote} is missing")))
}

/// Reads `{…}`, and says how many characters it takes.
fn read_unicode(text: &str) -> Option<(char, usize)> {
    let (hex, _) = text.strip_prefix('{')?.split_once('}')?;
    let plain = hex.len() <= 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = if plain {
        u32::from_str_radix(hex, 16).ok()?
    } else {
        return None;
    };
    Some((char::from_u32(number)?, hex.len() + 2))
}

/// Writes `text` between quotes, so that [`unquote`] reads it back.
///
/// # Errors
/// Only those of `out`.
pub fn quote(out: &mut impl fmt::Write, text: &str, quote: char) -> fmt::Result {
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c if c == quote => write!(out, "\\{quote}")?,
            c if c.is_control() => write!(out, "\\u{{{:x}}}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_char(quote)
}

/// As a literal of the query language: strings in quotes, a number with its type unless that is
/// `i64` or `f64` (`4u8`, `1.5f32`), and `*` for the wildcard.
impl fmt::Display for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => write!(f, "{v}"),
            Self::U8(v) => write!(f, "{v}u8"),
            Self::U16(v) => write!(f, "{v}u16"),
            Self::U32(v) => write!(f, "{v}u32"),
            Self::U64(v) => write!(f, "{v}u64"),
            Self::I8(v) => write!(f, "{v}i8"),
            Self::I16(v) => write!(f, "{v}i16"),
            Self::I32(v) => write!(f, "{v}i32"),
            Self::I64(v) => write!(f, "{v}"),
            Self::F32(v) => write!(f, "{v}f32"),
            Self::F64(v) => write!(f, "{v}"),
            Self::String(v) => quote(f, v, '"'),
            Self::Any => f.write_char('*'),
        }
    }
}

/// In the text form: [`KeyValues::parse`] with the pairs' own origin reads it back, or
/// [`Origin::Pattern`] if there is a wildcard.
impl fmt::Display for KeyValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            write_pair(f, key, value)?;
        }
        Ok(())
    }
}

fn write_pair(f: &mut fmt::Formatter<'_>, key: &str, value: ValueRef<'_>) -> fmt::Result {
    if read_key(key).is_ok_and(|(read, len)| len == key.len() && read == key) {
        f.write_str(key)?;
    } else {
        quote(f, key, '`')?;
    }
    let bare = match value {
        ValueRef::String(text) => text.to_owned(),
        ValueRef::F32(v) => v.to_string(),
        ValueRef::F64(v) => v.to_string(),
        other => {
            let literal = other.to_string();
            literal.strip_suffix(other.value_type().name()).unwrap_or(&literal).to_owned()
        }
    };
    let odd = |c: char| c.is_whitespace() || c.is_control();
    match value {
        ValueRef::Any => f.write_str("=*"),
        ValueRef::String(text) => {
            f.write_char('=')?;
            let same = infer(&bare).is_ok_and(|value| value.as_ref() == ValueRef::String(text));
            let plain = same && !bare.is_empty() && bare != "*" && !bare.starts_with('"');
            if plain && !bare.contains(odd) { f.write_str(&bare) } else { quote(f, text, '"') }
        }
        _ if infer(&bare).is_ok_and(|inferred| inferred.as_ref() == value) => write!(f, "={bare}"),
        _ => write!(f, ":{}={bare}", value.value_type()),
    }
}
