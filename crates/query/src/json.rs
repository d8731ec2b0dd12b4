//! The JSON form of queries.
//!
//! ```json
//! {
//!   "where": {"os": {"eq": "linux"}, "cpu": {"gte": 4, "types": ["u8"]}},
//!   "and": [{"where": {"gpu": {"exists": true}}}],
//!   "or": [{"where": {"zone": {"in": ["a", "b"]}}}, {"not": {"where": {"branch": {"is_any": true}}}}],
//!   "not": {"where": {"name": {"prefix": "tmp-"}}},
//!   "ids": ["0190163d-8694-739b-aea5-966c26f8ad91"],
//!   "key_count": {"min": 1, "max": 3},
//!   "matching": {"os": "linux"},
//!   "order_by": [{"key": "cpu", "direction": "desc", "missing": "last"}],
//!   "limit": 100,
//!   "count": true,
//!   "explain": true
//! }
//! ```
//! Every field may be left out; whatever is there must hold. `page_token` takes the token of the
//! page before. `"pick": "random"` or `{"round_robin": {"cursor": "<name>"}}` takes the place of
//! `order_by` and `page_token`. Unknown and repeated fields are refused.

mod read;
mod write;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use willow_model::json::Json;
use willow_model::{Id, KeyValues};

use crate::Error;
use crate::ast::{Filter, KeyCount, OrderBy, Pick, Query};

impl Query {
    /// Reads and checks a query.
    ///
    /// # Errors
    /// What is wrong, with the path to it; the path is empty if the text is not JSON at all.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let json = serde_json::from_str(text).map_err(|error| Error::new("", error.to_string()))?;
        Self::from_json_tree(&json)
    }

    /// Reads and checks a query that was parsed already.
    ///
    /// # Errors
    /// What is wrong, with the path to it.
    pub fn from_json_tree(json: &Json) -> Result<Self, Error> {
        let query = read::query(json)?;
        query.check()?;
        Ok(query)
    }

    /// The query as JSON: one text for equal queries.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a query has string keys and finite numbers only")
    }
}

/// The query in binary formats, field by field.
#[derive(Deserialize)]
struct Binary {
    filter: Filter,
    ids: Option<Vec<Id>>,
    key_count: Option<KeyCount>,
    matching: Option<KeyValues>,
    order_by: Vec<OrderBy>,
    limit: u32,
    page_token: Option<String>,
    pick: Option<Pick>,
    count: bool,
    explain: bool,
}

/// The same, borrowed.
#[derive(Serialize)]
struct BinaryRef<'a> {
    filter: &'a Filter,
    ids: &'a Option<Vec<Id>>,
    key_count: &'a Option<KeyCount>,
    matching: &'a Option<KeyValues>,
    order_by: &'a [OrderBy],
    limit: u32,
    page_token: &'a Option<String>,
    pick: &'a Option<Pick>,
    count: bool,
    explain: bool,
}

impl Serialize for Query {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return write::QueryOut::from(self).serialize(serializer);
        }
        let Self { filter, ids, key_count, matching, order_by, page_token, pick, .. } = self;
        let (limit, count, explain) = (self.limit, self.count, self.explain);
        let binary = BinaryRef { filter, ids, key_count, matching, order_by, limit, page_token, pick, count, explain };
        binary.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let json = Json::deserialize(deserializer)?;
            return Self::from_json_tree(&json).map_err(D::Error::custom);
        }
        let Binary { filter, ids, key_count, matching, order_by, limit, page_token, pick, count, explain } =
            Binary::deserialize(deserializer)?;
        Ok(Self { filter, ids, key_count, matching, order_by, limit, page_token, pick, count, explain })
    }
}
