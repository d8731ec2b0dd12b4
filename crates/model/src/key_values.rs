//! Sets of key-value pairs: what names a resource.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::encoding::{ENCODED_ANY, ENCODED_VALUE_BYTES};
use crate::{Error, Value, ValueRef, key, limits, reserved};

/// Who gives key values, which decides what they may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A user naming a resource: no reserved key, no wildcard.
    User,
    /// A user writing a pattern (a rule's or an override's key values): the wildcard and the
    /// defined reserved keys are allowed, since patterns match on them.
    Pattern,
    /// A user asking which patterns match (`matching` in a query): defined reserved keys, but no
    /// wildcard.
    Probe,
    /// Willow itself: the same as a pattern.
    Willow,
}

impl Origin {
    fn check(self, key: &str, value: ValueRef<'_>) -> Result<(), Error> {
        let (reserved, any) = match self {
            Self::User => (false, false),
            Self::Probe => (true, false),
            Self::Pattern | Self::Willow => (true, true),
        };
        if key::is_reserved(key) {
            if !reserved {
                let advice = "only Willow sets it; rename it so that it starts otherwise";
                return Err(Error::ReservedKey { key: key.to_owned(), advice });
            }
            reserved::check(key, value)?;
        } else if key.starts_with(key::METADATA_PREFIX) {
            return Err(Error::KeyMetadata { key: key.to_owned() });
        }
        if value == ValueRef::Any && !any {
            return Err(Error::AnyNotAllowed { key: key.to_owned() });
        }
        Ok(())
    }
}

/// A set of key-value pairs with 1–32 pairs of the user's and at most 8 reserved ones.
///
/// It is one shared allocation that holds the canonical encoding: pairs sorted by the bytes of the
/// key, each as
/// ```text
/// key length (1 byte), key, value length (1 byte below 0x80, else 2 bytes with the top bit set), encoded value
/// ```
/// so equality is equality of bytes and a clone costs nothing. Two sets are equal if they have the
/// same keys with values of the same type and data.
#[derive(Clone)]
pub struct KeyValues(Arc<[u8]>);

