//! A known bug, to be put back on purpose: see `willow_model::bugs`, which this crate does not know.

#[cfg(feature = "bugs")]
thread_local! {
    static TORN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Makes recovery on this thread take a torn write for what was written, or puts that right.
#[cfg(feature = "bugs")]
pub fn accept_torn_tails(is_on: bool) {
    TORN.set(is_on);
}

/// Whether recovery takes a torn write for what was written.
#[cfg(feature = "bugs")]
pub(crate) fn accepts_torn_tails() -> bool {
    TORN.get()
}

/// Whether recovery takes a torn write for what was written: never.
#[cfg(not(feature = "bugs"))]
pub(crate) const fn accepts_torn_tails() -> bool {
    false
}
