//! Willow: node.
