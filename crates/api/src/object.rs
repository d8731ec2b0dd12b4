//! Requests are objects, never lists.
//!
//! A derived `Deserialize` of a struct also takes a list of its fields' values in order, which would let
//! `[]` pass for a request of optional fields. [`object`] makes it take an object only.

use serde::{Deserializer, de::Visitor, forward_to_deserialize_any};

/// Asks for a map where a struct is wanted.
pub(crate) struct ObjectOnly<D>(pub(crate) D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Implements `Serialize` and `Deserialize` for structs that derive them with `#[serde(remote = "Self")]`,
/// which makes them inherent functions.
macro_rules! object {
    ($($type:ty),+ $(,)?) => {
        $(
            impl serde::Serialize for $type {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    Self::serialize(self, serializer)
                }
            }

            impl<'de> serde::Deserialize<'de> for $type {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    Self::deserialize(crate::object::ObjectOnly(deserializer))
                }
            }
        )+
    };
}

pub(crate) use object;

#[cfg(test)]
mod tests {
    use crate::{item::DequeueRequest, lock::AcquireRequest, queue::CreateQueueRequest};

    #[test]
    fn a_list_is_no_request_and_no_part_of_one() {
        assert!(serde_json::from_str::<DequeueRequest>("{}").is_ok());
        assert!(serde_json::from_str::<DequeueRequest>("[]").is_err());
        assert!(serde_json::from_str::<DequeueRequest>("null").is_err());
        assert!(serde_json::from_str::<AcquireRequest>(r#"{"locks": [[{"a": 1}]]}"#).is_err());
        assert!(serde_json::from_str::<CreateQueueRequest>(r#"{"name": "q", "defaults": []}"#).is_err());
        assert!(serde_json::from_str::<DequeueRequest>(r#"{"order": {"round_robin": ["c"]}}"#).is_err());
    }

    #[test]
    fn what_is_written_reads_back() {
        let request = CreateQueueRequest {
            name: "q".to_owned(),
            key_values: None,
            max_items: Some(1),
            max_dead_letters: None,
            defaults: Some(crate::queue::ItemDefaults { priority: Some(-1), ..Default::default() }),
            request_id: None,
        };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(json, r#"{"name":"q","max_items":1,"defaults":{"priority":-1}}"#);
        assert_eq!(serde_json::from_str::<CreateQueueRequest>(&json).unwrap(), request);
    }
}
