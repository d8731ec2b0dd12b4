//! Reading requests: bodies, path arguments, query parameters, headers. Whatever is wrong becomes a
//! problem that says what to do.

mod body;
mod json;
mod params;

pub(crate) use body::Body;
pub(crate) use json::check_depth;
pub(crate) use params::{Args, Commas, IfMatch, Named, Parameters, RequestIdHeader};
