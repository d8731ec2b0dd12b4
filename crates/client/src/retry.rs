//! When a call is tried again: only when its error says that this may help, and never when that
//! could do the work twice.

use std::{future::Future, time::Duration};

use rand::Rng as _;

use crate::Error;

/// Exponential backoff with full jitter: before retry *n* the client waits a random time between
/// nothing and `min(max_delay, base_delay · 2^n)`, or what the server asks for if that is longer.
/// (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all; 1 never retries.
    pub attempts: u32,
    /// Bound of the first delay.
    pub base_delay: Duration,
    /// Bound of every delay, also of one the server asks for: a call that has to wait longer fails.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 5, base_delay: Duration::from_millis(50), max_delay: Duration::from_secs(2) }
    }
}

/// Runs `send` until it succeeds, cannot be helped by a retry, or was tried often enough.
/// `repeatable`: whether a repeat is harmless when the first try may have taken effect.
pub(crate) async fn run<T, F: Future<Output = Result<T, Error>>>(
    policy: &RetryPolicy,
    repeatable: bool,
    mut send: impl FnMut() -> F,
) -> Result<T, Error> {
    let mut attempt = 0;
    loop {
        let error = match send().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        attempt += 1;
        let delay = match delay(policy, attempt, &error, repeatable) {
            Some(delay) if attempt < policy.attempts => delay,
            _ => return Err(error),
        };
        tracing::debug!(%error, ?delay, attempt, "retrying");
        tokio::time::sleep(delay).await;
    }
}

/// How long to wait before the next try; `None` is not at all.
fn delay(policy: &RetryPolicy, attempt: u32, error: &Error, repeatable: bool) -> Option<Duration> {
    let asked = match error {
        // A held lock or a reached limit is retryable too, but by the caller, who knows what to wait for.
        Error::Refused(problem) if problem.retryable && matches!(problem.status, 429 | 503) => {
            // The server says when it does not know whether the call took effect.
            if problem.code == willow_api::ErrorCode::OutcomeUnknown && !repeatable {
                return None;
            }
            Duration::from_millis(problem.facts.retry_after_ms.unwrap_or(0))
        }
        Error::Connection(_) if repeatable => Duration::ZERO,
        Error::Refused(_) | Error::Connection(_) | Error::TimedOut | Error::Protocol(_) | Error::BadUrl(_) => {
            return None;
        }
    };
    if asked > policy.max_delay {
        return None;
    }
    let bound = policy.base_delay.saturating_mul(1 << (attempt - 1).min(16)).min(policy.max_delay);
    Some(asked.max(bound.mul_f64(rand::rng().random::<f64>())))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use willow_api::{ErrorCode, Problem};

    use super::*;

    fn refused(code: ErrorCode, retry_after_ms: Option<u64>) -> Error {
        Error::Refused(Box::new(Problem::new(code, "").with(|facts| facts.retry_after_ms = retry_after_ms)))
    }

    async fn tries(repeatable: bool, error: impl Fn() -> Error) -> u32 {
        let tries = Cell::new(0);
        let policy = RetryPolicy::default();
        let outcome = run(&policy, repeatable, || {
            tries.set(tries.get() + 1);
            let error = error();
            async move { Err::<(), _>(error) }
        });
        assert!(outcome.await.is_err());
        tries.get()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_a_retry_may_help_is_tried_again() {
        assert_eq!(tries(false, || refused(ErrorCode::Overloaded, None)).await, 5);
        assert_eq!(tries(false, || refused(ErrorCode::LockHeld, None)).await, 1, "the caller decides");
        assert_eq!(tries(true, || refused(ErrorCode::InvalidField, None)).await, 1);
        assert_eq!(tries(true, || Error::TimedOut).await, 1, "the deadline is the caller's");
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_done_is_repeated_only_with_a_request_id() {
        assert_eq!(tries(true, || Error::Connection(String::new())).await, 5);
        assert_eq!(tries(false, || Error::Connection(String::new())).await, 1);
        assert_eq!(tries(true, || refused(ErrorCode::OutcomeUnknown, None)).await, 5);
        assert_eq!(tries(false, || refused(ErrorCode::OutcomeUnknown, None)).await, 1);
    }

    #[test]
    fn delays_grow_with_jitter_within_their_bounds() {
        let policy = RetryPolicy::default();
        for attempt in 1..40 {
            let bound = Duration::from_millis(50).saturating_mul(1 << (attempt - 1).min(16)).min(policy.max_delay);
            let drawn: Vec<Duration> =
                (0..100).filter_map(|_| delay(&policy, attempt, &refused(ErrorCode::Overloaded, None), true)).collect();
            assert_eq!(drawn.len(), 100);
            assert!(drawn.iter().all(|delay| *delay <= bound));
            assert!(drawn.iter().any(|delay| *delay != drawn[0]), "without jitter all clients return at once");
        }
    }

    #[test]
    fn the_server_may_ask_for_more_time_but_not_for_ever() {
        let policy = RetryPolicy::default();
        let asked = |ms| delay(&policy, 1, &refused(ErrorCode::Overloaded, Some(ms)), true);
        assert!(asked(1500) >= Some(Duration::from_millis(1500)));
        assert_eq!(asked(60_000), None);
    }
}
