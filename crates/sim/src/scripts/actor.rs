//! Who plays a script.

use std::future::Future;

use rand::Rng;
use rand::rngs::StdRng;

use crate::history::{Action, Answer, Micros, Outcome, Refusal};

/// How a call is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    /// With a request id, which makes it safe to repeat; where the call takes one.
    pub safe: bool,
    /// The client hangs up after so long.
    pub abandon_us: Option<Micros>,
}

impl Call {
    /// With a request id, to the end.
    pub const SAFE: Self = Self { safe: true, abandon_us: None };
}

/// What the actors of a run quarrel about.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// Exclusive locks, two at least.
    pub exclusive: &'static [&'static str],
    /// Semaphores of three permits.
    pub semaphores: &'static [&'static str],
    /// Counters under limits.
    pub counters: &'static [&'static str],
    /// Channels under limits.
    pub channels: &'static [&'static str],
    /// Channels whose items are updated in place.
    pub updated: &'static [&'static str],
}

/// A client, as scripts see one.
pub trait Actor: Send + Sized {
    /// Its dice.
    fn rng(&mut self) -> &mut StdRng;
    /// What there is.
    fn stage(&self) -> Stage;
    /// The queue of all these channels.
    fn work(&self) -> String;
    /// A queue that nobody takes from, if there is one.
    fn shelf(&self) -> Option<String>;
    /// Mean pause between two things to do.
    fn think_us(&self) -> Micros;
    /// Whether it is to begin something new.
    fn goes_on(&self) -> bool;
    /// A label that no other call of the run has.
    fn label(&mut self) -> String;
    /// Another thread of the same client, for what it does at the same time.
    fn other(&mut self) -> Self;
    /// Lets time pass.
    fn pause_us(&self, us: Micros) -> impl Future<Output = ()> + Send + use<Self>;
    /// Makes a call, with all that belongs to it.
    fn call(&mut self, action: Action, call: Call) -> impl Future<Output = Outcome> + Send;
    /// An item that readers may look at.
    fn noted(&self, queue: &str, item: &str);
    /// One of the items noted lately, and its queue.
    fn recent(&self, dice: usize) -> Option<(String, String)>;

    /// Pauses between two things to do, up to twice the mean.
    fn think(&mut self) -> impl Future<Output = ()> + Send {
        let most_us = self.think_us() * 2;
        let us = self.rng().random_range(0..most_us);
        self.pause_us(us)
    }

    /// True about `percent` times in a hundred.
    fn chance(&mut self, percent: u32) -> bool {
        self.rng().random_range(0..100) < percent
    }

    /// One of them; the dice are not asked where there is only one.
    fn pick(&mut self, from: &'static [&'static str]) -> String {
        let place = if from.len() > 1 { self.rng().random_range(0..from.len()) } else { 0 };
        from.get(place).copied().unwrap_or_default().to_owned()
    }

    /// The way in which most calls are made.
    fn usual(&mut self) -> Call {
        Call { safe: self.chance(85), abandon_us: None }
    }
}

/// The answer, if there is one.
#[must_use]
pub fn ok(outcome: Outcome) -> Option<Answer> {
    match outcome {
        Outcome::Ok(answer) => Some(answer),
        Outcome::Refused(_) | Outcome::NotDone(_) | Outcome::Unknown(_) => None,
    }
}

/// Whether it was refused because there is nothing left to act on.
pub(super) fn is_gone(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(refusal) if refusal.says_gone() || *refusal == Refusal::NoSuchItem)
}
