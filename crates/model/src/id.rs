//! Identities, kinds of resources, revisions.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// What an id identifies. The discriminant is hashed into ids and must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A lock.
    Lock = 1,
    /// A limiter's rule.
    Rule = 2,
    /// A rule's override.
    Override = 3,
    /// A limiter's counter.
    Counter = 4,
    /// A bucket of a rule or override.
    Bucket = 5,
    /// A lease-bound increment of a counter.
    Hold = 6,
    /// A queue.
    Queue = 7,
    /// A queue's channel.
    Channel = 8,
    /// A queue's item.
    Item = 9,
    /// A session that holds locks.
    Session = 10,
}

/// The identity of a resource: 128 bits, written as a lower-case UUID.
///
/// The same kind, parent and key values give the same id on every node, and again after the
/// resource was destroyed and created anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

/// Where the hyphens of a UUID stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// Characters of a UUID.
const TEXT_LEN: usize = 36;

impl Id {
    /// An id from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// An id from its bits, as drawn by whoever proposes a command.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// The first 128 bits of the BLAKE3 hash of kind, parent and `bytes`, which are the canonical
    /// encoding of the key values, or a name.
    #[must_use]
    pub fn derive(kind: Kind, parent: Option<Self>, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind as u8, u8::from(parent.is_some())]);
        if let Some(parent) = parent {
            hasher.update(&parent.0);
        }
        hasher.update(bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its bits.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; TEXT_LEN];
        let places = (0..TEXT_LEN).filter(|place| !HYPHENS.contains(place));
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
        for (place, nibble) in places.zip(nibbles) {
            text[place] = HEX[usize::from(nibble)];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = Error;

    /// Reads the hyphenated form, in either case.
    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error::Id { text: text.chars().take(40).collect() };
        if text.len() != TEXT_LEN {
            return Err(error());
        }
        let mut bits = 0_u128;
        for (place, byte) in text.bytes().enumerate() {
            if HYPHENS.contains(&place) {
                if byte != b'-' {
                    return Err(error());
                }
            } else {
                let nibble = char::from(byte).to_digit(16).ok_or_else(error)?;
                bits = bits << 4 | u128::from(nibble);
            }
        }
        Ok(Self::from_u128(bits))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id in the form of a UUID")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map_err(E::custom)
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Text)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self).map_err(D::Error::custom)
        }
    }
}

/// A number of the replicated counter that every grant, creation and update takes one of. It is
/// never reused, also saved in snapshots, and doubles as the fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The next one; `None` at the end of the counter, which at a billion a second lasts 584 years.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
