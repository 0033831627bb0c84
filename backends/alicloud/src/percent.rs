//! Percent-encoding (RFC 3986), as signatures and object storage have it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encodes everything but letters, digits and `-_.~`.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Undoes percent-encoding. What is not UTF-8 then is replaced, and names nothing.
pub fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
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
