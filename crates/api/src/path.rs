//! Names and ids as segments of a path.

/// Escapes a name or id for use as one segment of a path (RFC 3986: all but unreserved characters).
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 0xF)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_segment_has_no_separator() {
        assert_eq!(super::segment("main/ä b?"), "main%2F%C3%A4%20b%3F");
        assert_eq!(super::segment("a-b.c_d~9"), "a-b.c_d~9");
    }
}
