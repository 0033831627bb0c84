//! Percent-encoding and hexadecimal as Alibaba Cloud's protocols want them. RFC 3986: everything
//! but `A-Za-z0-9-_.~` is escaped.

/// Percent-encodes all but the unreserved characters.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
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
            (percent_decode(name, true), percent_decode(value, true))
        })
        .collect()
}

/// A path, decoded; a plus sign stays one. What is not UTF-8 is replaced.
pub(crate) fn decode_path(text: &str) -> String {
    percent_decode(text, false)
}

fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' if plus_is_space => out.push(b' '),
            b'%' => {
                let rest = bytes.clone();
                let escaped =
                    bytes.next().and_then(hex_digit).zip(bytes.next().and_then(hex_digit));
                match escaped {
                    Some((high, low)) => out.push(high << 4 | low),
                    None => {
                        out.push(b'%');
                        bytes = rest;
                    }
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
