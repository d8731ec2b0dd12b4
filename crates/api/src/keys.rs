//! Key values, ids and secrets as they look on the wire.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat, Type,
        schema::{AdditionalProperties, AnyOfBuilder},
    },
};
pub use willow_model::{Id, KeyValues, Revision};
use willow_model::{Origin, RawKeyValues};

/// Key values in a request: checked ones when a client makes it, raw ones when a server reads it, so
/// that the server can say who gives them and report faults with their own error code.
#[derive(Clone, Debug)]
pub enum KeyValuesInput {
    /// Well-formed for some origin.
    Checked(KeyValues),
    /// As they came in JSON.
    Raw(RawKeyValues),
}

impl KeyValuesInput {
    /// The key values, as `origin` may give them.
    ///
    /// # Errors
    /// What is wrong with a pair, naming its key, or with the whole.
    pub fn check(&self, origin: Origin) -> Result<KeyValues, willow_model::Error> {
        match self {
            Self::Checked(key_values) => key_values.check(origin).map(|()| key_values.clone()),
            Self::Raw(raw) => raw.check(origin),
        }
    }
}

impl From<KeyValues> for KeyValuesInput {
    fn from(key_values: KeyValues) -> Self {
        Self::Checked(key_values)
    }
}

/// By meaning: raw ones are compared as the pattern they read as.
impl PartialEq for KeyValuesInput {
    fn eq(&self, other: &Self) -> bool {
        self.check(Origin::Pattern) == other.check(Origin::Pattern)
    }
}

impl Serialize for KeyValuesInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Checked(key_values) => key_values.serialize(serializer),
            Self::Raw(raw) => raw.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for KeyValuesInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawKeyValues::deserialize(deserializer).map(Self::Raw)
    }
}

/// A session's secret: whoever knows it may use what the session holds. Hidden in debug output.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = IdSchema)]
pub struct SessionId(pub Id);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = willow_model::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Schema of an [`Id`]. Only for the document.
#[derive(Debug)]
pub struct IdSchema;

impl PartialSchema for IdSchema {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("uuid".to_owned())))
            .description(Some("128 bits, written as a lower-case UUID."))
            .examples([serde_json::json!("0190163d-8694-739b-aea5-966c26f8ad91")])
            .into()
    }
}

impl ToSchema for IdSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "Id".into()
    }
}

/// What a delivered item is acknowledged with. Fits one delivery only; opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken {
    /// Revision of the delivery: its fencing token.
    pub revision: u64,
    /// Makes the token hard to guess.
    pub nonce: u32,
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.revision, self.nonce)
    }
}

/// The text is not a lease token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a lease token; pass on the lease_token of the delivery unchanged")]
pub struct LeaseTokenError;

impl FromStr for LeaseToken {
    type Err = LeaseTokenError;

    fn from_str(text: &str) -> Result<Self, LeaseTokenError> {
        let (revision, nonce) = text.split_once('-').ok_or(LeaseTokenError)?;
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plain(revision) || !plain(nonce) || nonce.len() != 8 {
            return Err(LeaseTokenError);
        }
        Ok(Self {
            revision: revision.parse().map_err(|_| LeaseTokenError)?,
            nonce: u32::from_str_radix(nonce, 16).map_err(|_| LeaseTokenError)?,
        })
    }
}

impl Serialize for LeaseToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeaseToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl PartialSchema for LeaseToken {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9]{1,20}-[0-9a-f]{8}$"))
            .description(Some("Names one delivery of an item; pass it on unchanged."))
            .examples([serde_json::json!("1042-9f3a1c07")])
            .into()
    }
}

impl ToSchema for LeaseToken {}

/// Schema of [`willow_model::Value`]. Only for the document.
#[derive(Debug)]
pub struct Value;

/// Least and most, both included.
type Range = (f64, f64);

