//! Typed values and their total order.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::number::NumberKey;
use crate::{Error, F32, F64, limits};

/// A value: its type *and* its data. `4:u8` and `4:i64` are different values.
///
/// `Ord` is the total order of every index and sort: bool < numbers < string < any; numbers by
/// exact mathematical value whatever their type, ties by type in the order of [`ValueType`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A boolean.
    Bool(bool),
    /// An unsigned 8-bit integer.
    U8(u8),
    /// An unsigned 16-bit integer.
    U16(u16),
    /// An unsigned 32-bit integer.
    U32(u32),
    /// An unsigned 64-bit integer.
    U64(u64),
    /// A signed 8-bit integer.
    I8(i8),
    /// A signed 16-bit integer.
    I16(i16),
    /// A signed 32-bit integer.
    I32(i32),
    /// A signed 64-bit integer: what a bare JSON integer is.
    I64(i64),
    /// A finite 32-bit float.
    F32(F32),
    /// A finite 64-bit float: what a bare JSON float is.
    F64(F64),
    /// A string of at most [`limits::VALUE_STRING_BYTES`] bytes. The bound is checked where the
    /// value enters key values or a query, and by [`Value::string`].
    String(Box<str>),
    /// The wildcard of a pattern.
    Any,
}

/// A [`Value`] that borrows its string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueRef<'a> {
    /// A boolean.
    Bool(bool),
    /// An unsigned 8-bit integer.
    U8(u8),
    /// An unsigned 16-bit integer.
    U16(u16),
    /// An unsigned 32-bit integer.
    U32(u32),
    /// An unsigned 64-bit integer.
    U64(u64),
    /// A signed 8-bit integer.
    I8(i8),
    /// A signed 16-bit integer.
    I16(i16),
    /// A signed 32-bit integer.
    I32(i32),
    /// A signed 64-bit integer.
    I64(i64),
    /// A finite 32-bit float.
    F32(F32),
    /// A finite 64-bit float.
    F64(F64),
    /// A string.
    String(&'a str),
    /// The wildcard of a pattern.
    Any,
}

/// The type of a value. The order of the numeric types breaks ties between equal numbers; their
/// discriminants are bytes of the encoding and must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ValueType {
    /// `bool`
    Bool = 0,
    /// `u8`
    U8 = 1,
    /// `u16`
    U16 = 2,
    /// `u32`
    U32 = 3,
    /// `u64`
    U64 = 4,
    /// `i8`
    I8 = 5,
    /// `i16`
    I16 = 6,
    /// `i32`
    I32 = 7,
    /// `i64`
    I64 = 8,
    /// `f32`
    F32 = 9,
    /// `f64`
    F64 = 10,
    /// `string`
    String = 11,
    /// `any`
    Any = 12,
}

/// What a query compares within: numbers of all types are one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Booleans.
    Bool,
    /// Numbers of every type.
    Number,
    /// Strings.
    String,
    /// The wildcard.
    Any,
}

impl ValueType {
    /// Every type, in order.
    pub const ALL: [Self; 13] = [
        Self::Bool,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F32,
        Self::F64,
        Self::String,
        Self::Any,
    ];

    /// The names of [`ValueType::ALL`].
    pub const NAMES: [&'static str; 13] =
        ["bool", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "string", "any"];

    /// Its name in JSON and text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Its class.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Bool => Class::Bool,
            Self::String => Class::String,
            Self::Any => Class::Any,
            Self::U8
            | Self::U16
            | Self::U32
            | Self::U64
            | Self::I8
            | Self::I16
            | Self::I32
            | Self::I64
            | Self::F32
            | Self::F64 => Class::Number,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ValueType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|candidate| candidate.name() == name);
        found.ok_or_else(|| Error::UnknownType { name: name.chars().take(40).collect() })
    }
}

impl Value {
    /// A string value.
    ///
    /// # Errors
    /// [`Error::StringTooLong`].
    pub fn string(text: impl Into<Box<str>>) -> Result<Self, Error> {
        let value = Self::String(text.into());
        value.as_ref().check()?;
        Ok(value)
    }

