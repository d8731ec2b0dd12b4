//! A panic in a task ends that task, and the runtime says nothing of it. It is a fault of the system under
//! test all the same: here they are heard.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics of all threads are written down instead of printed.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_simulated = openraft_rt_sim::SimInstant::try_now().is_some();
            if is_simulated {
                HEARD.with_borrow_mut(|heard| heard.push(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}

/// Panics of this thread since this was last asked.
pub(super) fn take() -> Vec<String> {
    HEARD.take()
}
