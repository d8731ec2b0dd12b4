//! Whether the node takes writes, as everyone inside and outside sees it.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Unavailable;

/// What the node can do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Reads the log back after a start.
    Starting,
    /// Reads and writes.
    Ready,
    /// Reads of what is applied; writes are refused.
    ReadOnly(Unavailable),
    /// Takes no new work.
    Stopping,
}

impl Health {
    /// True when writes are taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// The one place that knows the [`Health`], from what the others tell it.
#[derive(Debug)]
pub(crate) struct HealthCell {
    seen: watch::Sender<Health>,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    /// For good.
    is_stopping: bool,
    /// The log has been read back.
    is_recovered: bool,
    /// The log cannot be written.
    log: Option<Unavailable>,
    /// Nobody takes writes, or this node does not belong any more.
    cluster: Option<Unavailable>,
}

impl Facts {
    fn health(&self) -> Health {
        match (&self.log, &self.cluster) {
            _ if self.is_stopping => Health::Stopping,
            // Whatever else is wrong, this is for good.
            (_, Some(Unavailable::Removed)) => Health::ReadOnly(Unavailable::Removed),
            (Some(why), _) => Health::ReadOnly(why.clone()),
            _ if !self.is_recovered => Health::Starting,
            (None, Some(why)) => Health::ReadOnly(why.clone()),
            (None, None) => Health::Ready,
        }
    }
}

impl HealthCell {
    pub(crate) fn new() -> Self {
        Self { seen: watch::Sender::new(Health::Starting), facts: Mutex::default() }
    }

    pub(crate) fn get(&self) -> Health {
        self.seen.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Health> {
        self.seen.subscribe()
    }

    /// The log has been read back.
    pub(crate) fn recovered(&self) {
        self.change(|facts| facts.is_recovered = true);
    }

    /// Why the log cannot be written, if it cannot.
    pub(crate) fn log(&self, down: Option<Unavailable>) {
        self.change(|facts| facts.log = down);
    }

    /// Why the cluster takes no writes from here, if it does not.
    pub(crate) fn cluster(&self, down: Option<Unavailable>) {
        self.change(|facts| {
            // A removed node stays removed.
            if facts.cluster != Some(Unavailable::Removed) {
                facts.cluster = down;
            }
        });
    }

    /// The node stops: for good.
    pub(crate) fn stopping(&self) {
        self.change(|facts| facts.is_stopping = true);
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts.lock();
        change(&mut facts);
        let next = facts.health();
        self.seen.send_if_modified(|current| {
            let is_new = *current != next;
            if is_new {
                *current = next;
            }
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_the_worst_of_what_is_known_and_stopping_is_final() {
        let health = HealthCell::new();
        assert_eq!(health.get(), Health::Starting);
        health.log(Some(Unavailable::DiskFull));
        assert_eq!(health.get(), Health::ReadOnly(Unavailable::DiskFull));
        health.log(None);
        assert_eq!(health.get(), Health::Starting);
        health.recovered();
        assert!(health.get().is_ready());
        health.cluster(Some(Unavailable::NoLeader));
        health.log(Some(Unavailable::DiskFull));
        assert_eq!(health.get(), Health::ReadOnly(Unavailable::DiskFull));
        health.log(None);
        assert_eq!(health.get(), Health::ReadOnly(Unavailable::NoLeader));
        health.cluster(None);
        assert!(health.get().is_ready());
        health.cluster(Some(Unavailable::Removed));
        health.log(Some(Unavailable::DiskFull));
        health.cluster(None);
        assert_eq!(health.get(), Health::ReadOnly(Unavailable::Removed));
        health.stopping();
        health.cluster(None);
        assert_eq!(health.get(), Health::Stopping);
    }
}
