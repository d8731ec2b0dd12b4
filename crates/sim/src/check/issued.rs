//! When a token can have been given out, judged by the order of all tokens.
//!
//! Grants, deliveries and revisions of items come from one counter, so a token larger than another was given
//! out later: after the other's call began, and before any call ended that got a still larger one.

use crate::history::{Answer, History, How, Micros, OpId, Operation};

/// A token that an operation was given, newly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) operation: OpId,
    pub(super) token: u64,
    pub(super) invoked_us: Micros,
    pub(super) completed_us: Micros,
}

/// All tokens of a history, by size.
#[derive(Debug)]
pub(super) struct Issued {
    tokens: Vec<Token>,
    /// Latest call among the tokens up to here.
    latest_call: Vec<Micros>,
    /// Earliest return among the tokens from here on.
    earliest_return: Vec<Micros>,
}

impl Issued {
    pub(super) fn new(history: &History) -> Self {
        let mut tokens: Vec<Token> = history.first_calls().flat_map(tokens_of).collect();
        tokens.sort_by_key(|token| token.token);
        let mut latest = 0;
        let latest_call = tokens.iter().map(|token| {
            latest = token.invoked_us.max(latest);
            latest
        });
        let latest_call = latest_call.collect();
        let mut earliest = Micros::MAX;
        let mut earliest_return: Vec<Micros> = tokens
            .iter()
            .rev()
            .map(|token| {
                earliest = token.completed_us.min(earliest);
                earliest
            })
            .collect();
        earliest_return.reverse();
        Self { tokens, latest_call, earliest_return }
    }

    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// It was given out at this time or later.
    pub(super) fn not_before(&self, token: u64) -> Micros {
        let upto = self.tokens.partition_point(|other| other.token <= token);
        upto.checked_sub(1).map_or(0, |last| self.latest_call[last])
    }

    /// It was given out at this time or before.
    pub(super) fn not_after(&self, token: u64) -> Micros {
        let from = self.tokens.partition_point(|other| other.token < token);
        self.earliest_return.get(from).copied().unwrap_or(Micros::MAX)
    }
}

/// The tokens that this operation was the first to be given.
fn tokens_of(operation: &Operation) -> Vec<Token> {
    let (Some(answer), Some(completed_us)) = (operation.answer(), operation.completed_us) else { return vec![] };
    let tokens: Vec<u64> = match answer {
        Answer::Acquired { grants, .. } => {
            grants.iter().filter(|grant| grant.depth == 1).map(|grant| grant.token).collect()
        }
        Answer::Enqueued { revision, how: How::Created | How::Updated, .. } => vec![*revision],
        Answer::Delivered(deliveries) => deliveries.iter().map(|delivery| delivery.fence).collect(),
        _ => vec![],
    };
    let token = |token| Token { operation: operation.id, token, invoked_us: operation.invoked_us, completed_us };
    tokens.into_iter().map(token).collect()
}
