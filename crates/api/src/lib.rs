//! Willow: api.
