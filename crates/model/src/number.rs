//! Numbers of every type as one exact, ordered form.
//!
//! Every number is ±1.f × 2^e with a fraction `f` of at most 63 bits: that covers `u64`, `i64` and
//! `f64` (subnormals included) without rounding, which widening to `f64` would not (2^53 + 1).

use crate::{Error, F32, F64, ValueRef, ValueType};

/// Exponent of the smallest subnormal `f64`, 2^-1074.
const EXPONENT_MIN: i32 = -1074;
/// Exponent of the largest finite `f64`.
const EXPONENT_MAX: i32 = 1023;
/// The head of zero. The heads of positive numbers lie above it, those of negative ones below.
const HEAD_ZERO: u16 = 0x4000;
/// The head of the largest positive numbers.
const HEAD_MAX: u16 = HEAD_ZERO + 1 + (EXPONENT_MAX - EXPONENT_MIN) as u16;
/// The head of the most negative numbers.
const HEAD_MIN: u16 = HEAD_ZERO - (HEAD_MAX - HEAD_ZERO);
/// All bits of a fraction.
const FRACTION: u64 = u64::MAX >> 1;
/// The leading one of a mantissa, above its fraction.
const LEADING: u64 = 1 << 63;
/// Fraction bits per encoded byte; the lowest bit of the byte says whether more follow.
const GROUP_BITS: u32 = 7;
/// Bytes that a full fraction takes.
const GROUPS_MAX: u32 = 63 / GROUP_BITS;

/// A number as (head, fraction): compares like the number itself. The head is sign and exponent;
/// for negative numbers both are mirrored, so that the larger magnitude comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NumberKey {
    head: u16,
    fraction: u64,
}

impl NumberKey {
    /// The key of a number; `None` for a value of another class.
    pub(crate) fn of(value: ValueRef<'_>) -> Option<Self> {
        Some(match value {
            ValueRef::U8(v) => Self::integer(false, v.into()),
            ValueRef::U16(v) => Self::integer(false, v.into()),
            ValueRef::U32(v) => Self::integer(false, v.into()),
            ValueRef::U64(v) => Self::integer(false, v),
            ValueRef::I8(v) => Self::integer(v < 0, v.unsigned_abs().into()),
            ValueRef::I16(v) => Self::integer(v < 0, v.unsigned_abs().into()),
            ValueRef::I32(v) => Self::integer(v < 0, v.unsigned_abs().into()),
            ValueRef::I64(v) => Self::integer(v < 0, v.unsigned_abs()),
            ValueRef::F32(v) => Self::float(v.get().into()),
            ValueRef::F64(v) => Self::float(v.get()),
            ValueRef::Bool(_) | ValueRef::String(_) | ValueRef::Any => return None,
        })
    }

    fn integer(negative: bool, magnitude: u64) -> Self {
        if magnitude == 0 {
            return Self { head: HEAD_ZERO, fraction: 0 };
        }
        let shift = magnitude.leading_zeros();
        Self::new(negative, 63 - shift as i32, magnitude << shift)
    }

    fn float(number: f64) -> Self {
        let bits = number.to_bits();
        let biased = ((bits >> 52) & 0x7FF) as i32;
        let significand = bits & ((1 << 52) - 1);
        let negative = number.is_sign_negative();
        if biased == 0 {
            // Zero or subnormal: significand × 2^-1074.
            let mut key = Self::integer(negative, significand);
            if significand != 0 {
                let scale = EXPONENT_MIN.unsigned_abs() as u16;
                key.head = if negative { key.head + scale } else { key.head - scale };
            }
            return key;
        }
        Self::new(negative, biased - 1023, LEADING | (significand << 11))
    }

    /// `mantissa` has its leading one in the top bit.
    fn new(negative: bool, exponent: i32, mantissa: u64) -> Self {
        let above_zero = 1 + (exponent - EXPONENT_MIN) as u16;
        let fraction = mantissa & FRACTION;
        if negative {
            Self { head: HEAD_ZERO - above_zero, fraction: !fraction & FRACTION }
        } else {
            Self { head: HEAD_ZERO + above_zero, fraction }
        }
    }

    fn is_negative(self) -> bool {
        self.head < HEAD_ZERO
    }

