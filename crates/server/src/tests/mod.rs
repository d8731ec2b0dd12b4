//! Tests of the server over real sockets, and of its document.

mod document;
mod faults;
mod harness;
mod http;
mod pages;
mod slow;
