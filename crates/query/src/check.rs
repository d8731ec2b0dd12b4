//! The bounds and rules that a query must keep, whichever form it came in.

use willow_model::{Origin, Value, limits};

use crate::Error;
use crate::ast::{Filter, Op, Pick, Query};

impl Query {
    /// Checks it. JSON and text are checked when read; a query built in code needs it before use.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), Error> {
        self.filter.check()?;
        self.check_selection()?;
        self.check_order()?;
        self.check_pick()
    }

    fn check_selection(&self) -> Result<(), Error> {
        if let Some(ids) = &self.ids {
            check_list("ids", ids.len(), limits::QUERY_IDS)?;
        }
        if let Some(count) = self.key_count {
            match (count.min, count.max) {
                (None, None) => return Err(Error::new("key_count", "give min, max or both")),
                (Some(min), Some(max)) if min > max => {
                    return Err(Error::new("key_count", "min is above max; nothing could match"));
                }
                _ => {}
            }
        }
        if let Some(matching) = &self.matching {
            let checked = matching.check(Origin::Probe);
            checked.map_err(|error| Error::new("matching", error.to_string()))?;
        }
        Ok(())
    }

    fn check_order(&self) -> Result<(), Error> {
        let order_by = &self.order_by;
        if order_by.len() > limits::QUERY_ORDER_KEYS {
            let most = limits::QUERY_ORDER_KEYS;
            return Err(Error::new("order_by", format!("order by at most {most} keys")));
        }
        for (index, order) in order_by.iter().enumerate() {
            if order_by[..index].iter().any(|before| before.key == order.key) {
                let reason = format!("the key {:?} is there twice; name it once", order.key);
                return Err(Error::new("order_by", reason));
            }
        }
        if self.limit == 0 {
            return Err(Error::new("limit", "must be at least 1; leave it out for the default"));
        }
        match &self.page_token {
            Some(token) if token.len() > limits::PAGE_TOKEN_BYTES => {
                Err(Error::new("page_token", "too long to be a page token; pass one unchanged"))
            }
            _ => Ok(()),
        }
    }

    fn check_pick(&self) -> Result<(), Error> {
        let Some(pick) = &self.pick else {
            return Ok(());
        };
        if !self.order_by.is_empty() {
            return Err(Error::new("pick", "cannot be combined with order_by; leave one out"));
        }
        if self.page_token.is_some() {
            return Err(Error::new("pick", "cannot be combined with page_token; leave one out"));
        }
        match pick {
            Pick::RoundRobin { cursor } if cursor.is_empty() => {
                Err(Error::new("pick.round_robin.cursor", "must not be empty"))
            }
            Pick::RoundRobin { cursor } if cursor.len() > limits::CURSOR_NAME_BYTES => {
                let reason = format!("must have at most {} bytes", limits::CURSOR_NAME_BYTES);
                Err(Error::new("pick.round_robin.cursor", reason))
            }
            Pick::Random | Pick::RoundRobin { .. } => Ok(()),
        }
    }
}

impl Filter {
    /// Checks nesting, counts and values.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_all() { Ok(()) } else { Counts::default().add(self, 0) }
    }
}

/// What has been seen of a filter so far.
#[derive(Default)]
struct Counts {
    terms: usize,
    in_values: usize,
}

impl Counts {
    fn add(&mut self, filter: &Filter, depth: usize) -> Result<(), Error> {
        if depth == limits::QUERY_NESTING && !matches!(filter, Filter::Term { .. }) {
            let most = limits::QUERY_NESTING;
            let reason = format!("and, or and not may nest at most {most} deep; simplify it");
            return Err(Error::new("where", reason));
        }
        match filter {
            Filter::And(parts) | Filter::Or(parts) if parts.is_empty() => {
                Err(Error::new("where", "an empty and / or inside a filter; leave it out"))
            }
            Filter::And(parts) | Filter::Or(parts) => parts.iter().try_for_each(|part| self.add(part, depth + 1)),
            Filter::Not(part) => self.add(part, depth + 1),
            Filter::Term { key, op } => {
                self.terms += 1;
                if self.terms > limits::QUERY_TERMS {
                    let reason = format!("at most {} comparisons; use `in`", limits::QUERY_TERMS);
                    return Err(Error::new("where", reason));
                }
                let path = || format!("where.{key}.{}", op.name());
                op.check().map_err(|reason| Error::new(path(), reason))?;
                if let Op::In(list) = op {
                    self.in_values += list.len();
                    if self.in_values > limits::QUERY_IN_VALUES {
                        let most = limits::QUERY_IN_VALUES;
                        let reason = format!("all lists together may have {most} values");
                        return Err(Error::new(path(), reason));
                    }
                }
                Ok(())
            }
        }
    }
}

impl Op {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Eq(_) => "eq",
            Self::Ne(_) => "ne",
            Self::Lt(_) => "lt",
            Self::Lte(_) => "lte",
            Self::Gt(_) => "gt",
            Self::Gte(_) => "gte",
            Self::In(_) => "in",
            Self::Prefix(_) => "prefix",
            Self::Exists(_) => "exists",
            Self::IsAny => "is_any",
            Self::Types(_) => "types",
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Eq(value)
            | Self::Ne(value)
            | Self::Lt(value)
            | Self::Lte(value)
            | Self::Gt(value)
            | Self::Gte(value) => check_value(value),
            Self::In(list) if list.is_empty() => {
                Err("an empty list matches nothing; leave the comparison out".to_owned())
            }
            Self::In(list) => list.iter().try_for_each(check_value),
            Self::Prefix(prefix) if prefix.len() > limits::VALUE_STRING_BYTES => {
                Err(format!("longer than any string; at most {} bytes", limits::VALUE_STRING_BYTES))
            }
            Self::Prefix(_) | Self::Exists(_) | Self::IsAny | Self::Types(_) => Ok(()),
        }
    }
}

fn check_value(value: &Value) -> Result<(), String> {
    if *value == Value::Any {
        return Err("a comparison needs a concrete value; for the wildcard use is_any".to_owned());
    }
    value.as_ref().check().map_err(|error| error.to_string())
}

fn check_list(path: &str, len: usize, most: usize) -> Result<(), Error> {
    if len == 0 {
        return Err(Error::new(path, "an empty list matches nothing; leave it out"));
    }
    if len > most {
        return Err(Error::new(path, format!("at most {most} fit; this has {len}")));
    }
    Ok(())
}
