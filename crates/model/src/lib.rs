//! Willow's model: keys, typed values, sets of key-value pairs, identities, and every bound.
//!
//! A resource is named by its key values; this crate says what they are, in what order they sort,
//! and how they look as bytes ([`encoding`]), JSON ([`json`]) and text ([`text`]). It is pure:
//! nothing here reads a clock, a random number or a file.

#![warn(missing_docs)]

pub mod bugs;
pub mod encoding;
mod error;
mod float;
mod id;
pub mod json;
mod key;
mod key_values;
pub mod limits;
mod name;
mod number;
pub mod reserved;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod text;
mod value;

pub use encoding::ByteRange;
pub use error::Error;
pub use float::{F32, F64};
pub use id::{Id, Kind, Revision};
pub use json::RawKeyValues;
pub use key::{Key, METADATA_PREFIX, RESERVED_PREFIX, is_reserved};
pub use key_values::{Builder, BytePairs, EncodedPairs, Iter, KeyValues, Origin};
pub use name::check_name;
pub use value::{Class, Value, ValueRef, ValueType};
