#![doc = include_str!("../../../docs/query-language.md")]
//!
//! # In the code
//! Reading is a lexer and a recursive descent, bounded in depth by
//! [`willow_model::limits::QUERY_TEXT_NESTING`], written by hand: the grammar is small, and so every error can
//! say what was expected here and point at what was found instead. Writing is `Display`.

mod error;
mod lexer;
mod parser;
mod printer;

use std::str::FromStr;

pub use error::TextError;

use crate::ast::{Filter, Query};

/// The words that a key must be written in backquotes for.
const WORDS: [&str; 12] =
    ["and", "or", "not", "matching", "ids", "key_count", "order", "limit", "page_token", "pick", "count", "explain"];

/// Those of [`WORDS`] that start a clause; the others are in filters.
const CLAUSES: &[&str] = WORDS.split_at(3).1;

impl FromStr for Query {
    type Err = TextError;

    /// Reads and checks a query's text.
    fn from_str(text: &str) -> Result<Self, TextError> {
        parser::query(text)
    }
}

impl FromStr for Filter {
    type Err = TextError;

    /// Reads and checks a filter's text: a query without clauses.
    fn from_str(text: &str) -> Result<Self, TextError> {
        parser::filter(text)
    }
}
