//! Willow: client.
