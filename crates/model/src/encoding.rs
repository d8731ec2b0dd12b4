//! The order-preserving byte encoding of values, and byte ranges for comparisons.
//!
//! ```text
//! bool    0x10, 0 or 1
//! number  sign and exponent (2 bytes, 0x37CE–0x4832), fraction (1–9 bytes; none for zero), type byte
//! string  0x80, UTF-8
//! any     0xF0
//! ```
//! `memcmp` order is the total order of [`Value`]. Every value has one encoding. It does not carry
//! its own length: store that beside it.

use crate::number::NumberKey;
use crate::{Class, Error, Value, ValueRef, ValueType, limits};

const TAG_BOOL: u8 = 0x10;
const TAG_NUMBER_FIRST: u8 = 0x20;
const TAG_NUMBER_END: u8 = 0x60;
const TAG_STRING: u8 = 0x80;
const TAG_ANY: u8 = 0xF0;
/// Above every type byte that can follow a number.
const TYPE_END: u8 = 0xFF;

/// Longest encoding of a value, in bytes.
pub const ENCODED_VALUE_BYTES: usize = 1 + limits::VALUE_STRING_BYTES;

impl<'a> ValueRef<'a> {
    /// Its canonical, order-preserving encoding.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Appends its encoding.
    pub fn encode_into(self, out: &mut Vec<u8>) {
        self.encode_untyped_into(out);
        if self.class() == Class::Number {
            out.push(self.value_type() as u8);
        }
    }

    /// Appends its encoding without the type byte of a number: what all values equal to it in
    /// [`ValueRef::compare_in_class`] have in common.
    fn encode_untyped_into(self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(v) => out.extend_from_slice(&[TAG_BOOL, u8::from(v)]),
            Self::String(v) => {
                out.push(TAG_STRING);
                out.extend_from_slice(v.as_bytes());
            }
            Self::Any => out.push(TAG_ANY),
            number => {
                if let Some(key) = NumberKey::of(number) {
                    key.encode(out);
                }
            }
        }
    }

    /// Reads an encoding. Only the canonical one is accepted, and only whole.
    ///
    /// # Errors
    /// [`Error::Encoding`] and [`Error::StringTooLong`]; it never panics.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let value = match bytes {
            [TAG_BOOL, 0] => Self::Bool(false),
            [TAG_BOOL, 1] => Self::Bool(true),
            [TAG_ANY] => Self::Any,
            [TAG_STRING, text @ ..] => {
                Self::String(std::str::from_utf8(text).map_err(|_| Error::encoding("a string is not UTF-8"))?)
            }
            [TAG_NUMBER_FIRST..TAG_NUMBER_END, ..] => {
                let (key, rest) = NumberKey::decode(bytes)?;
                let [type_byte] = rest else {
                    return Err(Error::encoding("a number does not end with its type"));
                };
                let value_type = ValueType::ALL.get(usize::from(*type_byte));
                key.to_value(*value_type.ok_or_else(|| Error::encoding("a type is unknown"))?)?
            }
            _ => return Err(Error::encoding("a value has an unknown tag")),
        };
        value.check()?;
        Ok(value)
    }

    /// The encodings of all values equal to it by class and mathematical value, whatever their
    /// numeric type.
    #[must_use]
    pub fn equal_range(self) -> ByteRange {
        let mut start = Vec::new();
        self.encode_untyped_into(&mut start);
        let mut end = start.clone();
        end.push(if self.class() == Class::Number { TYPE_END } else { 0 });
        ByteRange { start, end }
    }

    /// The encodings of all values of its class less than it.
    #[must_use]
    pub fn less_range(self) -> ByteRange {
        ByteRange { start: self.class().range().start, end: self.equal_range().start }
    }

    /// The encodings of all values of its class less than or equal to it.
    #[must_use]
    pub fn less_or_equal_range(self) -> ByteRange {
        ByteRange { start: self.class().range().start, end: self.equal_range().end }
    }

    /// The encodings of all values of its class greater than it.
    #[must_use]
    pub fn greater_range(self) -> ByteRange {
        ByteRange { start: self.equal_range().end, end: self.class().range().end }
    }

    /// The encodings of all values of its class greater than or equal to it.
    #[must_use]
    pub fn greater_or_equal_range(self) -> ByteRange {
        ByteRange { start: self.equal_range().start, end: self.class().range().end }
    }
}

impl Class {
    /// The encodings of all values of the class.
    #[must_use]
    pub fn range(self) -> ByteRange {
        let (start, end) = match self {
            Self::Bool => (TAG_BOOL, TAG_BOOL + 1),
            Self::Number => (TAG_NUMBER_FIRST, TAG_NUMBER_END),
            Self::String => (TAG_STRING, TAG_STRING + 1),
            Self::Any => (TAG_ANY, TAG_ANY + 1),
        };
        ByteRange { start: vec![start], end: vec![end] }
    }

    /// The class of an encoded value, from its first byte; `None` if it is not one.
    #[must_use]
    pub fn of_encoded(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            TAG_BOOL => Some(Self::Bool),
            TAG_NUMBER_FIRST..TAG_NUMBER_END => Some(Self::Number),
            TAG_STRING => Some(Self::String),
            TAG_ANY => Some(Self::Any),
            _ => None,
        }
    }
}

/// The type of an encoded value, read without decoding it; `None` if it is not one.
#[must_use]
pub fn encoded_type(bytes: &[u8]) -> Option<ValueType> {
    match Class::of_encoded(bytes)? {
        Class::Bool => Some(ValueType::Bool),
        Class::String => Some(ValueType::String),
        Class::Any => Some(ValueType::Any),
        Class::Number => {
            let value_type = *ValueType::ALL.get(usize::from(*bytes.last()?))?;
            (value_type.class() == Class::Number).then_some(value_type)
        }
    }
}

/// A half-open range of encodings, `start <= encoding < end` in `memcmp` order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRange {
    /// The first encoding in it.
    pub start: Vec<u8>,
    /// The first one after it.
    pub end: Vec<u8>,
}

impl ByteRange {
    /// The encodings of all strings that start with `prefix`.
    #[must_use]
    pub fn string_prefix(prefix: &str) -> Self {
        let mut start = Vec::with_capacity(1 + prefix.len());
        ValueRef::String(prefix).encode_untyped_into(&mut start);
        let mut end = start.clone();
        if let Some(last) = end.last_mut() {
            // No byte of UTF-8, nor the tag, is 0xFF.
            *last += 1;
        }
        Self { start, end }
    }

    /// Whether an encoding lies in it.
    #[must_use]
    pub fn contains(&self, encoding: &[u8]) -> bool {
        self.start.as_slice() <= encoding && encoding < self.end.as_slice()
    }

    /// Whether no encoding lies in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// The encoding of the wildcard.
pub const ENCODED_ANY: &[u8] = &[TAG_ANY];

impl TryFrom<&[u8]> for Value {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self, Error> {
        Ok(ValueRef::decode(bytes)?.to_value())
    }
}
