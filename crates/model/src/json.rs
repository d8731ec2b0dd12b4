//! The JSON forms of values and key values.
//!
//! A string, integer, float and boolean stand for `string`, `i64`, `f64` and `bool`; `{"u8": 7}`
//! names another type; `{"any": true}` is the wildcard. Key values are an object of them.
//!
//! [`Json`] is a tree that keeps order and repeated fields, so that repetition can be refused, and
//! errors can say where they are.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, KeyValues, Origin, Value, ValueRef, ValueType};

/// Nesting that [`Json`] accepts. More than any request needs, and far from the end of the stack.
const NESTING: usize = 64;

/// 2^63: from here on a float's text may have been an integer that `i64` cannot hold.
const INTEGER_LIMIT: f64 = 9_223_372_036_854_775_808.0;

/// Any JSON value, with the order of fields and repeated ones kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above that which fits `u64`.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A string.
    String(String),
    /// A list.
    List(Vec<Self>),
    /// An object, as written.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// What it is, for messages: a scalar itself, or the kind of container.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(v) => v.to_string(),
            Self::Int(v) => v.to_string(),
            Self::Uint(v) => v.to_string(),
            Self::Float(v) => format!("{v:?}"),
            Self::String(v) => format!("the string {:?}", v.chars().take(40).collect::<String>()),
            Self::List(_) => "a list".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }

    fn shape(&self, expected: &'static str) -> Error {
        Error::Shape { expected, found: self.describe() }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with its form, type or size.
    pub fn to_value(&self) -> Result<Value, Error> {
        let value = match self {
            Self::Bool(v) => Value::Bool(*v),
            Self::Int(v) => Value::I64(*v),
            Self::Uint(v) => {
                return Err(Error::BareNumber { value: v.to_string() });
            }
            Self::Float(v) if v.fract() == 0.0 && v.abs() >= INTEGER_LIMIT => {
                return Err(Error::BareNumber { value: format!("{v:?}") });
            }
            Self::Float(v) => Value::f64(*v)?,
            Self::String(v) => Value::from(v.as_str()),
            Self::Object(fields) => match fields.as_slice() {
                [(name, data)] => data.to_typed(name.parse()?)?,
                _ => return Err(self.shape("an object with one type, such as {\"u8\": 7}")),
            },
            Self::Null | Self::List(_) => {
                return Err(self.shape("a string, a number, a boolean or {\"<type>\": …}"));
            }
        };
        value.as_ref().check()?;
        Ok(value)
    }

    fn to_typed(&self, value_type: ValueType) -> Result<Value, Error> {
        let range = || Error::OutOfRange { value: self.describe(), value_type };
        let integer = || match self {
            Self::Int(v) => Ok(i128::from(*v)),
            Self::Uint(v) => Ok(i128::from(*v)),
            Self::Float(_) => Err(range()),
            _ => Err(self.shape("an integer")),
        };
        let float = || match self {
            Self::Int(v) => Ok(*v as f64),
            Self::Uint(v) => Ok(*v as f64),
            Self::Float(v) => Ok(*v),
            _ => Err(self.shape("a number")),
        };
        Ok(match (value_type, self) {
            (ValueType::Bool, Self::Bool(v)) => Value::Bool(*v),
            (ValueType::Bool, _) => return Err(self.shape("true or false")),
            (ValueType::String, Self::String(v)) => Value::from(v.as_str()),
            (ValueType::String, _) => return Err(self.shape("a string")),
            (ValueType::Any, Self::Bool(true)) => Value::Any,
            (ValueType::Any, _) => return Err(self.shape("{\"any\": true}")),
            (ValueType::U8, _) => Value::U8(integer()?.try_into().map_err(|_| range())?),
            (ValueType::U16, _) => Value::U16(integer()?.try_into().map_err(|_| range())?),
            (ValueType::U32, _) => Value::U32(integer()?.try_into().map_err(|_| range())?),
            (ValueType::U64, _) => Value::U64(integer()?.try_into().map_err(|_| range())?),
            (ValueType::I8, _) => Value::I8(integer()?.try_into().map_err(|_| range())?),
            (ValueType::I16, _) => Value::I16(integer()?.try_into().map_err(|_| range())?),
            (ValueType::I32, _) => Value::I32(integer()?.try_into().map_err(|_| range())?),
            (ValueType::I64, _) => Value::I64(integer()?.try_into().map_err(|_| range())?),
            (ValueType::F32, _) => Value::f32(float()? as f32).map_err(|_| range())?,
            (ValueType::F64, _) => Value::f64(float()?).map_err(|_| range())?,
        })
    }

    /// Reads key values of the given origin.
    ///
    /// # Errors
    /// What is wrong with a pair, naming its key, or with the whole.
    pub fn to_key_values(&self, origin: Origin) -> Result<KeyValues, Error> {
        let Self::Object(fields) = self else {
            return Err(self.shape("an object of keys and values"));
        };
        let mut builder = KeyValues::builder(origin);
        for (key, value) in fields {
            builder.push(key.as_str(), value.to_value().map_err(|error| error.at(key))?)?;
        }
        builder.build()
    }
}

