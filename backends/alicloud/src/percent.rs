//! Percent-encoding (RFC 3986), as signatures and object storage have it.

use std::fmt::Write as _;

/// Percent-encodes everything but letters, digits and `-_.~`.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// Undoes percent-encoding. What is not UTF-8 then is replaced, and names nothing.
pub fn decode(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let escaped = match (first, others) {
            (b'%', [high, low, after @ ..]) => {
                let value = digit(*high).zip(digit(*low)).map(|(high, low)| high * 16 + low);
                value.and_then(|value| Some((u8::try_from(value).ok()?, after)))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, others));
        decoded.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(encode("a b*c~d/e+f:中"), "a%20b%2Ac~d%2Fe%2Bf%3A%E4%B8%AD");
    }

    #[test]
    fn what_was_encoded_comes_back_and_what_is_no_escape_stays() {
        for text in ["a b*c~d/e+f:中", "100%", "%4", "%zz", ""] {
            assert_eq!(decode(&encode(text)), text);
        }
        assert_eq!(decode("%zz%4%25+"), "%zz%4%+");
    }
}
