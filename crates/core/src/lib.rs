//! Willow: core.
