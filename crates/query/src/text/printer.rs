//! From a query to text, such that it reads back as an equal query.

use std::fmt::{self, Display, Formatter};

use willow_model::limits;
use willow_model::text::quote;

use super::WORDS;
use super::lexer::is_word;
use crate::ast::{Direction, Filter, KeyCount, Missing, Op, OrderBy, Pick, Query};

/// How tightly the surroundings of a filter bind; a filter that binds less needs parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut clauses = Clauses { f, first: true };
        if !self.filter.is_all() {
            clauses.next(&self.filter)?;
        }
        if let Some(matching) = &self.matching {
            let pairs = matching.iter();
            let pairs = pairs.map(|(key, value)| format!("{} = {value}", KeyText(key)));
            clauses.next(format_args!("matching {{{}}}", join(pairs)))?;
        }
        if let Some(ids) = &self.ids {
            clauses.next(format_args!("ids [{}]", join(ids)))?;
        }
        if let Some(KeyCount { min, max }) = self.key_count {
            let bound = |bound: Option<u32>| bound.map_or_else(String::new, |n| n.to_string());
            clauses.next(format_args!("key_count {}..{}", bound(min), bound(max)))?;
        }
        if !self.order_by.is_empty() {
            clauses.next(format_args!("order by {}", join(&self.order_by)))?;
        }
        if self.limit != limits::PAGE_LIMIT_DEFAULT {
            clauses.next(format_args!("limit {}", self.limit))?;
        }
        if let Some(token) = &self.page_token {
            clauses.next(format_args!("page_token {}", StringText(token)))?;
        }
        match &self.pick {
            None => {}
            Some(Pick::Random) => clauses.next("pick random")?,
            Some(Pick::RoundRobin { cursor }) => {
                clauses.next(format_args!("pick round robin {}", StringText(cursor)))?;
            }
        }
        if self.count {
            clauses.next("count")?;
        }
        if self.explain {
            clauses.next("explain")?;
        }
        Ok(())
    }
}

/// Writes clauses with spaces between them.
struct Clauses<'f, 'a> {
    f: &'f mut Formatter<'a>,
    first: bool,
}

impl Clauses<'_, '_> {
    fn next(&mut self, clause: impl Display) -> fmt::Result {
        let space = if self.first { "" } else { " " };
        self.first = false;
        write!(self.f, "{space}{clause}")
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_all() { Ok(()) } else { self.write(f, Binding::Or) }
    }
}

impl Filter {
    fn write(&self, f: &mut Formatter<'_>, around: Binding) -> fmt::Result {
        let (own, parts, word) = match self {
            Self::Term { key, op } => return write!(f, "{} {op}", KeyText(key)),
            Self::Not(part) => {
                f.write_str("not ")?;
                return part.write(f, Binding::Not);
            }
            Self::And(parts) => (Binding::And, parts, " and "),
            Self::Or(parts) => (Binding::Or, parts, " or "),
        };
        let inside = own < around;
        f.write_str(if inside { "(" } else { "" })?;
        for (index, part) in parts.iter().enumerate() {
            f.write_str(if index > 0 { word } else { "" })?;
            part.write(f, own)?;
        }
        f.write_str(if inside { ")" } else { "" })
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eq(value) => write!(f, "= {value}"),
            Self::Ne(value) => write!(f, "!= {value}"),
            Self::Lt(value) => write!(f, "< {value}"),
            Self::Lte(value) => write!(f, "<= {value}"),
            Self::Gt(value) => write!(f, "> {value}"),
            Self::Gte(value) => write!(f, ">= {value}"),
            Self::In(list) => write!(f, "in [{}]", join(list)),
            Self::Prefix(prefix) => write!(f, "prefix {}", StringText(prefix)),
            Self::Exists(true) => f.write_str("exists"),
            Self::Exists(false) => f.write_str("absent"),
            Self::IsAny => f.write_str("is any"),
            Self::Types(types) => write!(f, "is [{}]", join(types.iter())),
        }
    }
}

impl Display for OrderBy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        KeyText(&self.key).fmt(f)?;
        f.write_str(match self.direction {
            Direction::Asc => "",
            Direction::Desc => " desc",
        })?;
        f.write_str(match self.missing {
            Missing::Last => "",
            Missing::First => " missing first",
            Missing::Exclude => " missing exclude",
        })
    }
}

/// A key, in backquotes if need be.
struct KeyText<'a>(&'a str);

impl Display for KeyText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_word(self.0) && !WORDS.contains(&self.0) { f.write_str(self.0) } else { quote(f, self.0, '`') }
    }
}

/// A string in quotes.
struct StringText<'a>(&'a str);

impl Display for StringText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        quote(f, self.0, '"')
    }
}

fn join<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}