impl KeyValues {
    /// No pairs: what a thing has that need not have any, such as a queue without labels. It names no resource.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::from([]))
    }

    /// Key values from a user naming a resource.
    ///
    /// # Errors
    /// See [`Builder::build`]; also any reserved key, and the wildcard.
    pub fn user<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: Into<String>,
        V: Into<Value>,
    {
        Self::collect(Origin::User, pairs)
    }

    /// Key values of a rule or an override.
    ///
    /// # Errors
    /// See [`Builder::build`]; also an undefined reserved key.
    pub fn pattern<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: Into<String>,
        V: Into<Value>,
    {
        Self::collect(Origin::Pattern, pairs)
    }

    /// Key values to find the patterns that match them.
    ///
    /// # Errors
    /// See [`Builder::build`]; also an undefined reserved key, and the wildcard.
    pub fn probe<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: Into<String>,
        V: Into<Value>,
    {
        Self::collect(Origin::Probe, pairs)
    }

    /// Key values of the given origin.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn collect<K, V>(origin: Origin, pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: Into<String>,
        V: Into<Value>,
    {
        let mut builder = Self::builder(origin);
        for (key, value) in pairs {
            builder.push(key, value)?;
        }
        builder.build()
    }

    /// Starts an empty set.
    #[must_use]
    pub fn builder(origin: Origin) -> Builder {
        Builder { origin, pairs: Vec::new() }
    }

    /// The same pairs and a reserved one, set by Willow. Replaces a value the key already had.
    ///
    /// # Errors
    /// An undefined reserved key, a key that is not reserved, a value of the wrong type.
    pub fn with_reserved(&self, key: &str, value: impl Into<Value>) -> Result<Self, Error> {
        let value = value.into();
        reserved::check(key, value.as_ref())?;
        let mut builder = Self::builder(Origin::Willow);
        for (other, value) in self.iter().filter(|(other, _)| *other != key) {
            builder.push(other, value)?;
        }
        builder.push(key, value)?;
        builder.build()
    }

    /// Checks that they could have come from `origin`.
    ///
    /// # Errors
    /// The first pair that could not.
    pub fn check(&self, origin: Origin) -> Result<(), Error> {
        self.iter().try_for_each(|(key, value)| origin.check(key, value))
    }

    /// The canonical encoding: what is hashed into an id.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a canonical encoding. Structure, order, counts and values are checked; which reserved
    /// keys are defined is not, so that a node can read what a newer one wrote.
    ///
    /// # Errors
    /// [`Error::Encoding`] and others; it never panics.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes;
        let mut last: Option<&str> = None;
        let (mut user, mut reserved) = (0, 0);
        while !rest.is_empty() {
            let (key, value, after) = split_pair(rest)?;
            key::check(key)?;
            if key.starts_with(key::METADATA_PREFIX) {
                return Err(Error::KeyMetadata { key: key.to_owned() });
            }
            if last.is_some_and(|last| last >= key) {
                return Err(Error::encoding("keys are not in order"));
            }
            ValueRef::decode(value)?;
            *(if key::is_reserved(key) { &mut reserved } else { &mut user }) += 1;
            last = Some(key);
            rest = after;
        }
        check_counts(user, reserved)?;
        Ok(Self(bytes.into()))
    }

    /// The pairs, ordered by key.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.encoded_pairs())
    }

    /// The pairs with their values encoded, ordered by key.
    #[must_use]
    pub fn encoded_pairs(&self) -> EncodedPairs<'_> {
        EncodedPairs { rest: &self.0 }
    }

    /// The same pairs with their keys as bytes, which spares reading each key as UTF-8: for matching
    /// many patterns against one set.
    #[must_use]
    pub fn byte_pairs(&self) -> BytePairs<'_> {
        BytePairs { rest: &self.0 }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<ValueRef<'_>> {
        self.get_encoded(key).map(valid_value)
    }

    /// The encoded value of a key.
    #[must_use]
    pub fn get_encoded(&self, key: &str) -> Option<&[u8]> {
        let mut pairs = self.encoded_pairs().skip_while(|(other, _)| *other < key);
        pairs.next().filter(|(other, _)| *other == key).map(|(_, value)| value)
    }

    /// How many pairs are the user's; at least 1.
    #[must_use]
    pub fn user_len(&self) -> usize {
        self.encoded_pairs().filter(|(key, _)| !key::is_reserved(key)).count()
    }

    /// Whether some value is the wildcard.
    #[must_use]
    pub fn contains_any(&self) -> bool {
        self.encoded_pairs().any(|(_, value)| value == ENCODED_ANY)
    }
}

/// Collects pairs for [`KeyValues`].
#[derive(Debug)]
pub struct Builder {
    origin: Origin,
    pairs: Vec<(Box<str>, Value)>,
}

impl Builder {
    /// Adds a pair.
    ///
    /// # Errors
    /// A key or value that is malformed, or that the origin may not set.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Result<(), Error> {
        let (key, value) = (key.into(), value.into());
        // Far too many are refused before they are all collected.
        if self.pairs.len() == limits::PAIRS + limits::RESERVED_PAIRS {
            return Err(Error::TooManyPairs { len: self.pairs.len() + 1 });
        }
        key::check(&key)?;
        self.origin.check(&key, value.as_ref())?;
        value.as_ref().check().map_err(|error| error.at(&key))?;
        self.pairs.push((key.into(), value));
        Ok(())
    }

    /// Checks the whole and encodes it.
    ///
    /// # Errors
    /// [`Error::DuplicateKey`], [`Error::NoPairs`], [`Error::TooManyPairs`],
    /// [`Error::TooManyReserved`].
    pub fn build(mut self) -> Result<KeyValues, Error> {
        let reserved = self.pairs.iter().filter(|(key, _)| key::is_reserved(key)).count();
        check_counts(self.pairs.len() - reserved, reserved)?;
        self.pairs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(twice) = self.pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::DuplicateKey { key: twice[0].0.to_string() });
        }
        let mut out = Vec::new();
        let mut value_bytes = Vec::new();
        for (key, value) in &self.pairs {
            out.push(u8::try_from(key.len()).expect("the key's length was checked"));
            out.extend_from_slice(key.as_bytes());
            value_bytes.clear();
            value.as_ref().encode_into(&mut value_bytes);
            push_length(&mut out, value_bytes.len());
            out.extend_from_slice(&value_bytes);
        }
        Ok(KeyValues(out.into()))
    }
}

