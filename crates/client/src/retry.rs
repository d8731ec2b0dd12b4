//! When a call is tried again: only when its error says that this may help, and never when that
//! could do the work twice.

use std::{future::Future, time::Duration};

use rand::Rng as _;
use tokio::time::Instant;
use willow_api::{ErrorCode, Problem};

use crate::{Error, transport::Failed};

/// Exponential backoff with full jitter: before retry *n* the client waits a random time between
/// nothing and `min(max_delay, base_delay · 2^n)`, or what the server asks for if that is longer.
/// (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.) Where there are several servers, each
/// is tried once before the client waits at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all; 1 never retries.
    pub attempts: u32,
    /// Bound of the first delay.
    pub base_delay: Duration,
    /// Bound of every delay, also of one the server asks for: a call that has to wait longer fails.
    pub max_delay: Duration,
    /// How long a cluster may be without a leader, or a server of several away, before a call fails for it: until
    /// then it is tried however often it takes. Elections take about a second; a machine that is cut off, a few.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            base_delay: Duration::from_millis(50),
            max_delay: Duration::from_secs(2),
            patience: Duration::from_secs(15),
        }
    }
}

/// Runs `send` until it succeeds, cannot be helped by a retry, or was tried often enough.
/// `repeatable`: whether a repeat is harmless when the first try may have taken effect.
pub(crate) async fn run<T, F: Future<Output = Result<T, Failed>>>(
    policy: &RetryPolicy,
    repeatable: bool,
    servers: usize,
    mut send: impl FnMut() -> F,
) -> Result<T, Error> {
    let began = Instant::now();
    let mut attempt: u32 = 0;
    loop {
        let failed = match send().await {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        attempt = attempt.saturating_add(1);
        let rounds = attempt.div_ceil(u32::try_from(servers).unwrap_or(1).max(1));
        let may_again = match is_fail_over(&failed, servers) {
            // A server keeps such a call for a while: counted in tries, patience would be several times as long.
            true => policy.attempts > 1 && began.elapsed() < policy.patience,
            false => rounds < policy.attempts,
        };
        let delay = match delay(policy, rounds, &failed, repeatable) {
            Some(delay) if may_again => delay,
            _ => return Err(failed.error),
        };
        let is_round_over = attempt.is_multiple_of(u32::try_from(servers).unwrap_or(1).max(1));
        if failed.is_elsewhere && !is_round_over {
            tracing::debug!(error = %failed.error, attempt, "trying the next server");
            continue;
        }
        tracing::debug!(error = %failed.error, ?delay, attempt, "retrying");
        tokio::time::sleep(delay).await;
    }
}

/// Whether it is what clients of a cluster see while its leader changes.
fn is_fail_over(failed: &Failed, servers: usize) -> bool {
    use ErrorCode as C;
    match &failed.error {
        Error::Refused(problem) => {
            matches!(problem.code, C::NoLeader | C::NotLeader | C::NoQuorum | C::OutcomeUnknown)
                || (servers > 1 && matches!(problem.code, C::ShuttingDown | C::NodeRemoved))
        }
        // A single server that is away may be gone for good, and somebody may be looking at the screen.
        Error::Connection(_) | Error::TimedOut => servers > 1,
        Error::Protocol(_) | Error::BadUrl(_) => false,
    }
}

/// How long to wait before the next try; `None` is not at all.
fn delay(policy: &RetryPolicy, attempt: u32, failed: &Failed, repeatable: bool) -> Option<Duration> {
    let asked = match &failed.error {
        Error::Refused(problem) if may_ask_again(problem, repeatable) => {
            Duration::from_millis(problem.facts.retry_after_ms.unwrap_or(0))
        }
        // Nothing was done here, and nothing ever will be; another server may.
        Error::Refused(problem) if problem.code == ErrorCode::NodeRemoved && failed.is_elsewhere => Duration::ZERO,
        Error::Connection(_) if repeatable || failed.is_unsent => Duration::ZERO,
        // Of one server it is the caller's deadline that has passed; one of several may only hang.
        Error::TimedOut if repeatable && failed.is_elsewhere => Duration::ZERO,
        Error::Refused(_) | Error::Connection(_) | Error::TimedOut | Error::Protocol(_) | Error::BadUrl(_) => {
            return None;
        }
    };
    if asked > policy.max_delay {
        return None;
    }
    let bound = policy.base_delay.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(policy.max_delay);
    Some(asked.max(bound.mul_f64(rand::rng().random::<f64>())))
}

/// Whether the server may say something else another time.
fn may_ask_again(problem: &Problem, repeatable: bool) -> bool {
    match problem.code {
        // It does not know whether the call took effect, nor that some may be repeated without a request id.
        ErrorCode::OutcomeUnknown => repeatable,
        // A held lock or a reached limit is retryable too, but by the caller, who knows what to wait for.
        _ => problem.retryable && matches!(problem.status, 429 | 503),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn refused(code: ErrorCode, retry_after_ms: Option<u64>) -> Error {
        Error::Refused(Box::new(Problem::new(code, "").with(|facts| facts.retry_after_ms = retry_after_ms)))
    }

    async fn tries(repeatable: bool, error: impl Fn() -> Error) -> u32 {
        let tries = Cell::new(0);
        let policy = RetryPolicy::default();
        let outcome = run(&policy, repeatable, 1, || {
            tries.set(tries.get() + 1);
            let error = error();
            async move { Err::<(), _>(Failed::from(error)) }
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
        // As long as an election may take, however often that is.
        assert!(tries(true, || refused(ErrorCode::OutcomeUnknown, None)).await > 5);
        assert_eq!(tries(false, || refused(ErrorCode::OutcomeUnknown, None)).await, 1);
    }

    #[test]
    fn delays_grow_with_jitter_within_their_bounds() {
        let policy = RetryPolicy::default();
        for attempt in 1..40 {
            let bound = Duration::from_millis(50).saturating_mul(1 << (attempt - 1).min(16)).min(policy.max_delay);
            let drawn: Vec<Duration> = (0..100)
                .filter_map(|_| delay(&policy, attempt, &refused(ErrorCode::Overloaded, None).into(), true))
                .collect();
            assert_eq!(drawn.len(), 100);
            assert!(drawn.iter().all(|delay| *delay <= bound));
            assert!(drawn.iter().any(|delay| *delay != drawn[0]), "without jitter all clients return at once");
        }
    }

    #[test]
    fn the_server_may_ask_for_more_time_but_not_for_ever() {
        let policy = RetryPolicy::default();
        let asked = |ms| delay(&policy, 1, &refused(ErrorCode::Overloaded, Some(ms)).into(), true);
        assert!(asked(1500) >= Some(Duration::from_millis(1500)));
        assert_eq!(asked(60_000), None);
    }
}
