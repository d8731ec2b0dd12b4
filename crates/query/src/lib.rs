//! Willow: query.
