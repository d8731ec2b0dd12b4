//! A query's conditions brought into the one form that the indexes understand: for
//! each key, which ranges of encodings its value may lie in.

use willow_model::{ByteRange, Class, Id, Key, KeyValues, ValueType};

use crate::ast::{Filter, KeyCount, Missing, Op, Query, TypeSet};

/// What a document must satisfy to match a query, ready to be tested often.
///
/// It stays valid whatever is inserted or removed after [`crate::Index::compile`].
#[derive(Debug, Clone)]
pub struct Compiled {
    pub(crate) root: Node,
    /// The ids to choose from, in order.
    pub(crate) ids: Option<Vec<Id>>,
    pub(crate) key_count: Option<KeyCount>,
    pub(crate) matching: Option<KeyValues>,
    /// The index's epoch of keys in which [`Node`]'s key numbers hold.
    pub(crate) key_epoch: u64,
}

/// A condition. `All` of nothing holds, `Any` of nothing does not.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// The key is present and its value passes.
    Present(KeyRef, Test),
    Absent(KeyRef),
}

/// A key with its number, if it has one in the index.
#[derive(Debug, Clone)]
pub(crate) struct KeyRef {
    pub(crate) key: Key,
    pub(crate) number: Option<u32>,
}

/// A test of an encoded value.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    /// Ranges in order, none empty, no two touching.
    pub(crate) ranges: Vec<ByteRange>,
    pub(crate) types: Option<TypeSet>,
}

/// Above every encoding.
const END: u8 = 0xFF;

impl Compiled {
    /// Key numbers are resolved by `number`, as of `key_epoch`.
    pub(crate) fn new(query: &Query, key_epoch: u64, number: impl Fn(&str) -> Option<u32>) -> Self {
        let compile = Compile { number: &number };
        let mut parts = vec![compile.filter(&query.filter)];
        // A document that the order excludes does not match.
        let excluding = query.order_by.iter().filter(|order| order.missing == Missing::Exclude);
        parts.extend(excluding.map(|order| Node::Present(compile.key(&order.key), Test::any())));
        let ids = query.ids.as_ref().map(|ids| {
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            ids
        });
        Self { root: all(parts), ids, key_count: query.key_count, matching: query.matching.clone(), key_epoch }
    }
}

struct Compile<'a, F> {
    number: &'a F,
}

impl<F: Fn(&str) -> Option<u32>> Compile<'_, F> {
    fn key(&self, key: &Key) -> KeyRef {
        KeyRef { key: key.clone(), number: (self.number)(key.as_str()) }
    }

    fn filter(&self, filter: &Filter) -> Node {
        match filter {
            Filter::And(parts) => all(parts.iter().map(|part| self.filter(part)).collect()),
            Filter::Or(parts) => any(parts.iter().map(|part| self.filter(part)).collect()),
            Filter::Not(part) => match self.filter(part) {
                Node::Not(inner) => *inner,
                Node::All(parts) if parts.is_empty() => Node::Any(Vec::new()),
                Node::Any(parts) if parts.is_empty() => Node::All(Vec::new()),
                inner => Node::Not(Box::new(inner)),
            },
            Filter::Term { key, op: Op::Exists(false) } => Node::Absent(self.key(key)),
            Filter::Term { key, op } => present(self.key(key), Test::of(op)),
        }
    }
}

fn present(key: KeyRef, test: Test) -> Node {
    if test.ranges.is_empty() { Node::Any(Vec::new()) } else { Node::Present(key, test) }
}

/// All of them, with the tests of one key made one.
fn all(parts: Vec<Node>) -> Node {
    let mut flat: Vec<Node> = Vec::new();
    let mut pending: Vec<Node> = parts.into_iter().rev().collect();
    while let Some(part) = pending.pop() {
        match part {
            Node::All(inner) => pending.extend(inner.into_iter().rev()),
            Node::Any(inner) if inner.is_empty() => return Node::Any(inner),
            Node::Present(key, test) => {
                let same =
                    flat.iter().position(|other| matches!(other, Node::Present(other, _) if other.key == key.key));
                let part = match same.map(|at| flat.swap_remove(at)) {
                    Some(Node::Present(_, other)) => present(key, test.and(&other)),
                    _ => Node::Present(key, test),
                };
                if let Node::Any(_) = part {
                    return part;
                }
                flat.push(part);
            }
            other => flat.push(other),
        }
    }
    if flat.len() == 1 { flat.swap_remove(0) } else { Node::All(flat) }
}

fn any(parts: Vec<Node>) -> Node {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Node::Any(inner) => flat.extend(inner),
            Node::All(inner) if inner.is_empty() => return Node::All(inner),
            other => flat.push(other),
        }
    }
    if flat.len() == 1 { flat.swap_remove(0) } else { Node::Any(flat) }
}

impl Test {
    /// Passes every value.
    pub(crate) fn any() -> Self {
        Self { ranges: vec![ByteRange { start: Vec::new(), end: vec![END] }], types: None }
    }

    pub(crate) fn is_any(&self) -> bool {
        let [range] = &self.ranges[..] else {
            return false;
        };
        self.types.is_none() && range.start.is_empty() && range.end == [END]
    }

