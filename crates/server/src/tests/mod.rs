//! Tests of the server over real sockets, and of its document.

mod codes;
mod document;
mod examples;
mod faults;
mod harness;
mod http;
mod limits;
mod locks;
mod pages;
mod queues;
mod slow;
mod waits;
