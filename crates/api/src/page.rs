//! Queries and the pages they answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
pub use willow_query::Query;

use crate::{
    item::{OrderBy, RoundRobin},
    keys::{IdSchema, KeyValuesSchema, Value},
};

/// How fresh a read must be: the `consistency` query parameter of every read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// It sees everything acknowledged before it began.
    #[default]
    Linearizable,
    /// It may lag: whatever the asked node has applied.
    Stale,
}

/// One page of a query's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// In the query's order.
    pub items: Vec<T>,
    /// For the next page, with the same query. Absent at the end, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_page_token: Option<String>,
    /// How many match in all, when the query asked with `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub count: Option<Count>,
    /// How the query was answered, when it asked with `explain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub plan: Option<Plan>,
}

/// How a query was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "access": "walk", "driver": "value of os", "estimated_rows": 12, "actual_rows": 12, "estimated_matches": 12,
    "found": 12, "budget_spent": false, "conditions": [{"index": "value of os", "rows": 12, "exact": true}]
}))]
pub struct Plan {
    /// What was done.
    pub access: Access,
    /// The index that led to the rows.
    pub driver: String,
    /// Rows that were expected to be looked at.
    pub estimated_rows: u64,
    /// Rows that were.
    pub actual_rows: u64,
    /// Matches expected in all, as far as the indexes tell.
    pub estimated_matches: u64,
    /// Matches found for this page.
    pub found: u64,
    /// Whether the work budget cut the page short.
    pub budget_spent: bool,
    /// The conditions, each with what its index knows.
    pub conditions: Vec<Condition>,
}

/// The ways to get at results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// An index in the wanted order was walked.
    Walk,
    /// Candidates were enumerated, tested and sorted.
    Sort,
    /// A walk found too little and gave way to sorting, or sorted within equal values.
    WalkThenSort,
    /// Rows were drawn at random.
    Sample,
}

/// One condition of a query, and how many rows it holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condition {
    /// The index that knows.
    pub index: String,
    /// How many rows it holds for.
    pub rows: u64,
    /// Whether that is exact or an estimate.
    pub exact: bool,
}

/// How many match a query's filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// How many.
    pub total: u64,
    /// False when counting stopped at its work budget: then `total` is an estimate.
    pub exact: bool,
}

/// A query in a request: a checked one when a client makes it, JSON when a server reads it, so that
/// the server can report faults as [`willow_query::Error`]s with their place.
#[derive(Clone, Debug)]
pub enum QueryInput {
    /// Well-formed.
    Checked(Box<Query>),
    /// As it came in JSON.
    Raw(willow_model::json::Json),
}

impl QueryInput {
    /// The query, checked.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn check(&self) -> Result<Query, willow_query::Error> {
        match self {
            Self::Checked(query) => Ok((**query).clone()),
            Self::Raw(json) => Query::from_json_tree(json),
        }
    }
}

impl Default for QueryInput {
    fn default() -> Self {
        Self::Checked(Box::default())
    }
}

impl From<Query> for QueryInput {
    fn from(query: Query) -> Self {
        Self::Checked(Box::new(query))
    }
}

impl Serialize for QueryInput {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Checked(query) => query.serialize(serializer),
            Self::Raw(json) => json.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for QueryInput {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        willow_model::json::Json::deserialize(deserializer).map(Self::Raw)
    }
}

/// Raw ones are compared as they are written.
impl PartialEq for QueryInput {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Checked(a), Self::Checked(b)) => a == b,
            (Self::Raw(a), Self::Raw(b)) => a == b,
            (Self::Checked(_), Self::Raw(_)) | (Self::Raw(_), Self::Checked(_)) => {
                serde_json::to_value(self).ok() == serde_json::to_value(other).ok()
            }
        }
    }
}