    pub(crate) fn passes(&self, value: &[u8]) -> bool {
        let after = self.ranges.partition_point(|range| range.start.as_slice() <= value);
        let inside = after > 0 && value < self.ranges[after - 1].end.as_slice();
        inside && self.passes_type(value)
    }

    pub(crate) fn passes_type(&self, value: &[u8]) -> bool {
        self.types
            .is_none_or(|types| willow_model::encoding::encoded_type(value).is_some_and(|found| types.contains(found)))
    }

    fn of(op: &Op) -> Self {
        let ranges = match op {
            Op::Eq(value) => vec![value.as_ref().equal_range()],
            Op::Ne(value) => {
                let ByteRange { start, end } = value.as_ref().equal_range();
                return Self::new(vec![
                    ByteRange { start: Vec::new(), end: start },
                    ByteRange { start: end, end: vec![END] },
                ]);
            }
            Op::Lt(value) => vec![value.as_ref().less_range()],
            Op::Lte(value) => vec![value.as_ref().less_or_equal_range()],
            Op::Gt(value) => vec![value.as_ref().greater_range()],
            Op::Gte(value) => vec![value.as_ref().greater_or_equal_range()],
            Op::In(values) => values.iter().map(|value| value.as_ref().equal_range()).collect(),
            Op::Prefix(prefix) => vec![ByteRange::string_prefix(prefix)],
            Op::Exists(_) => return Self::any(),
            Op::IsAny => vec![Class::Any.range()],
            Op::Types(types) => return Self::of_types(*types),
        };
        Self::new(ranges)
    }

    fn of_types(types: TypeSet) -> Self {
        let mut classes: Vec<Class> = types.iter().map(ValueType::class).collect();
        classes.dedup();
        let ranges = classes.iter().map(|class| class.range()).collect();
        // Only numbers of one type are no range of encodings.
        let narrowed =
            ValueType::ALL.into_iter().any(|found| classes.contains(&found.class()) && !types.contains(found));
        Self { types: narrowed.then_some(types), ..Self::new(ranges) }
    }

    fn new(mut ranges: Vec<ByteRange>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        ranges.dedup_by(|next, range| {
            let touching = next.start <= range.end;
            if touching && next.end > range.end {
                range.end = std::mem::take(&mut next.end);
            }
            touching
        });
        Self { ranges, types: None }
    }

    fn and(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let start = a.start.as_slice().max(&b.start).to_vec();
            let end = a.end.as_slice().min(&b.end).to_vec();
            if a.end < b.end {
                left.next()
            } else {
                right.next()
            };
            ranges.push(ByteRange { start, end });
        }
        ranges.retain(|range| !range.is_empty());
        let types = match (self.types, other.types) {
            (Some(a), Some(b)) => {
                let both = TypeSet::new(a.iter().filter(|&found| b.contains(found)));
                if both.is_none() {
                    ranges.clear();
                }
                both
            }
            (types, None) | (None, types) => types,
        };
        Self { ranges, types }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use willow_model::Value;

    fn key(name: &str) -> Key {
        Key::new(name).expect("valid")
    }

    fn compile(filter: Filter) -> Node {
        Compiled::new(&Query::of(filter), 0, |_| None).root
    }

    fn term(name: &str, op: Op) -> Filter {
        Filter::term(key(name), op)
    }

    /// Every test agrees with the definition of its operator, alone and combined.
    #[test]
    fn tests_mean_what_the_operators_mean() {
        let values = [
            Value::Bool(true),
            Value::U8(4),
            Value::I64(4),
            Value::I64(-4),
            Value::U64(u64::MAX),
            Value::I64(9_007_199_254_740_993),
            Value::f64(9_007_199_254_740_992.0).expect("finite"),
            "a".into(),
            "ab".into(),
            "".into(),
            Value::Any,
        ];
        let types = TypeSet::new([ValueType::U8, ValueType::String]).expect("some");
        let mut ops: Vec<Op> = vec![
            Op::Exists(true),
            Op::IsAny,
            Op::Prefix("a".into()),
            Op::Types(types),
            Op::In(values[1..4].to_vec()),
            Op::Types(TypeSet::new([ValueType::Any, ValueType::Bool]).expect("some")),
        ];
        for value in &values {
            let make: [fn(Value) -> Op; 6] = [Op::Eq, Op::Ne, Op::Lt, Op::Lte, Op::Gt, Op::Gte];
            ops.extend(make.map(|make| make(value.clone())));
        }
        for a in &ops {
            for b in &ops {
                let both = Test::of(a).and(&Test::of(b));
                for value in &values {
                    let expected = a.matches(Some(value.as_ref())) && b.matches(Some(value.as_ref()));
                    assert_eq!(both.passes(&value.encode()), expected, "{a:?} and {b:?} of {value:?}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_hold_is_empty() {
        let never = Filter::and([term("a", Op::Lt(1_u8.into())), term("a", Op::Gt(1_u8.into()))]);
        assert!(matches!(compile(never.clone()), Node::Any(parts) if parts.is_empty()));
        let always = Filter::or([term("b", Op::IsAny), Filter::not(never)]);
        assert!(matches!(compile(always), Node::All(parts) if parts.is_empty()));
    }
}
