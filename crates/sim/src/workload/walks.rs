//! Readers of listings, page by page, at any node.

use super::Caller;
use super::names::SHELF;
use crate::history::{Action, Answer, Outcome};
use crate::scripts::Actor;

/// Walks one listing after the other until the time is up.
pub(super) async fn run(mut caller: Caller) {
    while caller.goes_on() {
        caller.think().await;
        walk(&mut caller).await;
    }
}

async fn walk(caller: &mut Caller) {
    let walk = caller.recorder.next_walk();
    let mut page = None;
    loop {
        let action = Action::Page { shelf: SHELF.to_owned(), walk, first: page.is_none() };
        match caller.look(action, page).await {
            (Outcome::Ok(Answer::Page { last: false, .. }), next) if next.is_some() => page = next,
            _ => return,
        }
        caller.think().await;
    }
}