fn check_counts(user: usize, reserved: usize) -> Result<(), Error> {
    // A pattern may be about Willow's own keys alone: a limit on a whole queue, say.
    if user + reserved == 0 {
        return Err(Error::NoPairs);
    }
    if user > limits::PAIRS {
        return Err(Error::TooManyPairs { len: user });
    }
    if reserved > limits::RESERVED_PAIRS {
        return Err(Error::TooManyReserved { len: reserved });
    }
    Ok(())
}

const LONG: u8 = 0x80;

fn push_length(out: &mut Vec<u8>, len: usize) {
    const { assert!(ENCODED_VALUE_BYTES < 0x8000, "a value's length fits 15 bits") };
    let [high, low] = u16::try_from(len).expect("the value's length was checked").to_be_bytes();
    if len >= usize::from(LONG) {
        out.push(high | LONG);
    }
    out.push(low);
}

/// Splits `bytes` into the first key, its encoded value, and the rest.
fn split_pair(bytes: &[u8]) -> Result<(&str, &[u8], &[u8]), Error> {
    const CUT: Error = Error::Encoding { reason: "a pair is cut short" };
    let (&key_len, bytes) = bytes.split_first().ok_or(CUT)?;
    let (key, bytes) = bytes.split_at_checked(key_len.into()).ok_or(CUT)?;
    let key = std::str::from_utf8(key).map_err(|_| Error::encoding("a key is not UTF-8"))?;
    let (&first, mut bytes) = bytes.split_first().ok_or(CUT)?;
    let mut value_len = usize::from(first);
    if first & LONG != 0 {
        let (&low, rest) = bytes.split_first().ok_or(CUT)?;
        value_len = usize::from(u16::from_be_bytes([first & !LONG, low]));
        if value_len < usize::from(LONG) {
            return Err(Error::encoding("a length is longer than it need be"));
        }
        bytes = rest;
    }
    let (value, rest) = bytes.split_at_checked(value_len).ok_or(CUT)?;
    Ok((key, value, rest))
}

fn valid_value(bytes: &[u8]) -> ValueRef<'_> {
    ValueRef::decode(bytes).expect("key values hold only encodings that were checked when built")
}

/// Iterator over the pairs of [`KeyValues`].
#[derive(Debug, Clone)]
pub struct Iter<'a>(EncodedPairs<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key, valid_value(value)))
    }
}

/// Iterator over the pairs of [`KeyValues`], with encoded values.
#[derive(Debug, Clone)]
pub struct EncodedPairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for EncodedPairs<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (key, value, rest) =
            split_pair(self.rest).expect("key values hold only pairs that were checked when built");
        self.rest = rest;
        Some((key, value))
    }
}

/// Iterator over the pairs of [`KeyValues`], with the bytes of keys and of encoded values.
#[derive(Debug, Clone)]
pub struct BytePairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for BytePairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&key_len, rest) = self.rest.split_first()?;
        let (key, rest) = rest.split_at_checked(key_len.into())?;
        let (&first, mut rest) = rest.split_first()?;
        let mut value_len = usize::from(first);
        if first & LONG != 0 {
            let (&low, after) = rest.split_first()?;
            value_len = usize::from(u16::from_be_bytes([first & !LONG, low]));
            rest = after;
        }
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.rest = rest;
        Some((key, value))
    }
}

impl<'a> IntoIterator for &'a KeyValues {
    type Item = (&'a str, ValueRef<'a>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for KeyValues {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for KeyValues {}

impl Hash for KeyValues {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// An arbitrary but fixed order: that of the bytes.
impl Ord for KeyValues {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for KeyValues {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for KeyValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}
