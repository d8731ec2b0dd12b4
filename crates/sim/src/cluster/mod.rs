//! A whole cluster in one process: the real nodes on simulated time, network, disks and clocks.
//!
//! ```text
//!   run(seed) ──► World: hosts (disk, clocks, node) ── Net (delays, cuts, losses)
//!      │             ▲            ▲
//!      │       faults by plan   clients by workload
//!      ▼
//!   heal ► quiet ► probes ► census, digests ──► History ──► check::all ──► Report
//! ```

mod clock;
mod endpoint;
mod finish;
mod flip;
mod host;
mod lazy;
mod life;
mod nemesis;
mod net;
mod panics;
mod run;
mod speed;

pub use flip::Flips;
pub use run::{Options, Report, run};
