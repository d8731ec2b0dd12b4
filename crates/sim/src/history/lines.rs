//! A history as lines of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Action, Facts, History, Micros, OpId, Operation, Outcome, Setup};

/// Something that happened. A file of these, one per line, is a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The run began.
    Setup(Setup),
    /// A client called.
    Invoked {
        /// Names the operation.
        id: OpId,
        /// Who called.
        client: u32,
        /// When.
        at_us: Micros,
        /// Makes repeats of it safe.
        request_id: Option<String>,
        /// See [`Operation::repeat_of`].
        repeat_of: Option<OpId>,
        /// What was asked for.
        action: Action,
    },
    /// A client heard, or gave up.
    Completed {
        /// Which operation.
        id: OpId,
        /// When.
        at_us: Micros,
        /// See [`Operation::served_by`].
        served_by: Option<(u32, u32)>,
        /// What came of it.
        outcome: Outcome,
    },
    /// What nodes said at the end.
    Facts(Facts),
}

/// A line that does not fit.
#[derive(Debug)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.number, self.reason)
    }
}

impl std::error::Error for BadLine {}

impl History {
    /// Puts a history together. An operation that never completed has an unknown outcome.
    ///
    /// # Errors
    /// When an operation completes that was not invoked.
    pub fn from_lines(lines: impl IntoIterator<Item = Line>) -> Result<Self, BadLine> {
        let mut history = Self::default();
        let mut places: BTreeMap<OpId, usize> = BTreeMap::new();
        for (number, line) in (1..).zip(lines) {
            match line {
                Line::Setup(setup) => history.setup = setup,
                Line::Facts(facts) => history.facts = facts,
                Line::Invoked { id, client, at_us, request_id, repeat_of, action } => {
                    places.insert(id, history.operations.len());
                    history.operations.push(Operation {
                        id,
                        client,
                        request_id,
                        repeat_of,
                        invoked_us: at_us,
                        completed_us: None,
                        served_by: None,
                        action,
                        outcome: Outcome::Unknown("no answer came".to_owned()),
                    });
                }
                Line::Completed { id, at_us, served_by, outcome } => {
                    let Some(operation) = places.get(&id).and_then(|place| history.operations.get_mut(*place)) else {
                        return Err(BadLine { number, reason: format!("operation {id} was never invoked") });
                    };
                    operation.completed_us = Some(at_us);
                    operation.served_by = served_by;
                    operation.outcome = outcome;
                }
            }
        }
        Ok(history)
    }

    /// Reads lines of JSON.
    ///
    /// # Errors
    /// When a line is no [`Line`], or does not fit.
    pub fn from_json(text: &str) -> Result<Self, BadLine> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = serde_json::from_str(line).map_err(|error| BadLine { number, reason: error.to_string() })?;
            lines.push(line);
        }
        Self::from_lines(lines)
    }

    /// The same as lines, calls and answers in the order of time.
    #[must_use]
    pub fn to_lines(&self) -> Vec<Line> {
        let mut timed = Vec::new();
        for operation in &self.operations {
            let Operation { id, client, request_id, repeat_of, invoked_us, action, .. } = operation.clone();
            let invoked = Line::Invoked { id, client, at_us: invoked_us, request_id, repeat_of, action };
            timed.push(((invoked_us, 0, id), invoked));
            if let Some(at_us) = operation.completed_us {
                let Operation { served_by, outcome, .. } = operation.clone();
                timed.push(((at_us, 1, id), Line::Completed { id, at_us, served_by, outcome }));
            }
        }
        timed.sort_by_key(|(key, _)| *key);
        let mut lines = vec![Line::Setup(self.setup.clone())];
        lines.extend(timed.into_iter().map(|(_, line)| line));
        lines.push(Line::Facts(self.facts.clone()));
        lines
    }

    /// As lines of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let lines = self.to_lines().into_iter();
        lines.map(|line| serde_json::to_string(&line).expect("lines are plain data") + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Refusal};

    fn operation(id: OpId, invoked_us: Micros, completed_us: Option<Micros>, outcome: Outcome) -> Operation {
        Operation {
            id,
            client: 1,
            request_id: Some(format!("r{id}")),
            repeat_of: None,
            invoked_us,
            completed_us,
            served_by: Some((2, 0)),
            action: Action::ReadCounter { counter: "c".to_owned(), stale: false },
            outcome,
        }
    }

    #[test]
    fn a_history_survives_its_lines() {
        let mut history = History::default();
        history.setup.clock_fast_milli = 5;
        history.operations = vec![
            operation(1, 10, Some(30), Outcome::Ok(Answer::Counter { amount: 3 })),
            operation(2, 20, Some(25), Outcome::Refused(Refusal::Other("x".to_owned()))),
        ];
        let read = History::from_json(&history.to_json()).expect("it was just written");
        assert_eq!(read, history);
    }

    #[test]
    fn an_operation_without_an_end_is_unknown() {
        let lines = [Line::Invoked {
            id: 1,
            client: 1,
            at_us: 5,
            request_id: None,
            repeat_of: None,
            action: Action::CreateSession { ttl_ms: 5 },
        }];
        let history = History::from_lines(lines).expect("well-formed");
        assert!(history.operations[0].is_unknown());
        let lost = [Line::Completed { id: 7, at_us: 5, served_by: None, outcome: Outcome::Ok(Answer::Acked) }];
        assert!(History::from_lines(lost).is_err());
    }
}
