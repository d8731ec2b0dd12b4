//! From tokens to a query.

mod clauses;

use std::ops::Range;

use willow_model::{Class, Error as ModelError, Key, Value, ValueType, limits};

use super::error::{Fault, TextError};
use super::lexer::{Lexer, Token};
use super::{CLAUSES, WORDS};
use crate::ast::{Filter, Op, Query, TypeSet};

type Result<T> = std::result::Result<T, Fault>;

pub(super) fn query(text: &str) -> std::result::Result<Query, TextError> {
    Parser::new(text).and_then(Parser::query).map_err(|fault| fault.locate(text))
}

pub(super) fn filter(text: &str) -> std::result::Result<Filter, TextError> {
    Parser::new(text).and_then(Parser::only_filter).map_err(|fault| fault.locate(text))
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    /// The next token, once it was looked at.
    peeked: Option<(Token<'t>, Range<usize>)>,
    /// The end of the last token taken.
    end: usize,
    terms: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self> {
        if text.len() > limits::QUERY_TEXT_BYTES {
            let most = limits::QUERY_TEXT_BYTES;
            return Err(Fault::new(0..0, format!("a query may have at most {most} bytes")));
        }
        Ok(Self { lexer: Lexer::new(text), peeked: None, end: 0, terms: 0 })
    }

    fn only_filter(mut self) -> Result<Filter> {
        let filter = if *self.peek()? == Token::End { Filter::all() } else { self.filter(0)? };
        if *self.peek()? != Token::End {
            return Err(self.unexpected("`and`, `or` or the end"));
        }
        let checked = filter.check();
        checked.map_err(|error| Fault::new(0..self.end, error.reason))?;
        Ok(filter)
    }

    fn filter(&mut self, depth: usize) -> Result<Filter> {
        let mut parts = vec![self.conjunction(depth)?];
        while self.take_word("or")? {
            parts.push(self.conjunction(depth)?);
        }
        Ok(Filter::or(parts))
    }

    fn conjunction(&mut self, depth: usize) -> Result<Filter> {
        let mut parts = vec![self.unary(depth)?];
        while self.take_word("and")? {
            parts.push(self.unary(depth)?);
        }
        Ok(Filter::and(parts))
    }

    fn unary(&mut self, depth: usize) -> Result<Filter> {
        let nests = matches!(self.peek()?, Token::Word("not") | Token::Symbol("("));
        if nests && depth == limits::QUERY_TEXT_NESTING {
            let most = limits::QUERY_TEXT_NESTING;
            let span = self.span()?;
            return Err(Fault::new(span, format!("nested more than {most} deep; simplify it")));
        }
        if self.take_word("not")? {
            return Ok(Filter::not(self.unary(depth + 1)?));
        }
        if self.take("(")? {
            let filter = self.filter(depth + 1)?;
            self.expect(")", "`and`, `or` or `)`")?;
            return Ok(filter);
        }
        self.term()
    }

    fn term(&mut self) -> Result<Filter> {
        let span = self.span()?;
        let key = self.key("a key, `not` or `(`")?;
        self.terms += 1;
        if self.terms > limits::QUERY_TERMS {
            let most = limits::QUERY_TERMS;
            return Err(Fault::new(span, format!("at most {most} comparisons fit; use `in`")));
        }
        Ok(Filter::term(key, self.op()?))
    }

    fn op(&mut self) -> Result<Op> {
        let compare: fn(Value) -> Op = match self.peek()? {
            Token::Symbol("=" | "==") => Op::Eq,
            Token::Symbol("!=") => Op::Ne,
            Token::Symbol("<") => Op::Lt,
            Token::Symbol("<=") => Op::Lte,
            Token::Symbol(">") => Op::Gt,
            Token::Symbol(">=") => Op::Gte,
            Token::Word("in") => return self.op_in(),
            Token::Word("prefix") => return self.op_prefix(),
            Token::Word("is") => return self.op_is(),
            Token::Word("exists") => {
                self.bump()?;
                return Ok(Op::Exists(true));
            }
            Token::Word("absent") => {
                self.bump()?;
                return Ok(Op::Exists(false));
            }
            _ => {
                return Err(self.unexpected("a comparison (=, !=, <, <=, >, >=, in, prefix, exists, absent or is)"));
            }
        };
        self.bump()?;
        Ok(compare(self.value()?))
    }

    fn op_in(&mut self) -> Result<Op> {
        self.bump()?;
        let values = self.list(limits::QUERY_IN_VALUES, Self::value)?;
        Ok(Op::In(values))
    }

    fn op_prefix(&mut self) -> Result<Op> {
        self.bump()?;
        let text = self.string("a string in quotes")?;
        Ok(Op::Prefix(text.into()))
    }

    fn op_is(&mut self) -> Result<Op> {
        self.bump()?;
        let types = match self.peek()? {
            Token::Symbol("[") => self.list(ValueType::ALL.len(), Self::value_type)?,
            Token::Word("any") => {
                self.bump()?;
                return Ok(Op::IsAny);
            }
            _ => vec![self.value_type()?],
        };
        let span = self.end..self.end;
        TypeSet::new(types).map(Op::Types).ok_or_else(|| Fault::new(span, "name a type"))
    }

    /// A list in brackets with at least one item.
    fn list<T>(&mut self, most: usize, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect("[", "`[`")?;
        let mut items = Vec::new();
        loop {
            if items.len() == most {
                let span = self.span()?;
                return Err(Fault::new(span, format!("at most {most} items fit into this list")));
            }
            items.push(item(self)?);
            if !self.take(",")? {
                self.expect("]", "`,` or `]`")?;
                return Ok(items);
            }
        }
    }

    fn value_type(&mut self) -> Result<ValueType> {
        let Token::Word(name) = *self.peek()? else {
            return Err(self.unexpected("a type such as u8, `any` or `[`"));
        };
        let span = self.bump()?;
        name.parse().map_err(|error: ModelError| Fault::new(span, error.to_string()))
    }

    fn value(&mut self) -> Result<Value> {
        let value = match self.peek()? {
            Token::String(text) => Value::string(text.as_str()).map_err(|error| error.to_string()),
            Token::Word("true") => Ok(Value::Bool(true)),
            Token::Word("false") => Ok(Value::Bool(false)),
            Token::Number { text, suffix } => number(text, suffix),
            Token::Symbol("*") => {
                let hint = "a comparison needs a concrete value; for the wildcard use `is any`";
                return Err(Fault::new(self.span()?, hint));
            }
            Token::Word(_) => return Err(self.unexpected("a value (strings need quotes)")),
            _ => return Err(self.unexpected("a value")),
        };
        let span = self.bump()?;
        value.map_err(|reason| Fault::new(span, reason))
    }

    fn key(&mut self, expected: &str) -> Result<Key> {
        let key = match self.peek()? {
            Token::Word(word) if WORDS.contains(word) => {
                let reason = format!("expected {expected}; {}", needs_backquotes(word));
                return Err(Fault::new(self.span()?, reason));
            }
            Token::Word(word) => Key::new(*word),
            Token::Key(key) => Key::new(key.as_str()),
            _ => return Err(self.unexpected(expected)),
        };
        let span = self.bump()?;
        key.map_err(|error| Fault::new(span, error.to_string()))
    }

    fn string(&mut self, expected: &str) -> Result<String> {
        let Token::String(text) = self.peek()? else {
            return Err(self.unexpected(expected));
        };
        let text = text.clone();
        self.bump()?;
        Ok(text)
    }

    fn peek(&mut self) -> Result<&Token<'t>> {
        self.peek_both().map(|(token, _)| token)
    }

    /// Where the next token is.
    fn span(&mut self) -> Result<Range<usize>> {
        self.peek_both().map(|(_, span)| span.clone())
    }

    fn peek_both(&mut self) -> Result<&(Token<'t>, Range<usize>)> {
        let peeked = match self.peeked.take() {
            Some(peeked) => peeked,
            None => self.lexer.next()?,
        };
        Ok(self.peeked.insert(peeked))
    }

    /// Takes the next token, and says where it was.
    fn bump(&mut self) -> Result<Range<usize>> {
        let span = self.span()?;
        self.peeked = None;
        self.end = span.end;
        Ok(span)
    }

    fn take(&mut self, symbol: &'static str) -> Result<bool> {
        let found = *self.peek()? == Token::Symbol(symbol);
        if found {
            self.bump()?;
        }
        Ok(found)
    }

    fn take_word(&mut self, word: &str) -> Result<bool> {
        let found = matches!(self.peek()?, Token::Word(other) if *other == word);
        if found {
            self.bump()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &'static str, expected: &str) -> Result<()> {
        if self.take(symbol)? { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// The fault of the next token not being what was expected.
    fn unexpected(&mut self, expected: &str) -> Fault {
        let (token, span) = match self.peek_both() {
            Ok(peeked) => peeked.clone(),
            Err(fault) => return fault,
        };
        let found = match token {
            Token::Word(word) => format!("`{}`", shorten(word)),
            Token::Key(key) => format!("the key {:?}", shorten(&key)),
            Token::String(text) => format!("the string {:?}", shorten(&text)),
            Token::Number { text, suffix } => format!("{}{}", shorten(text), shorten(suffix)),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        };
        Fault::new(span, format!("expected {expected}, found {found}"))
    }
}

fn number(text: &str, suffix: &str) -> std::result::Result<Value, String> {
    let whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let value_type = match suffix {
        "" if whole => ValueType::I64,
        "" => ValueType::F64,
        name => name.parse().map_err(|error: ModelError| error.to_string())?,
    };
    if value_type.class() != Class::Number {
        return Err(format!("a number cannot be of type {value_type}; leave the type out"));
    }
    Value::parse_as(text, value_type).map_err(|error| {
        let hint = "; name one that it fits, as in 18446744073709551615u64";
        let hint = if suffix.is_empty() && whole { hint } else { "" };
        format!("{error}{hint}")
    })
}

fn needs_backquotes(word: &str) -> String {
    format!("`{word}` is a word of the language; as a key it needs backquotes")
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
