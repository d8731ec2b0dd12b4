//! Willow's query language and engine: the query ([`ast`]), its JSON and text forms, what it means
//! ([`eval`]), page tokens, and the indexes and planner that answer it.

#![warn(missing_docs)]

pub mod ast;
mod error;
pub mod eval;

pub use ast::{Direction, Filter, KeyCount, Missing, Op, OrderBy, Pick, Query, TypeSet};
pub use error::Error;
