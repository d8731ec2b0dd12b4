//! Willow: model.
