//! The canonical form that both signatures are made over: RFC 3986 encoding, parameters sorted by
//! name.

use wharf_alicloud::percent::encode;

/// `a=1&b=2`, encoded and sorted by name.
pub fn query<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut parameters: Vec<_> = parameters.into_iter().collect();
    parameters.sort_unstable();
    let pairs: Vec<String> = parameters
        .into_iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_sorted_by_name_and_empty_values_keep_their_sign() {
        assert_eq!(
            query([("b", ""), ("Tag.10.Key", "x"), ("Tag.1.Key", "y"), ("B", "1")]),
            "B=1&Tag.1.Key=y&Tag.10.Key=x&b="
        );
    }

    #[test]
    fn a_name_comes_before_those_that_it_begins() {
        // Sorted as whole pairs, `=` would come after `.` and the digits. The cloud's own clients
        // sort by name alone.
        assert_eq!(
            query([("Tag1", "c"), ("Tag.1.Key", "b"), ("Tag", "a")]),
            "Tag=a&Tag.1.Key=b&Tag1=c"
        );
    }
}
