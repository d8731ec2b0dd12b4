//! What goes wrong, and when: a plan drawn from the seed before the run begins.

mod plan;

pub use plan::{Crash, Fault, Kind, Plan, Rest, Shape, plan};
