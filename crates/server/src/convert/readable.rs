//! JSON that every reader can read.
//!
//! The grammar allows numbers such as `1e400` and strings with half a surrogate pair, but most parsers
//! refuse the whole document for them: one such item would stop every consumer that takes it, and it
//! comes back after each lease. So such data is not taken as JSON (as in I-JSON, RFC 7493, section 2).

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads the whole document and keeps nothing of it.
struct Readable;

/// Why `text` cannot be read by all, if so.
pub(super) fn check(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Readable>(text).map(|Readable| ())
}

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_common_parsers_read_is_readable() {
        let good =
            ["null", "-0", "1e308", "[1, {\"a\": [true, \"\\ud83d\\ude00é\"]}]", "123456789012345678901234567890"];
        for text in good {
            assert!(check(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_they_refuse_is_not() {
        let long = "9".repeat(400);
        let bad = ["1e400", "[-1e400]", "\"\\ud800\"", "{\"a\": \"\\udc00x\"}", "{\"\\ud800\": 1}", &long, "1 2", "{"];
        for text in bad {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
