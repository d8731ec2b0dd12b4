//! The query: what to match, in what order, how much of it.
//!
//! Its JSON form is in [`crate::json`]. In a binary format (inside
//! logged commands) it is written field by field, so JSON may grow without changing the log.

use serde::{Deserialize, Serialize};
use willow_model::{Id, Key, KeyValues, Value, ValueType, limits};

use crate::Error;

/// One query over locks, rules, overrides, counters, queues, channels or items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What must hold. [`Filter::all`] for everything.
    pub filter: Filter,
    /// Only these ids; order and repetition do not matter.
    pub ids: Option<Vec<Id>>,
    /// Bounds on the number of user pairs.
    pub key_count: Option<KeyCount>,
    /// Reverse match: only stored patterns whose every pair is here, equal or `any`.
    pub matching: Option<KeyValues>,
    /// The order; always by id in the end.
    pub order_by: Vec<OrderBy>,
    /// Most results on a page; 1 to [`limits::PAGE_LIMIT`] once checked.
    pub limit: u32,
    /// Where the page before this ended.
    pub page_token: Option<String>,
    /// Picks instead of ordering and paging.
    pub pick: Option<Pick>,
    /// Whether to count everything that matches.
    pub count: bool,
    /// Whether to tell the plan.
    pub explain: bool,
}

/// A condition on a document's pairs.
///
/// The constructors keep it in one shape: no `And` directly in an `And`, no `Or` in an `Or`, none
/// of either with fewer than two parts, except that the empty `And` is [`Filter::all`]. So equal
/// conditions written in JSON and as text are equal here. [`limits`] bound it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// All hold.
    And(Vec<Self>),
    /// At least one holds.
    Or(Vec<Self>),
    /// It does not hold; it also does not hold for a document without the key.
    Not(Box<Self>),
    /// A test of one key.
    Term {
        /// The key, possibly `metadata.<key>`.
        key: Key,
        /// The test.
        op: Op,
    },
}

/// A test of the value of one key. What each means is defined in [`crate::eval`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Equal in class and mathematical value: `eq 4` holds for `4:u8`.
    Eq(Value),
    /// Present, and not equal in that sense.
    Ne(Value),
    /// Of the same class and less.
    Lt(Value),
    /// Of the same class and less or equal.
    Lte(Value),
    /// Of the same class and greater.
    Gt(Value),
    /// Of the same class and greater or equal.
    Gte(Value),
    /// Equal to one of them, as for `Eq`.
    In(Vec<Value>),
    /// A string that starts with it.
    Prefix(Box<str>),
    /// Whether the key is present.
    Exists(bool),
    /// The wildcard, as a literal value.
    IsAny,
    /// Of one of these types.
    Types(TypeSet),
}

/// A non-empty set of value types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct TypeSet(u16);

/// Bounds on the number of user pairs; at least one is set once checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCount {
    /// At least so many.
    pub min: Option<u32>,
    /// At most so many.
    pub max: Option<u32>,
}

/// One key to order by, in the total order of values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBy {
    /// The key.
    pub key: Key,
    /// Which way.
    pub direction: Direction,
    /// Where documents without the key go.
    pub missing: Missing,
}

/// Which way to order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Direction {
    /// Smallest first.
    #[default]
    Asc,
    /// Largest first.
    Desc,
}

/// Where documents without the key go, whichever the direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Missing {
    /// After those with it.
    #[default]
    Last,
    /// Before those with it.
    First,
    /// Nowhere: they do not match.
    Exclude,
}

/// How to pick without order and pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pick {
    /// Uniformly among what matches.
    Random,
    /// The first match after a cursor kept in the replicated state, wrapping once.
    RoundRobin {
        /// The cursor's name.
        cursor: Box<str>,
    },
}

impl Default for Query {
    fn default() -> Self {
        Self {
            filter: Filter::all(),
            ids: None,
            key_count: None,
            matching: None,
            order_by: Vec::new(),
            limit: limits::PAGE_LIMIT_DEFAULT,
            page_token: None,
            pick: None,
            count: false,
            explain: false,
        }
    }
}

impl Query {
    /// Everything that matches `filter`, by id.
    #[must_use]
    pub fn of(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// The limit, within its bounds whatever the field says.
    #[must_use]
    pub fn page_limit(&self) -> usize {
        self.limit.clamp(1, limits::PAGE_LIMIT) as usize
    }
}

impl Filter {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self::And(Vec::new())
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_all(&self) -> bool {
        matches!(self, Self::And(parts) if parts.is_empty())
    }

    /// A test of one key.
    #[must_use]
    pub const fn term(key: Key, op: Op) -> Self {
        Self::Term { key, op }
    }

    /// All of them: the parts of an `And` among them are taken over, and a single part is itself.
    #[must_use]
    pub fn and(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.swap_remove(0) } else { Self::And(flat) }
    }

    /// One of them: the parts of an `Or` among them are taken over, and a single part is itself.
    #[must_use]
    pub fn or(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.swap_remove(0) } else { Self::Or(flat) }
    }

    /// Not it.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "a constructor beside `and` and `or`")]
    pub fn not(part: Self) -> Self {
        Self::Not(Box::new(part))
    }
}

impl TypeSet {
    /// Every type there is.
    const ALL: u16 = (1 << ValueType::ALL.len()) - 1;

    /// The set of them; `None` if there is none.
    #[must_use]
    pub fn new(types: impl IntoIterator<Item = ValueType>) -> Option<Self> {
        let bits = types.into_iter().fold(0, |bits, value_type| bits | 1 << value_type as u8);
        Self::try_from(bits).ok()
    }

    /// Whether the type is in it.
    #[must_use]
    pub const fn contains(self, value_type: ValueType) -> bool {
        self.0 & 1 << value_type as u8 != 0
    }

    /// The types, in order.
    pub fn iter(self) -> impl Iterator<Item = ValueType> {
        ValueType::ALL.into_iter().filter(move |value_type| self.contains(*value_type))
    }
}

impl TryFrom<u16> for TypeSet {
    type Error = Error;

    fn try_from(bits: u16) -> Result<Self, Error> {
        if bits == 0 || bits & !Self::ALL != 0 {
            return Err(Error::new("types", "name at least one type"));
        }
        Ok(Self(bits))
    }
}

impl From<TypeSet> for u16 {
    fn from(types: TypeSet) -> Self {
        types.0
    }
}