/// Types that JSON has no form of its own for, with the range of each.
const TYPED: [(&str, Type, Option<Range>); 13] = [
    ("bool", Type::Boolean, None),
    ("u8", Type::Integer, Some((0.0, 255.0))),
    ("u16", Type::Integer, Some((0.0, 65_535.0))),
    ("u32", Type::Integer, Some((0.0, 4_294_967_295.0))),
    ("u64", Type::Integer, Some((0.0, 18_446_744_073_709_551_615.0))),
    ("i8", Type::Integer, Some((-128.0, 127.0))),
    ("i16", Type::Integer, Some((-32_768.0, 32_767.0))),
    ("i32", Type::Integer, Some((-2_147_483_648.0, 2_147_483_647.0))),
    ("i64", Type::Integer, Some((-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_807.0))),
    ("f32", Type::Number, Some((-3.402_823_4e38, 3.402_823_4e38))),
    ("f64", Type::Number, None),
    ("string", Type::String, None),
    ("any", Type::Boolean, None),
];

impl PartialSchema for Value {
    fn schema() -> RefOr<Schema> {
        let plain = |schema_type| ObjectBuilder::new().schema_type(schema_type);
        let mut typed = ObjectBuilder::new().min_properties(Some(1)).max_properties(Some(1));
        typed = typed.additional_properties(Some(AdditionalProperties::FreeForm(false)));
        for (name, schema_type, range) in TYPED {
            let mut property = plain(schema_type);
            if let Some((least, most)) = range {
                property = property.minimum(Some(least)).maximum(Some(most));
            }
            if name == "any" {
                property = property.enum_values(Some([true]));
            }
            typed = typed.property(name, property);
        }
        AnyOfBuilder::new()
            .item(plain(Type::String).max_length(Some(willow_model::limits::VALUE_STRING_BYTES)))
            .item(plain(Type::Boolean))
            .item(plain(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64))))
            .item(plain(Type::Number).format(Some(SchemaFormat::KnownFormat(KnownFormat::Double))))
            .item(typed)
            .description(Some(
                "A typed value. A string, integer, float and boolean stand for `string`, `i64`, `f64` and `bool`; \
                 `{\"u8\": 7}` names another type; `{\"any\": true}` is the wildcard, which only patterns may have. \
                 A value is its type and its data: `{\"u8\": 4}` and `4` are different values.",
            ))
            .into()
    }
}

impl ToSchema for Value {}

/// Schema of [`KeyValues`] of a resource or a pattern. Only for the document.
#[derive(Debug)]
pub struct KeyValuesSchema;

impl PartialSchema for KeyValuesSchema {
    fn schema() -> RefOr<Schema> {
        let pairs = willow_model::limits::PAIRS + willow_model::limits::RESERVED_PAIRS;
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(RefOr::Ref(Ref::from_schema_name("Value"))))
            .min_properties(Some(1))
            .max_properties(Some(pairs))
            .property_names(Some(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some(willow_model::limits::KEY_BYTES)),
            ))
            .description(Some(
                "1 to 32 keys with their values. Keys are 1 to 128 bytes; keys that start with `_` belong to Willow. \
                 Whether the wildcard `{\"any\": true}` is allowed depends on the call: only patterns (rules and \
                 overrides) may have it.",
            ))
            .examples([serde_json::json!({"os": "linux", "cpu": {"u8": 4}})])
            .into()
    }
}

impl ToSchema for KeyValuesSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "KeyValues".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Value".to_owned(), Value::schema()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_token_reads_back_and_nothing_else_does() {
        let token = LeaseToken { revision: 1042, nonce: 0x9f3a_1c07 };
        assert_eq!(token.to_string(), "1042-9f3a1c07");
        assert_eq!(token.to_string().parse(), Ok(token));
        for text in ["", "-", "1042", "1042-9f3a1c0", "+1-9f3a1c07", "1042-+f3a1c07", "99999999999999999999-00000000"] {
            assert_eq!(text.parse::<LeaseToken>(), Err(LeaseTokenError), "{text}");
        }
    }

    #[test]
    fn a_session_id_does_not_show_in_debug_output() {
        let session: SessionId = "5f0c1c53-6f5e-4f0a-9d2e-3b1f5a0a7c11".parse().unwrap();
        assert_eq!(format!("{session:?}"), "SessionId(…)");
        assert_eq!(serde_json::to_string(&session).unwrap(), "\"5f0c1c53-6f5e-4f0a-9d2e-3b1f5a0a7c11\"");
    }
}