/// Key values as they came in JSON, not yet checked, for requests: [`RawKeyValues::check`] then
/// says who gives them and reports faults as [`Error`]s.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct RawKeyValues(pub Json);

impl RawKeyValues {
    /// The key values.
    ///
    /// # Errors
    /// What is wrong with a pair, naming its key, or with the whole.
    pub fn check(&self, origin: Origin) -> Result<KeyValues, Error> {
        self.0.to_key_values(origin)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested(0).deserialize(deserializer)
    }
}

/// Reads a [`Json`] at a depth.
struct Nested(usize);

impl Nested {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.0 >= NESTING {
            return Err(E::custom(format_args!("nested more than {NESTING} deep")));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Json, E> {
        Ok(Json::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Json, E> {
        Ok(Json::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Json, E> {
        Ok(i64::try_from(v).map_or(Json::Uint(v), Json::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Json, E> {
        Ok(Json::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Json, E> {
        Ok(Json::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Json, E> {
        Ok(Json::String(v))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element_seed(self.deeper()?)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = access.next_key()? {
            fields.push((name, access.next_value_seed(self.deeper()?)?));
        }
        Ok(Json::Object(fields))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(v) => serializer.serialize_bool(*v),
            Self::Int(v) => serializer.serialize_i64(*v),
            Self::Uint(v) => serializer.serialize_u64(*v),
            Self::Float(v) => serializer.serialize_f64(*v),
            Self::String(v) => serializer.serialize_str(v),
            Self::List(v) => v.serialize(serializer),
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// JSON when human-readable, else the canonical encoding as bytes.
impl Serialize for ValueRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.encode());
        }
        match *self {
            Self::Bool(v) => serializer.serialize_bool(v),
            Self::I64(v) => serializer.serialize_i64(v),
            Self::F64(v) if v.get().fract() != 0.0 || v.get().abs() < INTEGER_LIMIT => {
                serializer.serialize_f64(v.get())
            }
            Self::String(v) => serializer.serialize_str(v),
            typed => {
                let mut map = serializer.serialize_map(Some(1))?;
                let name = typed.value_type().name();
                match typed {
                    Self::U8(v) => map.serialize_entry(name, &v)?,
                    Self::U16(v) => map.serialize_entry(name, &v)?,
                    Self::U32(v) => map.serialize_entry(name, &v)?,
                    Self::U64(v) => map.serialize_entry(name, &v)?,
                    Self::I8(v) => map.serialize_entry(name, &v)?,
                    Self::I16(v) => map.serialize_entry(name, &v)?,
                    Self::I32(v) => map.serialize_entry(name, &v)?,
                    Self::I64(v) => map.serialize_entry(name, &v)?,
                    // Widened: exact, so that it reads back the same whatever the reader rounds.
                    Self::F32(v) => map.serialize_entry(name, &f64::from(v.get()))?,
                    Self::F64(v) => map.serialize_entry(name, &v.get())?,
                    Self::Bool(v) => map.serialize_entry(name, &v)?,
                    Self::String(v) => map.serialize_entry(name, v)?,
                    Self::Any => map.serialize_entry(name, &true)?,
                }
                map.end()
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Json::deserialize(deserializer)?.to_value().map_err(D::Error::custom)
        } else {
            deserializer.deserialize_bytes(Bytes(|bytes: &[u8]| Self::try_from(bytes)))
        }
    }
}

/// JSON when human-readable, else the canonical encoding as bytes.
impl Serialize for KeyValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_map(self.iter())
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

/// JSON is read as a pattern, the widest that a user may give; [`KeyValues::check`] narrows.
impl<'de> Deserialize<'de> for KeyValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let json = Json::deserialize(deserializer)?;
            json.to_key_values(Origin::Pattern).map_err(D::Error::custom)
        } else {
            deserializer.deserialize_bytes(Bytes(Self::from_bytes))
        }
    }
}

/// Reads bytes with a checking constructor.
struct Bytes<F>(F);

impl<T, F: FnOnce(&[u8]) -> Result<T, Error>> Visitor<'_> for Bytes<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes of a canonical encoding")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        (self.0)(bytes).map_err(E::custom)
    }
}

impl Serialize for ValueType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.name())
        } else {
            serializer.serialize_u8(*self as u8)
        }
    }
}

impl<'de> Deserialize<'de> for ValueType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let byte = u8::deserialize(deserializer)?;
            let found = Self::ALL.get(usize::from(byte)).copied();
            found.ok_or_else(|| D::Error::custom("a type is unknown"))
        }
    }
}
