//! Adds to a counter if every limit allows; else denies, or waits.

use super::{Error, Increment, Limiter, Outcome, admission::Request};
use crate::{Context, Reply, limits};

impl Limiter {
    pub(super) fn increment(&mut self, command: Increment, cx: &mut Context) -> Reply {
        check_amount(command.amount)?;
        check_wait(command.wait_ms)?;
        command.hold_ttl_ms.map_or(Ok(()), check_ttl)?;
        check_concrete(&command.key_values)?;
        let target = self.target(&command.key_values);
        match self.first_block(&target, command.amount, None) {
            None => {
                let request = Request { amount: command.amount, hold_ttl_ms: command.hold_ttl_ms, entropy: cx.entropy };
                Ok(Outcome::Incremented(self.admit(&target, request, cx)?).into())
            }
            Some(_) if command.wait_ms == 0 => Err(self.denial(&target, command.amount, cx.now_ms).into()),
            Some(seat) => self.wait(command, &target, seat, cx),
        }
    }
}

pub(super) fn check_amount(amount: u64) -> Result<(), Error> {
    if amount == 0 { Err(out_of_bounds("amount", "at least 1")) } else { Ok(()) }
}

fn check_wait(wait_ms: u64) -> Result<(), Error> {
    if wait_ms > limits::WAIT_MAX_MS {
        return Err(out_of_bounds("wait_ms", &format!("0 to {}", limits::WAIT_MAX_MS)));
    }
    Ok(())
}

pub(super) fn check_ttl(ttl_ms: u64) -> Result<(), Error> {
    if !(limits::LEASE_MIN_MS..=limits::LEASE_MAX_MS).contains(&ttl_ms) {
        let bounds = format!("{} to {}", limits::LEASE_MIN_MS, limits::LEASE_MAX_MS);
        return Err(out_of_bounds("ttl_ms", &bounds));
    }
    Ok(())
}

/// A counter has concrete values only: `any` stands in patterns.
pub(super) fn check_concrete(key_values: &willow_model::KeyValues) -> Result<(), Error> {
    if key_values.contains_any() {
        return Err(out_of_bounds("key_values", "concrete values only; `any` belongs in rules and overrides"));
    }
    Ok(())
}

fn out_of_bounds(field: &str, bounds: &str) -> Error {
    Error::OutOfBounds { field: field.into(), bounds: bounds.into() }
}
