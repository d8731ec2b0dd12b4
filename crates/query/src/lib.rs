//! Willow's query language and engine: the query ([`ast`]), its JSON and text forms, what it means
//! ([`eval`]), page tokens, and the indexes and planner that answer it.

#![warn(missing_docs)]

pub mod ast;
mod check;
mod error;
pub mod eval;
pub mod index;
pub mod json;
#[cfg(any(test, feature = "testing"))]
pub mod naive;
pub mod page_token;
pub mod plan;
mod position;
mod sample;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod text;
mod trie;

pub use ast::{Direction, Filter, KeyCount, Missing, Op, OrderBy, Pick, Query, TypeSet};
pub use error::Error;
pub use index::{Index, Options};
pub use page_token::{PageTokenError, PageTokens};
pub use plan::{Compiled, Count, Page, Plan, Run};
pub use position::Position;
pub use text::TextError;
pub use trie::PatternTrie;
