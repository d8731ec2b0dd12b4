//! What may follow the filter.

use std::ops::Range;

use willow_model::{Error as ModelError, Id, KeyValues, Origin, limits};

use super::{CLAUSES, Fault, Parser, Result, Token, needs_backquotes};
use crate::Error;
use crate::ast::{Direction, Filter, KeyCount, Missing, OrderBy, Pick, Query};

impl Parser<'_> {
    pub(super) fn query(mut self) -> Result<Query> {
        let mut query = Query::default();
        let bare = match self.peek()? {
            Token::End => true,
            Token::Word(word) => CLAUSES.contains(word),
            _ => false,
        };
        query.filter = if bare { Filter::all() } else { self.filter(0)? };
        let mut spans: Vec<(&str, Range<usize>)> = vec![("where", 0..self.end)];
        while *self.peek()? != Token::End {
            let (name, span) = self.clause(&mut query)?;
            if spans.iter().any(|(other, _)| *other == name) {
                return Err(Fault::new(span, format!("`{name}` is there twice; say it once")));
            }
            spans.push((name, span.start..self.end));
        }
        query.check().map_err(|error| place(error, &spans))?;
        Ok(query)
    }

    /// Reads a clause into the query. Returns the clause's name in JSON and where its word is.
    fn clause(&mut self, query: &mut Query) -> Result<(&'static str, Range<usize>)> {
        let Token::Word(word) = *self.peek()? else {
            return Err(self.no_clause());
        };
        let Some(name) = CLAUSES.iter().copied().find(|clause| *clause == word) else {
            return Err(self.no_clause());
        };
        let span = self.bump()?;
        if let Token::Symbol("=" | "==" | "!=" | "<" | "<=" | ">" | ">=") = self.peek()? {
            return Err(Fault::new(span, needs_backquotes(name)));
        }
        match name {
            "matching" => query.matching = Some(self.matching()?),
            "ids" => query.ids = Some(self.ids()?),
            "key_count" => query.key_count = Some(self.key_count()?),
            "order" => {
                query.order_by = self.order_by()?;
                return Ok(("order_by", span));
            }
            "limit" => query.limit = self.limit()?,
            "page_token" => query.page_token = Some(self.string("a page token in quotes")?),
            "pick" => query.pick = Some(self.pick()?),
            "count" => query.count = true,
            _ => query.explain = true,
        }
        Ok((name, span))
    }

    fn no_clause(&mut self) -> Fault {
        let clauses = CLAUSES.join(", ").replace("order", "order by");
        self.unexpected(&format!("`and`, `or`, a clause ({clauses}) or the end"))
    }

    fn matching(&mut self) -> Result<KeyValues> {
        let mut builder = KeyValues::builder(Origin::Probe);
        let start = self.span()?.start;
        self.expect("{", "`{` and pairs, as in {os = \"linux\"}")?;
        loop {
            let from = self.span()?.start;
            let key = self.key("a key")?;
            self.expect("=", "`=`")?;
            let value = self.value()?;
            let pushed = builder.push(key.as_str(), value);
            pushed.map_err(|error| Fault::new(from..self.end, error.to_string()))?;
            if !self.take(",")? {
                break;
            }
        }
        self.expect("}", "`,` or `}`")?;
        builder.build().map_err(|error| Fault::new(start..self.end, error.to_string()))
    }

    fn ids(&mut self) -> Result<Vec<Id>> {
        self.list(limits::QUERY_IDS, Self::id)
    }

    fn id(&mut self) -> Result<Id> {
        // Only nothing was looked at yet: an id is not one token.
        let bare = if self.peeked.is_none() { self.lexer.id() } else { None };
        let (id, span) = match bare {
            Some((id, span)) => (id.parse(), span),
            None => {
                let span = self.span()?;
                (self.string("an id")?.parse(), span)
            }
        };
        self.end = span.end;
        id.map_err(|error: ModelError| Fault::new(span, error.to_string()))
    }

    fn key_count(&mut self) -> Result<KeyCount> {
        if self.take("..")? {
            let max = self.integer("the largest number of keys")?;
            return Ok(KeyCount { min: None, max: Some(max) });
        }
        let min = self.integer("a number of keys or a range such as 1..3")?;
        if !self.take("..")? {
            return Ok(KeyCount { min: Some(min), max: Some(min) });
        }
        let bounded = matches!(self.peek()?, Token::Number { .. });
        let max = if bounded { Some(self.integer("the largest number of keys")?) } else { None };
        Ok(KeyCount { min: Some(min), max })
    }

    fn order_by(&mut self) -> Result<Vec<OrderBy>> {
        if !self.take_word("by")? {
            return Err(self.unexpected("`by`"));
        }
        let mut order_by = Vec::new();
        loop {
            if order_by.len() == limits::QUERY_ORDER_KEYS {
                let span = self.span()?;
                let most = limits::QUERY_ORDER_KEYS;
                return Err(Fault::new(span, format!("order by at most {most} keys")));
            }
            let key = self.key("a key to order by")?;
            let direction = if self.take_word("desc")? {
                Direction::Desc
            } else {
                self.take_word("asc")?;
                Direction::Asc
            };
            let missing = if self.take_word("missing")? { self.missing()? } else { Missing::Last };
            order_by.push(OrderBy { key, direction, missing });
            if !self.take(",")? {
                return Ok(order_by);
            }
        }
    }

    fn missing(&mut self) -> Result<Missing> {
        let missing = match self.peek()? {
            Token::Word("last") => Missing::Last,
            Token::Word("first") => Missing::First,
            Token::Word("exclude") => Missing::Exclude,
            _ => return Err(self.unexpected("`last`, `first` or `exclude`")),
        };
        self.bump()?;
        Ok(missing)
    }

    fn pick(&mut self) -> Result<Pick> {
        if self.take_word("random")? {
            return Ok(Pick::Random);
        }
        if !self.take_word("round")? {
            return Err(self.unexpected("`random` or `round robin`"));
        }
        if !self.take_word("robin")? {
            return Err(self.unexpected("`robin`"));
        }
        let cursor = self.string("the cursor's name in quotes")?;
        Ok(Pick::RoundRobin { cursor: cursor.into() })
    }

    /// Too large a limit is coerced, as documented.
    fn limit(&mut self) -> Result<u32> {
        match self.peek()? {
            Token::Number { text, suffix: "" } if text.bytes().all(|c| c.is_ascii_digit()) => {
                let limit = text.parse().map_or(limits::PAGE_LIMIT, |n: u32| n.min(limits::PAGE_LIMIT));
                self.bump()?;
                Ok(limit)
            }
            _ => Err(self.unexpected("a limit from 1 to 1000")),
        }
    }

    fn integer(&mut self, what: &str) -> Result<u32> {
        let Token::Number { text, suffix: "" } = *self.peek()? else {
            return Err(self.unexpected(what));
        };
        let number = text.parse();
        let span = self.bump()?;
        number.map_err(|_| Fault::new(span, "expected an integer from 0 to 4294967295"))
    }
}

/// A fault of the whole query, at the clause it is about.
fn place(error: Error, spans: &[(&str, Range<usize>)]) -> Fault {
    let field = error.path.split('.').next().unwrap_or_default();
    let span = spans.iter().find(|(name, _)| *name == field).map(|(_, span)| span.clone());
    Fault::new(span.unwrap_or(0..0), error.reason)
}
