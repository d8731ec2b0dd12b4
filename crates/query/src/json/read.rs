//! From a JSON tree to a query. Errors gain their path on the way out.

use willow_model::json::Json;
use willow_model::{Id, Key, Origin, Value, ValueType, limits};

use crate::Error;
use crate::ast::{Direction, Filter, KeyCount, Missing, Op, OrderBy, Pick, Query, TypeSet};

const FILTER_FIELDS: [&str; 4] = ["where", "and", "or", "not"];
const QUERY_FIELDS: [&str; 13] = [
    "where",
    "and",
    "or",
    "not",
    "ids",
    "key_count",
    "matching",
    "order_by",
    "limit",
    "page_token",
    "pick",
    "count",
    "explain",
];
const OPS: [&str; 11] = ["eq", "ne", "lt", "lte", "gt", "gte", "in", "prefix", "exists", "is_any", "types"];

type Result<T> = std::result::Result<T, Error>;

pub(super) fn query(json: &Json) -> Result<Query> {
    let fields = object(json, &QUERY_FIELDS)?;
    let mut query = Query::of(filter(fields, 0)?);
    for (name, json) in fields {
        field(&mut query, name, json).map_err(|error| error.within(name))?;
    }
    Ok(query)
}

fn field(query: &mut Query, name: &str, json: &Json) -> Result<()> {
    match name {
        "ids" => query.ids = Some(list(json, limits::QUERY_IDS, id)?),
        "key_count" => query.key_count = Some(key_count(json)?),
        "matching" => {
            let pairs = json.to_key_values(Origin::Probe);
            query.matching = Some(pairs.map_err(|error| Error::new("", error.to_string()))?);
        }
        // No order is an order, unlike the other lists, which select nothing when empty.
        "order_by" if *json == Json::List(Vec::new()) => query.order_by = Vec::new(),
        "order_by" => query.order_by = list(json, limits::QUERY_ORDER_KEYS, order_by)?,
        "limit" => query.limit = limit(json)?,
        "page_token" => query.page_token = Some(string(json)?.to_owned()),
        "pick" => query.pick = Some(pick(json)?),
        "count" => query.count = boolean(json)?,
        "explain" => query.explain = boolean(json)?,
        // The filter's fields; `object` let no others through.
        _ => {}
    }
    Ok(())
}

/// The filter that the fields `where`, `and`, `or` and `not` make up, in this order whatever the
/// order in the text, so that equal filters are equal.
fn filter(fields: &[(String, Json)], depth: usize) -> Result<Filter> {
    let mut parts = Vec::new();
    for wanted in FILTER_FIELDS {
        let Some((_, json)) = fields.iter().find(|(name, _)| name == wanted) else {
            continue;
        };
        let inner = match wanted {
            "where" => terms(json).map(Filter::and),
            "and" => nodes(json, depth).map(Filter::and),
            "or" => nodes(json, depth).map(Filter::or),
            _ => node(json, depth).map(Filter::not),
        };
        parts.push(inner.map_err(|error| error.within(wanted))?);
    }
    Ok(Filter::and(parts))
}

fn nodes(json: &Json, depth: usize) -> Result<Vec<Filter>> {
    list(json, limits::QUERY_TERMS, |json| node(json, depth))
}

/// A filter inside another.
fn node(json: &Json, depth: usize) -> Result<Filter> {
    if depth == limits::QUERY_NESTING {
        let most = limits::QUERY_NESTING;
        return Err(Error::new("", format!("and, or and not may nest at most {most} deep")));
    }
    let filter = filter(object(json, &FILTER_FIELDS)?, depth + 1)?;
    if filter.is_all() {
        return Err(Error::new("", "an empty filter here matches everything; leave it out"));
    }
    Ok(filter)
}

fn terms(json: &Json) -> Result<Vec<Filter>> {
    let mut terms = Vec::new();
    for (name, json) in entries(json, "an object from keys to comparisons")? {
        let within = |error: Error| error.within(name);
        let key = Key::new(name.as_str()).map_err(|error| within(Error::new("", error.to_string())))?;
        let comparisons = match json {
            Json::Object(_) => object(json, &OPS).map_err(within)?,
            _ => return Err(mismatch(json, "comparisons such as {\"eq\": …}").within(name)),
        };
        if comparisons.is_empty() {
            return Err(within(Error::new("", "no comparison; give one such as {\"exists\": true}")));
        }
        for (op, json) in comparisons {
            let op = self::op(op, json).map_err(|error| within(error.within(op)))?;
            terms.push(Filter::term(key.clone(), op));
        }
    }
    Ok(terms)
}

fn op(name: &str, json: &Json) -> Result<Op> {
    Ok(match name {
        "eq" => Op::Eq(value(json)?),
        "ne" => Op::Ne(value(json)?),
        "lt" => Op::Lt(value(json)?),
        "lte" => Op::Lte(value(json)?),
        "gt" => Op::Gt(value(json)?),
        "gte" => Op::Gte(value(json)?),
        "in" => Op::In(list(json, limits::QUERY_IN_VALUES, value)?),
        "prefix" => Op::Prefix(string(json)?.into()),
        "exists" => Op::Exists(boolean(json)?),
        "is_any" if boolean(json)? => Op::IsAny,
        "is_any" => {
            return Err(Error::new("", "must be true; put it into \"not\" for the opposite"));
        }
        _ => {
            let types = list(json, ValueType::ALL.len(), value_type)?;
            TypeSet::new(types).map(Op::Types).ok_or_else(|| Error::new("", "name a type"))?
        }
    })
}

fn value(json: &Json) -> Result<Value> {
    json.to_value().map_err(|error| Error::new("", error.to_string()))
}

