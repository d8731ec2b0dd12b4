//! Scripts: text commands in, replies, effects and state out, held to the golden text in the same file.
//!
//! `REWRITE=1 cargo test -p willow-core --test scripts` accepts what comes out now; review the diff.

mod script;
mod support;

#[test]
fn limiter() {
    script::run_folder("limiter", &mut script::limiter::Vocabulary::default);
}

#[test]
fn locker() {
    script::run_folder("locker", &mut script::locker::Vocabulary::default);
}

#[test]
fn queue() {
    script::run_folder("queue", &mut script::queue::Vocabulary::default);
}
