//! Willow: server.
