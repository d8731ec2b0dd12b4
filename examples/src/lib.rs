//! The main job on real input: programs that drive a real server process and check the result from
//! outside. `ci` builds the commits of a git repository; `cluster-trace` runs the pods of a cluster.

pub mod server;
pub mod timeline;

use comfy_table::{Table, presets};

/// A table for people: one line a row.
#[must_use]
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// Prints a program's result.
#[expect(clippy::print_stdout, reason = "a program's result goes to stdout")]
pub fn print(text: impl std::fmt::Display) {
    println!("{text}");
}
