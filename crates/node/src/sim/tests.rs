use std::sync::atomic::{AtomicU64, Ordering};

use openraft::Instant as _;

use super::*;

/// Counts up every 10 ms, in a task spawned from a task.
fn count(gate: &Gate) -> Arc<AtomicU64> {
    let counted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&counted);
    drop(SimRuntime::spawn(gate.hold(async move {
        drop(Simulated::spawn(async move {
            loop {
                Simulated::sleep(Duration::from_millis(10)).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }));
    })));
    counted
}

async fn sleep_ms(ms: u64) {
    SimRuntime::sleep(Duration::from_millis(ms)).await;
}

#[test]
fn nothing_runs_behind_a_shut_gate_and_time_goes_on() {
    SimRuntime::with_seed(1).block_on(async {
        let (stopped, other) = (Gate::default(), Gate::default());
        let (of_stopped, of_other) = (count(&stopped), count(&other));
        sleep_ms(55).await;
        stopped.shut();
        let began = SimInstant::now();
        sleep_ms(1000).await;
        assert_eq!(of_stopped.load(Ordering::Relaxed), 5);
        assert_eq!(of_other.load(Ordering::Relaxed), 105);
        stopped.open();
        sleep_ms(4).await;
        // The sleep that was over meanwhile ends once, late.
        assert_eq!(of_stopped.load(Ordering::Relaxed), 6);
        assert!(SimInstant::now() >= began + Duration::from_millis(1000));
        sleep_ms(50).await;
        assert_eq!(of_stopped.load(Ordering::Relaxed), 11);
    });
}

#[test]
fn what_is_dropped_meanwhile_is_dropped_when_the_gate_opens() {
    struct Tell(Arc<AtomicU64>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    SimRuntime::with_seed(1).block_on(async {
        let (gate, dropped) = (Gate::default(), Arc::new(AtomicU64::new(0)));
        let tell = Tell(Arc::clone(&dropped));
        let held = gate.hold(async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        });
        gate.shut();
        drop(held);
        sleep_ms(10).await;
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        gate.open();
        sleep_ms(10).await;
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    });
}