    /// Appends head and fraction, the latter in groups of seven bits for as long as bits are left.
    /// A set lowest bit says that another group follows, so a longer fraction, which is larger,
    /// also compares larger; for negative numbers every bit is flipped. No encoding is a prefix of
    /// another.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head.to_be_bytes());
        if self.head == HEAD_ZERO {
            return;
        }
        let flip = if self.is_negative() { 0xFF } else { 0 };
        let mut rest = if self.is_negative() { !self.fraction & FRACTION } else { self.fraction };
        loop {
            let group = (rest >> (63 - GROUP_BITS)) as u8;
            rest = (rest << GROUP_BITS) & FRACTION;
            out.push((group << 1 | u8::from(rest != 0)) ^ flip);
            if rest == 0 {
                return;
            }
        }
    }

    /// Reads what [`NumberKey::encode`] wrote, and returns what follows it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let Some((head, mut bytes)) = bytes.split_first_chunk::<2>() else {
            return Err(Error::encoding("a number is cut short"));
        };
        let head = u16::from_be_bytes(*head);
        if !(HEAD_MIN..=HEAD_MAX).contains(&head) {
            return Err(Error::encoding("an exponent is out of range"));
        }
        let mut key = Self { head, fraction: 0 };
        if head == HEAD_ZERO {
            return Ok((key, bytes));
        }
        let flip = if key.is_negative() { 0xFF } else { 0 };
        for index in 0..GROUPS_MAX {
            let Some((&byte, rest)) = bytes.split_first() else {
                return Err(Error::encoding("a number is cut short"));
            };
            bytes = rest;
            let byte = byte ^ flip;
            let group = u64::from(byte >> 1);
            key.fraction |= group << (63 - GROUP_BITS * (index + 1));
            if byte & 1 == 0 {
                if group == 0 && index > 0 {
                    return Err(Error::encoding("a number has trailing zeros"));
                }
                if key.is_negative() {
                    key.fraction = !key.fraction & FRACTION;
                }
                return Ok((key, bytes));
            }
        }
        Err(Error::encoding("a number is too long"))
    }

    /// The number as a value of the type, which must hold it exactly.
    pub(crate) fn to_value(self, value_type: ValueType) -> Result<ValueRef<'static>, Error> {
        let misfit = || Error::encoding("a number does not fit its type");
        let unsigned = || self.to_unsigned().ok_or_else(misfit);
        let signed = || self.to_signed().ok_or_else(misfit);
        Ok(match value_type {
            ValueType::U8 => ValueRef::U8(unsigned()?.try_into().map_err(|_| misfit())?),
            ValueType::U16 => ValueRef::U16(unsigned()?.try_into().map_err(|_| misfit())?),
            ValueType::U32 => ValueRef::U32(unsigned()?.try_into().map_err(|_| misfit())?),
            ValueType::U64 => ValueRef::U64(unsigned()?),
            ValueType::I8 => ValueRef::I8(signed()?.try_into().map_err(|_| misfit())?),
            ValueType::I16 => ValueRef::I16(signed()?.try_into().map_err(|_| misfit())?),
            ValueType::I32 => ValueRef::I32(signed()?.try_into().map_err(|_| misfit())?),
            ValueType::I64 => ValueRef::I64(signed()?),
            ValueType::F32 => {
                let wide = self.to_float().ok_or_else(misfit)?;
                let narrow = F32::new(wide as f32).map_err(|_| misfit())?;
                if f64::from(narrow.get()) != wide {
                    return Err(misfit());
                }
                ValueRef::F32(narrow)
            }
            ValueType::F64 => ValueRef::F64(F64::new(self.to_float().ok_or_else(misfit)?)?),
            ValueType::Bool | ValueType::String | ValueType::Any => return Err(misfit()),
        })
    }

    /// Exponent and mantissa of the magnitude; `None` for zero.
    fn magnitude(self) -> Option<(i32, u64)> {
        let above_zero = self.head.abs_diff(HEAD_ZERO);
        if above_zero == 0 {
            return None;
        }
        let fraction = if self.is_negative() { !self.fraction & FRACTION } else { self.fraction };
        Some((i32::from(above_zero) - 1 + EXPONENT_MIN, LEADING | fraction))
    }

    fn to_unsigned(self) -> Option<u64> {
        if self.is_negative() { None } else { self.integer_magnitude() }
    }

    fn to_signed(self) -> Option<i64> {
        let magnitude = self.integer_magnitude()?;
        if self.is_negative() { 0_i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() }
    }

    fn integer_magnitude(self) -> Option<u64> {
        let Some((exponent, mantissa)) = self.magnitude() else {
            return Some(0);
        };
        let shift = 63_u32.checked_sub(u32::try_from(exponent).ok()?)?;
        let integer = mantissa >> shift;
        (integer << shift == mantissa).then_some(integer)
    }

    fn to_float(self) -> Option<f64> {
        let Some((exponent, mantissa)) = self.magnitude() else {
            return Some(0.0);
        };
        // A subnormal keeps one bit less for every step below the smallest normal exponent.
        let below_normal = u32::try_from(-1022 - exponent).unwrap_or(0);
        let shift = 11 + below_normal;
        let significand = mantissa.checked_shr(shift)?;
        if significand << shift != mantissa {
            return None;
        }
        let biased = if below_normal > 0 { 0 } else { u64::try_from(exponent + 1023).ok()? };
        let bits = biased << 52 | significand & ((1 << 52) - 1);
        let number = f64::from_bits(bits);
        Some(if self.is_negative() { -number } else { number })
    }
}
