//! What the benchmarks of three nodes in one process share.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use willow_core::{Command, WaiterId, command::CancelWait};
use willow_node::{Peering, ProposeError, Reception, Start};
use willow_peer::{PeerListener, PeerTransport, Security};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) const NODES: usize = 3;
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);

/// Listens on a free address of loopback for the rest of the process, and answers through the reception.
pub(crate) async fn listen(security: &Security) -> Result<(String, Reception)> {
    let listener = PeerListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), security.clone()).await?;
    let (addr, reception) = (listener.local_addr().to_string(), Reception::default());
    tokio::spawn(listener.serve(Arc::new(reception.clone()), std::future::pending()));
    Ok((addr, reception))
}

pub(crate) fn peering(security: &Security, peer_addr: String, reception: Reception, start: Start) -> Peering {
    let transport = Arc::new(PeerTransport::new(security.clone()));
    Peering { transport, reception, peer_addr, client_url: String::new(), start }
}

/// A command that the machine answers at once: the cancellation of a wait that is not there.
pub(crate) fn command() -> Command {
    Command::CancelWait(CancelWait { waiter: WaiterId(u64::MAX), undelivered: None })
}

/// Runs `callers` at once, each one call after the other, and returns how long each took, shortest first.
pub(crate) async fn load<C, F, T>(
    callers: usize,
    duration: Duration,
    caller: impl Fn(usize) -> C,
) -> Result<Vec<Duration>>
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = std::result::Result<T, ProposeError>> + Send,
    T: Send,
{
    let end = Instant::now() + duration;
    let calls: Vec<_> = (0..callers)
        .map(|number| {
            let call = caller(number);
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < end {
                    let began = Instant::now();
                    call().await?;
                    times.push(began.elapsed());
                }
                Ok::<_, ProposeError>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for call in calls {
        times.extend(call.await??);
    }
    times.sort_unstable();
    Ok(times)
}

/// Rate and latencies, and how the calls were gathered.
pub(crate) fn figures(times: &[Duration], took: f64, batches: f64) -> String {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    format!(
        "{:>8.0}/s  p50 {:>6} p99 {:>6} µs  {:>6.0} batches/s of {:>5.1}",
        times.len() as f64 / took,
        at(0.5),
        at(0.99),
        batches / took,
        times.len() as f64 / batches,
    )
}
