//! Three real processes under load, through a few faults: the short form of `cargo xtask chaos`.

use std::path::Path;

use willow_chaos::{Options, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_keep_their_promises_through_faults() {
    let willow = Path::new(env!("CARGO_BIN_EXE_willow"));
    let report = run(willow, &Options::brief(3, 12)).await.expect("the run goes on to its end");
    let tables = report.tables();
    assert!(report.is_clean(), "{tables}");
    assert!(report.fault_count() > 0, "nothing was tried: {tables}");
    // A run in which little was done shows little.
    assert!(report.acquisitions >= 20 && report.items >= 20, "{tables}");
}
