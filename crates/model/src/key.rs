//! Keys.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, limits};

/// What keys of channel metadata are addressed by in queries: `metadata.<key>`.
pub const METADATA_PREFIX: &str = "metadata.";

/// What keys that belong to Willow start with.
pub const RESERVED_PREFIX: char = '_';

/// A key that a query may name: a pair's key, or `metadata.` and a metadata key.
///
/// A key is UTF-8 of 1–128 bytes without control characters: keys appear in logs, terminals and
/// URLs, where a control character is at best invisible. Everything else, spaces included, is
/// allowed and compared byte by byte; there is no normalization.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// Checks and wraps a key as a query may name it. What a *pair* may be keyed by is narrower:
    /// see [`crate::Origin`].
    ///
    /// # Errors
    /// [`Error::KeyEmpty`], [`Error::KeyTooLong`], [`Error::KeyControl`].
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, Error> {
        let text = text.into();
        check(text.strip_prefix(METADATA_PREFIX).unwrap_or(&text))?;
        Ok(Self(text))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it belongs to Willow.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }

    /// The metadata key, if it addresses channel metadata.
    #[must_use]
    pub fn metadata_key(&self) -> Option<&str> {
        self.0.strip_prefix(METADATA_PREFIX)
    }
}

/// Whether a key belongs to Willow.
#[must_use]
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED_PREFIX)
}

/// Checks length and characters.
pub(crate) fn check(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::KeyEmpty);
    }
    if key.len() > limits::KEY_BYTES {
        return Err(Error::KeyTooLong { len: key.len() });
    }
    if key.chars().any(char::is_control) {
        return Err(Error::KeyControl { key: key.to_owned() });
    }
    Ok(())
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
