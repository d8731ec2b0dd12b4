//! Tests of the server over real sockets, and of its document.

mod document;
mod faults;
mod harness;
mod http;
mod limits;
mod locks;
mod pages;
mod queues;
mod slow;
mod waits;
