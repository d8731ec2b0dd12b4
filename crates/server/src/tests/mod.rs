//! Tests of the server over real sockets, and of its document.

mod document;
