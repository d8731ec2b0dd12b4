//! Whether the node takes writes, as everyone inside and outside sees it.

use tokio::sync::watch;

use crate::Unavailable;

/// What the node can do now.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The one place that knows the [`Health`], with its legal changes.
#[derive(Debug)]
pub(crate) struct HealthCell(watch::Sender<Health>);

impl HealthCell {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Health::Starting))
    }

    pub(crate) fn get(&self) -> Health {
        self.0.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }

    /// The log has been read back, or can be written again.
    pub(crate) fn ready(&self) {
        self.change(Health::Ready);
    }

    /// The log cannot be written.
    pub(crate) fn read_only(&self, why: Unavailable) {
        self.change(Health::ReadOnly(why));
    }

    /// The node stops: for good.
    pub(crate) fn stopping(&self) {
        self.change(Health::Stopping);
    }

    /// Stopping is final. A log that can never be written again says so by never resuming.
    fn change(&self, next: Health) {
        self.0.send_if_modified(|current| {
            if *current == Health::Stopping || *current == next {
                return false;
            }
            *current = next;
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_is_final() {
        let health = HealthCell::new();
        assert_eq!(health.get(), Health::Starting);
        health.ready();
        assert!(health.get().is_ready());
        health.read_only(Unavailable::DiskFull);
        assert!(!health.get().is_ready());
        health.ready();
        assert!(health.get().is_ready());
        health.stopping();
        health.ready();
        assert_eq!(health.get(), Health::Stopping);
    }
}