fn value_type(json: &Json) -> Result<ValueType> {
    let name = string(json)?;
    name.parse().map_err(|error: willow_model::Error| Error::new("", error.to_string()))
}

fn id(json: &Json) -> Result<Id> {
    let text = string(json)?;
    text.parse().map_err(|error: willow_model::Error| Error::new("", error.to_string()))
}

fn key_count(json: &Json) -> Result<KeyCount> {
    let mut count = KeyCount { min: None, max: None };
    for (name, json) in object(json, &["min", "max"])? {
        let bound = Some(number(json).map_err(|error| error.within(name))?);
        *(if name == "min" { &mut count.min } else { &mut count.max }) = bound;
    }
    Ok(count)
}

fn order_by(json: &Json) -> Result<OrderBy> {
    let (mut key, mut direction, mut missing) = (None, Direction::Asc, Missing::Last);
    for (name, json) in object(json, &["key", "direction", "missing"])? {
        let text = string(json).map_err(|error| error.within(name))?;
        let unknown = |allowed| mismatch(json, allowed).within(name);
        match (name.as_str(), text) {
            ("key", _) => {
                let checked = Key::new(text);
                key = Some(checked.map_err(|error| Error::new(name, error.to_string()))?);
            }
            ("direction", "asc") => direction = Direction::Asc,
            ("direction", "desc") => direction = Direction::Desc,
            ("direction", _) => return Err(unknown("\"asc\" or \"desc\"")),
            (_, "last") => missing = Missing::Last,
            (_, "first") => missing = Missing::First,
            (_, "exclude") => missing = Missing::Exclude,
            _ => return Err(unknown("\"last\", \"first\" or \"exclude\"")),
        }
    }
    let key = key.ok_or_else(|| Error::new("", "name the key to order by"))?;
    Ok(OrderBy { key, direction, missing })
}

/// Too large a limit is coerced, as documented; everything else odd about it is refused.
fn limit(json: &Json) -> Result<u32> {
    match json {
        Json::Int(0) => Err(Error::new("", "must be at least 1; leave it out for the default")),
        Json::Int(v @ 1..) => Ok(u32::try_from(*v).map_or(limits::PAGE_LIMIT, |v| v.min(limits::PAGE_LIMIT))),
        Json::Uint(_) => Ok(limits::PAGE_LIMIT),
        _ => Err(mismatch(json, "a positive integer")),
    }
}

fn pick(json: &Json) -> Result<Pick> {
    match json {
        Json::String(name) if name == "random" => Ok(Pick::Random),
        Json::Object(_) => {
            let fields = object(json, &["round_robin"])?;
            let [(name, json)] = fields else {
                return Err(Error::new("", "give \"random\" or {\"round_robin\": …}"));
            };
            let within = |error: Error| error.within(name);
            let [(field, json)] = object(json, &["cursor"]).map_err(within)? else {
                return Err(within(Error::new("", "name the cursor: {\"cursor\": \"<name>\"}")));
            };
            let cursor = string(json).map_err(|error| within(error.within(field)))?;
            Ok(Pick::RoundRobin { cursor: cursor.into() })
        }
        _ => Err(mismatch(json, "\"random\" or {\"round_robin\": {\"cursor\": \"<name>\"}}")),
    }
}

fn boolean(json: &Json) -> Result<bool> {
    if let Json::Bool(v) = json { Ok(*v) } else { Err(mismatch(json, "true or false")) }
}

fn string(json: &Json) -> Result<&str> {
    if let Json::String(v) = json { Ok(v) } else { Err(mismatch(json, "a string")) }
}

fn number(json: &Json) -> Result<u32> {
    let number = if let Json::Int(v) = json { u32::try_from(*v).ok() } else { None };
    number.ok_or_else(|| mismatch(json, "an integer from 0 to 4294967295"))
}

fn list<T>(json: &Json, most: usize, read: impl Fn(&Json) -> Result<T>) -> Result<Vec<T>> {
    let Json::List(list) = json else {
        return Err(mismatch(json, "a list"));
    };
    if list.is_empty() {
        return Err(Error::new("", "an empty list has no meaning here; leave the field out"));
    }
    if list.len() > most {
        return Err(Error::new("", format!("at most {most} fit; this has {}", list.len())));
    }
    let items = list.iter().enumerate();
    items.map(|(at, json)| read(json).map_err(|error| error.within(&format!("[{at}]")))).collect()
}

/// The fields of an object, each of which must be allowed.
fn object<'j>(json: &'j Json, allowed: &[&str]) -> Result<&'j [(String, Json)]> {
    let fields = entries(json, "an object")?;
    if let Some((name, _)) = fields.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
        let name: String = name.chars().take(40).collect();
        let allowed = allowed.join(", ");
        return Err(Error::new("", format!("unknown field {name:?}; the fields are {allowed}")));
    }
    Ok(fields)
}

/// The fields of an object, none of which may be repeated.
fn entries<'j>(json: &'j Json, expected: &str) -> Result<&'j [(String, Json)]> {
    let Json::Object(fields) = json else {
        return Err(mismatch(json, expected));
    };
    if fields.len() > limits::QUERY_TERMS {
        let most = limits::QUERY_TERMS;
        return Err(Error::new("", format!("at most {most} keys; this has {}", fields.len())));
    }
    for (at, (name, _)) in fields.iter().enumerate() {
        if fields[..at].iter().any(|(before, _)| before == name) {
            return Err(Error::new("", format!("the field {name:?} is there twice")));
        }
    }
    Ok(fields)
}

fn mismatch(json: &Json, expected: &str) -> Error {
    Error::new("", format!("expected {expected}, found {}", json.describe()))
}
