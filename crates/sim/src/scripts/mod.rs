//! What clients do, and who they are to it: the same scripts run in the simulation and against real processes.

mod actor;
pub mod limits;
pub mod locks;
pub mod queue;
pub mod reads;

pub use actor::{Actor, Call, Stage, ok};

use crate::history::{Action, Micros};

/// How long an action asks to wait.
#[must_use]
pub fn wait_us(action: &Action) -> Micros {
    match action {
        Action::Acquire { wait_ms, .. } | Action::Increment { wait_ms, .. } | Action::Dequeue { wait_ms, .. } => {
            wait_ms * 1000
        }
        _ => 0,
    }
}

/// Keys and values of a lock, counter or channel: `t0.c1` is channel `c1` of team `t0`.
#[must_use]
pub fn pairs(name: &str) -> Vec<(&str, &str)> {
    match name.split_once('.') {
        Some((team, rest)) if rest.starts_with('j') => vec![("team", team), ("job", rest)],
        Some((team, rest)) => vec![("team", team), ("channel", rest)],
        None => vec![("name", name)],
    }
}
