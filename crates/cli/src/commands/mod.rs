//! One module per noun; each verb is one call of the API.

pub(crate) mod certs;
pub(crate) mod channel;
pub(crate) mod cluster;
pub(crate) mod counter;
pub(crate) mod dead_letter;
pub(crate) mod item;
pub(crate) mod lock;
pub(crate) mod queue;
pub(crate) mod rule;
pub(crate) mod session;

use serde::Serialize;
use willow_api::{Page, page::Query};
use willow_client::{Error, Pages};

use crate::{
    args::QueryArguments,
    failure::Failure,
    output::{Columns, Output},
};

/// Answers a query: one page, or all of them.
pub(crate) async fn answer<T: Serialize, F: Future<Output = Result<Page<T>, Error>>>(
    query: &QueryArguments,
    one: impl FnOnce(Query) -> F,
    all: impl FnOnce(Query) -> Pages<T>,
    output: &Output,
    columns: Columns,
) -> Result<(), Failure> {
    let text = query.read()?;
    if query.all() {
        return output.list(&all(text).collect().await?, columns);
    }
    output.page(&one(text).await?, columns)
}
