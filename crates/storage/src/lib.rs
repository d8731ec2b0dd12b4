//! Willow: storage.
