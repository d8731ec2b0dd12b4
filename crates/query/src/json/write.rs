//! From a query to JSON, such that it reads back as an equal query.

use serde::{Serialize, Serializer};
use willow_model::{Id, Key, KeyValues, ValueType, limits};

use crate::ast::{Direction, Filter, KeyCount, Missing, Op, OrderBy, Pick, Query};

/// A query as JSON.
#[derive(Serialize)]
pub(super) struct QueryOut<'a> {
    #[serde(flatten)]
    filter: FilterOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<&'a [Id]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_count: Option<KeyCountOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matching: Option<&'a KeyValues>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    order_by: Vec<OrderByOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pick: Option<PickOut<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    count: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    explain: bool,
}

#[derive(Serialize)]
struct FilterOut<'a> {
    #[serde(rename = "where", skip_serializing_if = "TermsOut::is_empty")]
    terms: TermsOut<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    and: Vec<Self>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    or: Vec<Self>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not: Option<Box<Self>>,
}

#[derive(Serialize)]
struct KeyCountOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u32>,
}

#[derive(Serialize)]
struct OrderByOut<'a> {
    key: &'a Key,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum PickOut<'a> {
    Random,
    RoundRobin { cursor: &'a str },
}

/// Terms grouped by key.
struct TermsOut<'a>(Vec<(&'a Key, Vec<&'a Op>)>);

/// The comparisons of one key.
struct OpsOut<'s, 'a>(&'s [&'a Op]);

/// The operand of a comparison.
struct OperandOut<'a>(&'a Op);

impl<'a> From<&'a Query> for QueryOut<'a> {
    fn from(query: &'a Query) -> Self {
        Self {
            filter: FilterOut::from(&query.filter),
            ids: query.ids.as_deref(),
            key_count: query.key_count.map(|KeyCount { min, max }| KeyCountOut { min, max }),
            matching: query.matching.as_ref(),
            order_by: query.order_by.iter().map(OrderByOut::from).collect(),
            limit: (query.limit != limits::PAGE_LIMIT_DEFAULT).then_some(query.limit),
            page_token: query.page_token.as_deref(),
            pick: query.pick.as_ref().map(PickOut::from),
            count: query.count,
            explain: query.explain,
        }
    }
}

impl<'a> From<&'a Filter> for FilterOut<'a> {
    fn from(filter: &'a Filter) -> Self {
        let parts = match filter {
            Filter::And(parts) => parts.as_slice(),
            other => std::slice::from_ref(other),
        };
        let mut out = Self { terms: TermsOut(Vec::new()), and: Vec::new(), or: Vec::new(), not: None };
        // Reading takes `where`, `and`, `or`, `not` in this order. What does not fit into it goes
        // into `and`, whose order is kept.
        let fitting = parts.iter().take_while(|part| out.terms.push(part)).count();
        match &parts[fitting..] {
            [] => {}
            [Filter::Or(or)] => out.or = or.iter().map(Self::from).collect(),
            [Filter::Not(not)] => out.not = Some(Box::new(Self::from(&**not))),
            [Filter::Or(or), Filter::Not(not)] => {
                out.or = or.iter().map(Self::from).collect();
                out.not = Some(Box::new(Self::from(&**not)));
            }
            rest => out.and = rest.iter().map(Self::from).collect(),
        }
        out
    }
}

impl<'a> TermsOut<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a part if it is a term that reads back in the same place.
    fn push(&mut self, part: &'a Filter) -> bool {
        let Filter::Term { key, op } = part else {
            return false;
        };
        if let Some((last, ops)) = self.0.last_mut()
            && *last == key
        {
            let fits = ops.iter().all(|other| other.name() != op.name());
            if fits {
                ops.push(op);
            }
            return fits;
        }
        let fits = self.0.iter().all(|(other, _)| *other != key);
        if fits {
            self.0.push((key, vec![op]));
        }
        fits
    }
}

impl Serialize for TermsOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, ops)| (key, OpsOut(ops))))
    }
}

impl Serialize for OpsOut<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|op| (op.name(), OperandOut(op))))
    }
}

impl Serialize for OperandOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Op::Eq(value) | Op::Ne(value) | Op::Lt(value) | Op::Lte(value) | Op::Gt(value) | Op::Gte(value) => {
                value.serialize(serializer)
            }
            Op::In(list) => list.serialize(serializer),
            Op::Prefix(prefix) => prefix.serialize(serializer),
            Op::Exists(present) => present.serialize(serializer),
            Op::IsAny => true.serialize(serializer),
            Op::Types(types) => serializer.collect_seq(types.iter().map(ValueType::name)),
        }
    }
}

impl<'a> From<&'a OrderBy> for OrderByOut<'a> {
    fn from(order: &'a OrderBy) -> Self {
        Self {
            key: &order.key,
            direction: match order.direction {
                Direction::Asc => None,
                Direction::Desc => Some("desc"),
            },
            missing: match order.missing {
                Missing::Last => None,
                Missing::First => Some("first"),
                Missing::Exclude => Some("exclude"),
            },
        }
    }
}

impl<'a> From<&'a Pick> for PickOut<'a> {
    fn from(pick: &'a Pick) -> Self {
        match pick {
            Pick::Random => Self::Random,
            Pick::RoundRobin { cursor } => Self::RoundRobin { cursor },
        }
    }
}
