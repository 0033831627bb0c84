//! Percent-encoding as Alibaba Cloud's protocols want them. RFC 3986: everything
//! but `A-Za-z0-9-_.~` is escaped.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encodes all but the unreserved characters.
pub(crate) fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The same for a path: slashes stay.
pub(crate) fn percent_encode_path(path: &str) -> String {
    path.split('/').map(percent_encode).collect::<Vec<_>>().join("/")
}

/// The pairs of a query string or of a form body, decoded, in their order. What is not UTF-8 is
/// replaced.
pub(crate) fn decode_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decode_path(&text.replace('+', " "));
            (decode(name), decode(value))
        })
        .collect()
}

/// A path, decoded; a plus sign stays one. What is not UTF-8 is replaced.
pub(crate) fn decode_path(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_escaped() {
        assert_eq!(percent_encode("a b*c~d/e+é"), "a%20b%2Ac~d%2Fe%2B%C3%A9");
    }

    #[test]
    fn pairs_are_decoded_from_queries_and_forms() {
        let pairs = decode_pairs("Tag.1.Key=a%2Fb&Name=one+two&Empty=&Odd=%zz&Bare");
        let expected = [
            ("Tag.1.Key", "a/b"),
            ("Name", "one two"),
            ("Empty", ""),
            ("Odd", "%zz"),
            ("Bare", ""),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
