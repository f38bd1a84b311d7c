//! Bytes as hex digits.

use std::fmt;

/// Bytes as lowercase hex.
#[derive(Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads exactly `2 * N` hex digits in either case.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_in_either_case() {
        let bytes: [u8; 4] = [0x00, 0x9A, 0xBC, 0xFF];
        assert_eq!(Hex(&bytes).to_string(), "009abcff");
        assert_eq!(decode("009abcff"), Some(bytes));
        assert_eq!(decode("009ABCfF"), Some(bytes));
    }

    #[test]
    fn anything_else_is_no_hex() {
        for bad in ["", "0", "00", "000", "00000", "0g00", "+100", "é00", "00 0"] {
            assert_eq!(decode::<2>(bad), None, "{bad}");
        }
    }
}
