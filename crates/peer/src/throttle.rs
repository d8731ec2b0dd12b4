//! Log lines at a bounded rate, whatever strangers do.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Lines of one subject are at least so far apart.
const APART: Duration = Duration::from_secs(10);

/// Subjects that are told apart; with more, all are one for a while.
const MAX_SUBJECTS: usize = 64;

/// Says which lines to write.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    lines: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Throttle {
    /// Whether to write a line about `subject` now, and how many were left out before it.
    pub(crate) fn line(&self, subject: &str) -> Option<u64> {
        self.line_at(subject, Instant::now())
    }

    fn line_at(&self, subject: &str, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock();
        if !lines.contains_key(subject) && lines.len() >= MAX_SUBJECTS {
            lines.retain(|_, (last, _)| now.duration_since(*last) < APART);
            if lines.len() >= MAX_SUBJECTS {
                return None;
            }
        }
        match lines.get_mut(subject) {
            None => {
                lines.insert(subject.to_owned(), (now, 0));
                Some(0)
            }
            Some((last, left_out)) if now.duration_since(*last) < APART => {
                *left_out += 1;
                None
            }
            Some((last, left_out)) => {
                *last = now;
                Some(std::mem::take(left_out))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_gets_a_line_now_and_then_and_the_rest_is_counted() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.line_at("a", start), Some(0));
        assert_eq!(throttle.line_at("a", start), None);
        assert_eq!(throttle.line_at("b", start), Some(0));
        assert_eq!(throttle.line_at("a", start + APART / 2), None);
        assert_eq!(throttle.line_at("a", start + APART), Some(2));
        for stranger in 0..1000 {
            let _line = throttle.line_at(&format!("stranger {stranger}"), start + APART);
        }
        assert!(throttle.lines.lock().len() <= MAX_SUBJECTS);
    }
}
