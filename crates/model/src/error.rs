//! What can be wrong with keys, values, names and ids.

use crate::limits;
use crate::value::ValueType;

/// Why something was refused. The message tells the caller what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key of no bytes.
    #[error("a key must not be empty")]
    KeyEmpty,
    /// A key longer than [`limits::KEY_BYTES`].
    #[error("the key has {len} bytes; shorten it to at most {}", limits::KEY_BYTES)]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A key with a control character.
    #[error("the key {key:?} has a control character; remove it")]
    KeyControl {
        /// The key.
        key: String,
    },
    /// A user key that starts with `metadata.`, which addresses channel metadata in queries.
    #[error(
        "the key {key:?} starts with \"metadata.\", which addresses channel metadata in queries; choose another name"
    )]
    KeyMetadata {
        /// The key.
        key: String,
    },
    /// A key that starts with `_`, from someone who may not set it, or that Willow does not define.
    #[error("the key {key:?} starts with \"_\" and so belongs to Willow; {advice}")]
    ReservedKey {
        /// The key.
        key: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// A reserved key with a value of the wrong type.
    #[error("the reserved key {key:?} takes a value of type {expected}, not {found}")]
    ReservedKeyType {
        /// The key.
        key: String,
        /// The type it takes.
        expected: ValueType,
        /// The type it was given.
        found: ValueType,
    },
    /// The same key twice.
    #[error("the key {key:?} is given twice; give each key once")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// No pair at all.
    #[error("key values need at least one pair")]
    NoPairs,
    /// More than [`limits::PAIRS`] user pairs.
    #[error("{len} pairs are too many; give at most {}", limits::PAIRS)]
    TooManyPairs {
        /// How many were given.
        len: usize,
    },
    /// More than [`limits::RESERVED_PAIRS`] reserved pairs.
    #[error("{len} reserved pairs are too many; at most {} fit", limits::RESERVED_PAIRS)]
    TooManyReserved {
        /// How many were given.
        len: usize,
    },
    /// The wildcard where a concrete value is needed.
    #[error(
        "the key {key:?} has the wildcard `any`, which only a pattern (a rule's or an override's key values) may have; give a concrete value"
    )]
    AnyNotAllowed {
        /// The key.
        key: String,
    },
    /// A string value longer than [`limits::VALUE_STRING_BYTES`].
    #[error("the string has {len} bytes; shorten it to at most {}", limits::VALUE_STRING_BYTES)]
    StringTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// NaN or an infinity.
    #[error("NaN and infinities are not values; give a finite number")]
    NotFinite,
    /// A type name that does not exist.
    #[error("{name:?} is not a type; use one of {}", ValueType::NAMES.join(", "))]
    UnknownType {
        /// The name given.
        name: String,
    },
    /// A number that its type cannot hold.
    #[error("{value} does not fit the type {value_type}")]
    OutOfRange {
        /// The number, as given.
        value: String,
        /// The type.
        value_type: ValueType,
    },
    /// A bare JSON number that is neither an `i64` nor safely an `f64`.
    #[error(
        "the number {value} is beyond i64; write {{\"u64\": …}} for an unsigned integer or {{\"f64\": …}} for a float"
    )]
    BareNumber {
        /// The number, as given.
        value: String,
    },
    /// JSON of the wrong shape.
    #[error("expected {expected}, found {found}")]
    Shape {
        /// What belongs here.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// Bytes that are not a canonical encoding.
    #[error("not a canonical encoding: {reason}")]
    Encoding {
        /// What is wrong.
        reason: &'static str,
    },
    /// Text that is not an id.
    #[error("{text:?} is not an id; an id looks like 0190163d-8694-739b-aea5-966c26f8ad91")]
    Id {
        /// The text.
        text: String,
    },
    /// Text that cannot be a name.
    #[error("{name:?} cannot be a name: {reason}")]
    Name {
        /// The text, cut short.
        name: String,
        /// What is wrong and what to do.
        reason: &'static str,
    },
    /// A fault in the text form of key values.
    #[error("at byte {at}: {reason}")]
    Text {
        /// Where, in bytes from the start.
        at: usize,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Another error, about the value of one key.
    #[error("key {key:?}: {error}")]
    At {
        /// The key.
        key: String,
        /// The error.
        error: Box<Self>,
    },
}

impl Error {
    /// The same error, saying which key it is about.
    #[must_use]
    pub fn at(self, key: &str) -> Self {
        Self::At { key: key.to_owned(), error: Box::new(self) }
    }

    /// The error without the keys it was found under.
    #[must_use]
    pub fn root(&self) -> &Self {
        let mut error = self;
        while let Self::At { error: inner, .. } = error {
            error = inner;
        }
        error
    }

    /// Whether it is about a reserved key: the API answers `RESERVED_KEY`.
    #[must_use]
    pub fn is_reserved_key(&self) -> bool {
        matches!(self.root(), Self::ReservedKey { .. } | Self::ReservedKeyType { .. } | Self::TooManyReserved { .. })
    }

    pub(crate) fn encoding(reason: &'static str) -> Self {
        Self::Encoding { reason }
    }
}
