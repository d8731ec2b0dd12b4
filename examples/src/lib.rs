//! The main job on real input: programs that drive a real server process and check the result from
//! outside. `ci` builds the commits of a git repository; `cluster-trace` runs the pods of a cluster.

pub mod server;
pub mod timeline;

/// Prints a program's result.
#[expect(clippy::print_stdout, reason = "a program's result goes to stdout")]
pub fn print(text: impl std::fmt::Display) {
    println!("{text}");
}