    /// An `f64` value; `-0.0` becomes `0.0`.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn f64(number: f64) -> Result<Self, Error> {
        Ok(Self::F64(F64::new(number)?))
    }

    /// An `f32` value; `-0.0` becomes `0.0`.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn f32(number: f32) -> Result<Self, Error> {
        Ok(Self::F32(F32::new(number)?))
    }

    /// The same value, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Bool(v) => ValueRef::Bool(*v),
            Self::U8(v) => ValueRef::U8(*v),
            Self::U16(v) => ValueRef::U16(*v),
            Self::U32(v) => ValueRef::U32(*v),
            Self::U64(v) => ValueRef::U64(*v),
            Self::I8(v) => ValueRef::I8(*v),
            Self::I16(v) => ValueRef::I16(*v),
            Self::I32(v) => ValueRef::I32(*v),
            Self::I64(v) => ValueRef::I64(*v),
            Self::F32(v) => ValueRef::F32(*v),
            Self::F64(v) => ValueRef::F64(*v),
            Self::String(v) => ValueRef::String(v),
            Self::Any => ValueRef::Any,
        }
    }

    /// Its type.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        self.as_ref().value_type()
    }

    /// Its canonical, order-preserving encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.as_ref().encode()
    }
}

impl<'a> ValueRef<'a> {
    /// The same value, owned.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::Bool(v) => Value::Bool(v),
            Self::U8(v) => Value::U8(v),
            Self::U16(v) => Value::U16(v),
            Self::U32(v) => Value::U32(v),
            Self::U64(v) => Value::U64(v),
            Self::I8(v) => Value::I8(v),
            Self::I16(v) => Value::I16(v),
            Self::I32(v) => Value::I32(v),
            Self::I64(v) => Value::I64(v),
            Self::F32(v) => Value::F32(v),
            Self::F64(v) => Value::F64(v),
            Self::String(v) => Value::String(v.into()),
            Self::Any => Value::Any,
        }
    }

    /// Its type.
    #[must_use]
    pub fn value_type(self) -> ValueType {
        match self {
            Self::Bool(_) => ValueType::Bool,
            Self::U8(_) => ValueType::U8,
            Self::U16(_) => ValueType::U16,
            Self::U32(_) => ValueType::U32,
            Self::U64(_) => ValueType::U64,
            Self::I8(_) => ValueType::I8,
            Self::I16(_) => ValueType::I16,
            Self::I32(_) => ValueType::I32,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
            Self::String(_) => ValueType::String,
            Self::Any => ValueType::Any,
        }
    }

    /// Its class.
    #[must_use]
    pub fn class(self) -> Class {
        self.value_type().class()
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// Compares by class and exact mathematical value, ignoring the numeric type: `4:u8` equals
    /// `4:i64`. `None` for values of different classes.
    #[must_use]
    pub fn compare_in_class(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(&b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Any, Self::Any) => Some(Ordering::Equal),
            (a, b) => Some(NumberKey::of(a)?.cmp(&NumberKey::of(b)?)),
        }
    }

    /// Refuses a string that is too long.
    ///
    /// # Errors
    /// [`Error::StringTooLong`].
    pub fn check(self) -> Result<(), Error> {
        match self {
            Self::String(text) if text.len() > limits::VALUE_STRING_BYTES => {
                Err(Error::StringTooLong { len: text.len() })
            }
            _ => Ok(()),
        }
    }
}

impl Ord for ValueRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.compare_in_class(*other) {
            Some(order) => order.then_with(|| self.value_type().cmp(&other.value_type())),
            None => self.class().cmp(&other.class()),
        }
    }
}

impl PartialOrd for ValueRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        value.as_ref()
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        value.to_value()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

value_from! {
    bool => Bool, u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64, F32 => F32, F64 => F64,
}

/// Shows the value in the text form of [`crate::text`], with `*` for the wildcard.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}
