//! Tests of the model, by subject.

mod ids;
mod json;
mod key_values;
mod text;
mod values;