/// What to match, in what order, how much of it. Everything may be left out; whatever is there must hold.
///
/// Only for the document: [`Query`] is the type.
#[derive(Debug, ToSchema)]
#[schema(as = Query, example = json!({
    "where": {"os": {"eq": "linux"}, "cpu": {"gte": 4}}, "order_by": [{"key": "cpu", "direction": "desc"}],
    "limit": 100, "count": true
}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct QuerySchema {
    /// For each key, tests of its value; all of them hold.
    r#where: Option<BTreeMap<String, OpSchema>>,
    /// All of these hold.
    and: Option<Vec<FilterSchema>>,
    /// At least one of these holds.
    or: Option<Vec<FilterSchema>>,
    /// This does not hold.
    not: Option<FilterSchema>,
    /// Only these ids, at most 1000.
    #[schema(max_items = 1000)]
    ids: Option<Vec<IdSchema>>,
    /// Bounds on the number of user pairs.
    key_count: Option<KeyCountSchema>,
    /// Reverse match: only stored patterns whose every pair is here, equal or `any`.
    matching: Option<KeyValuesSchema>,
    /// The order, by at most 8 keys, and always by id in the end.
    #[schema(max_items = 8)]
    order_by: Option<Vec<OrderBy>>,
    /// Most results on a page; 100 when absent. More than 1000 is taken as 1000.
    #[schema(minimum = 1)]
    limit: Option<u32>,
    /// `next_page_token` of the page before, with the same query otherwise.
    page_token: Option<String>,
    /// Picks, in place of `order_by` and `page_token`: `"random"` picks up to `limit` of what matches, each with
    /// equal chance; `{"round_robin": {"cursor": …}}` picks the next one.
    pick: Option<PickSchema>,
    /// Whether to count everything that matches.
    count: Option<bool>,
    /// Whether to tell how the query was answered.
    explain: Option<bool>,
}

/// A part of a filter: all that is there holds.
#[derive(Debug, ToSchema)]
#[schema(as = Filter, example = json!({"where": {"zone": {"in": ["a", "b"]}}}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct FilterSchema {
    /// For each key, tests of its value; all of them hold.
    r#where: Option<BTreeMap<String, OpSchema>>,
    /// All of these hold.
    #[schema(no_recursion)]
    and: Option<Vec<Self>>,
    /// At least one of these holds.
    #[schema(no_recursion)]
    or: Option<Vec<Self>>,
    /// This does not hold.
    #[schema(no_recursion)]
    not: Option<Box<Self>>,
}

/// Tests of the value of one key: all that are there hold.
#[derive(Debug, ToSchema)]
#[schema(as = Tests, example = json!({"gte": 4, "types": ["u8", "i64"]}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct OpSchema {
    /// Equal in class and mathematical value: `4` equals `{"u8": 4}`.
    #[schema(nullable = false)]
    eq: Option<Value>,
    /// Present, and not equal in that sense.
    #[schema(nullable = false)]
    ne: Option<Value>,
    /// Of the same class and less.
    #[schema(nullable = false)]
    lt: Option<Value>,
    /// Of the same class and less or equal.
    #[schema(nullable = false)]
    lte: Option<Value>,
    /// Of the same class and greater.
    #[schema(nullable = false)]
    gt: Option<Value>,
    /// Of the same class and greater or equal.
    #[schema(nullable = false)]
    gte: Option<Value>,
    /// Equal to one of these.
    #[schema(nullable = false)]
    r#in: Option<Vec<Value>>,
    /// A string that starts with this.
    #[schema(nullable = false)]
    prefix: Option<String>,
    /// Whether the key is present.
    #[schema(nullable = false)]
    exists: Option<bool>,
    /// Whether it is the wildcard, as a literal value.
    #[schema(nullable = false)]
    is_any: Option<bool>,
    /// Of one of these types.
    #[schema(nullable = false)]
    types: Option<Vec<TypeSchema>>,
}

/// A type of values.
#[derive(Debug, ToSchema)]
#[schema(as = ValueType, rename_all = "lowercase")]
#[allow(missing_docs, reason = "their names say it")]
pub enum TypeSchema {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    String,
    Any,
}

/// Bounds on the number of user pairs; at least one is given.
#[derive(Debug, ToSchema)]
#[schema(as = KeyCount, example = json!({"min": 1, "max": 3}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct KeyCountSchema {
    /// At least so many.
    #[schema(nullable = false)]
    min: Option<u32>,
    /// At most so many.
    #[schema(nullable = false)]
    max: Option<u32>,
}

/// How to pick.
#[derive(Debug, ToSchema)]
#[schema(as = Pick, rename_all = "snake_case")]
pub enum PickSchema {
    /// Uniformly among what matches.
    Random,
    /// The first match after a named cursor, wrapping once.
    RoundRobin(RoundRobin),
}
