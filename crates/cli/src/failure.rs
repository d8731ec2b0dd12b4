//! Failures: what is said on stderr, and the exit code.

use std::process::ExitCode;

use willow_api::Problem;
use willow_client::Error;

use crate::{output, terms};

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An argument is wrong.
    Usage(String),
    /// The server said no, or did not answer.
    Call(Box<Error>),
    /// The lock was lost while its command ran.
    LostLock,
    /// Anything else.
    Other(anyhow::Error),
}

/// Exit codes; docs/cli.md lists them.
pub(crate) mod code {
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const REFUSED: u8 = 3;
    pub(crate) const NOT_FOUND: u8 = 4;
    pub(crate) const UNAVAILABLE: u8 = 5;
    pub(crate) const LOST_LOCK: u8 = 6;
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(Box::new(error))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    pub(crate) fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => code::USAGE,
            Self::LostLock => code::LOST_LOCK,
            Self::Other(_) => code::FAILED,
            Self::Call(error) => match &**error {
                Error::Refused(problem) => status_code(problem.status),
                Error::Connection(_) | Error::TimedOut => code::UNAVAILABLE,
                Error::BadUrl(_) => code::USAGE,
                Error::Protocol(_) => code::FAILED,
            },
        }
    }

    /// Says what happened, with the facts, and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let code = self.code();
        match self {
            Self::Usage(text) => eprintln!("error: {text}"),
            Self::LostLock => eprintln!("error: the lock was lost; its command was stopped"),
            Self::Other(error) => eprintln!("error: {}", chain(&error)),
            Self::Call(error) => match *error {
                Error::Refused(problem) => eprintln!("{}", explain(&problem)),
                error => eprintln!("error: {error}"),
            },
        }
        ExitCode::from(code)
    }
}

/// The error and what caused it, each said once: some messages hold their cause, some do not.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text += ": ";
            text += &cause;
        }
    }
    text
}

fn status_code(status: u16) -> u8 {
    match status {
        400 | 405 | 413 | 415 => code::USAGE,
        404 => code::NOT_FOUND,
        403 | 409 | 410 | 412 | 422 => code::REFUSED,
        408 | 429 | 503 => code::UNAVAILABLE,
        _ => code::FAILED,
    }
}

fn explain(problem: &Problem) -> String {
    let facts = &problem.facts;
    let detail = terms::of_the_command_line(&problem.detail, facts.field.as_deref());
    let mut text = format!("error: {detail} ({})", problem.code);
    if let Some(field) = facts.field.as_deref().filter(|field| !problem.detail.contains(*field)) {
        text += &format!("\n  at: {}", terms::option(field));
    }
    if let Some(holders) = &facts.holders {
        text += &format!("\n{}", output::table_of(holders, output::HOLDERS));
    }
    if let Some(denied_by) = &facts.denied_by {
        text += &format!("\n{}", output::table_of(denied_by, output::BLOCKING));
    }
    if let Some(position) = facts.position {
        text += &format!("\n  place in line: {position}");
    }
    if let Some(revision) = facts.current_revision {
        text += &format!("\n  revision now: {revision}");
    }
    if let Some(retry_after_ms) = facts.retry_after_ms {
        let what = if problem.status == 409 { "may be free in" } else { "try again in" };
        text += &format!("\n  {what}: {}", output::human_ms(retry_after_ms));
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use expect_test::expect;
    use willow_api::{
        ErrorCode, Revision,
        lock::{Holder, LockMode},
    };

    use super::*;

    #[test]
    fn every_code_has_an_exit_code_that_fits() {
        for error in ErrorCode::ALL {
            let failure = Failure::from(Error::Refused(Box::new(Problem::new(*error, ""))));
            assert_ne!(failure.code(), 0, "{error}");
            if error.status() == 503 {
                assert_eq!(failure.code(), code::UNAVAILABLE, "{error}");
            }
        }
        let held = Failure::from(Error::Refused(Box::new(Problem::new(ErrorCode::LockHeld, ""))));
        assert_eq!(held.code(), code::REFUSED);
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("no such file");
        let said = Err::<(), _>(cause).context("a.pem: no such file; make one").context("cannot start").unwrap_err();
        assert_eq!(chain(&said), "cannot start: a.pem: no such file; make one");
    }

    #[test]
    fn a_held_lock_names_its_holders() {
        let holder = Holder {
            owner: Some("deployer-7".into()),
            mode: LockMode::Exclusive,
            permits: None,
            max_permits: None,
            token: Revision(17),
            depth: 1,
            held_for_ms: 1200,
            expires_in_ms: 28_800,
        };
        let problem = Problem::new(ErrorCode::LockHeld, "the lock is held").with(|facts| {
            facts.holders = Some(vec![holder]);
            facts.position = Some(2);
            facts.retry_after_ms = Some(28_800);
        });
        expect![[r#"
            error: the lock is held (LOCK_HELD)
            owner       mode       token  depth  held_for  expires_in
            deployer-7  exclusive  17     1      1.2s      28.8s
              place in line: 2
              may be free in: 28.8s"#]]
        .assert_eq(&explain(&problem));
    }
}
