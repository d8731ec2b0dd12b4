//! Finite floats: without NaN and infinities, equality and order are total, so the types can be
//! `Eq`, `Ord` and `Hash`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::Error;

macro_rules! finite {
    ($name:ident, $float:ty) => {
        #[doc = concat!("A finite `", stringify!($float), "`; `-0.0` is stored as `0.0`.")]
        #[derive(Clone, Copy, Default)]
        pub struct $name($float);

        impl $name {
            /// Wraps a finite number.
            ///
            /// # Errors
            /// [`Error::NotFinite`] for NaN and the infinities.
            pub fn new(number: $float) -> Result<Self, Error> {
                if !number.is_finite() {
                    return Err(Error::NotFinite);
                }
                // -0.0 + 0.0 is 0.0; every other number is unchanged.
                Ok(Self(number + 0.0))
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> $float {
                self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.to_bits() == other.0.to_bits()
            }
        }

        impl Eq for $name {}

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.total_cmp(&other.0)
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.to_bits().hash(state);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Debug, not Display: it keeps the `.0` and uses exponents, so that the text reads
                // back as a float and stays short.
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

finite!(F32, f32);
finite!(F64, f64);
