//! Tells a flipped bit from a torn write.
//!
//! A torn write loses whole sectors. A batch in which exactly one bit is wrong was written whole
//! and damaged later, so it may have been acknowledged. CRC-32 is linear: the difference between
//! the checksum stored and the one computed depends only on where the bit is, counted from the
//! end, so the place is found in one pass over the possible places (Koopman & Chakravarty,
//! "Cyclic Redundancy Code Polynomial Selection for Embedded Networks", DSN 2004, §2).

use super::format::{BATCH_HEADER, BatchHeader, Decoded};

/// The reflected polynomial of CRC-32 (IEEE 802.3).
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// The bit of `bytes` whose flip explains that their checksum is not `crc`: byte and mask.
pub(crate) fn single_bit(bytes: &[u8], crc: u32) -> Option<(usize, u8)> {
    let difference = crc32fast::hash(bytes) ^ crc;
    let mut wanted = POLYNOMIAL;
    for byte in (0..bytes.len()).rev() {
        for bit in (0..8).rev() {
            if wanted == difference {
                return Some((byte, 1 << bit));
            }
            wanted = (wanted >> 1) ^ if wanted & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    None
}

/// The batch header that `bytes` would be but for one bit.
pub(crate) fn header_but_one_bit(bytes: &[u8]) -> Option<BatchHeader> {
    let mut head: [u8; BATCH_HEADER] = bytes.get(..BATCH_HEADER)?.try_into().ok()?;
    for bit in 0..BATCH_HEADER * 8 {
        head[bit / 8] ^= 1 << (bit % 8);
        if let Decoded::Valid(header) = BatchHeader::decode(&head) {
            return Some(header);
        }
        head[bit / 8] ^= 1 << (bit % 8);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_any_single_flipped_bit(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..600),
            place in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let crc = crc32fast::hash(&bytes);
            prop_assert_eq!(single_bit(&bytes, crc), None);
            let at = place.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(single_bit(&bytes, crc), Some((at, 1 << bit)));
        }
    }
}
