//! File names for drivers, volumes and serials: reversible, bounded, and never a path. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// With an extension and a leading dot it stays below NAME_MAX (255).
const MAX_NAME_BYTES: usize = 180;
/// How much of a long name stays readable.
const READABLE_BYTES: usize = 100;
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

/// The file name that stands for `id`. Letters, digits, `_`, `-` and inner dots stay; everything
/// else becomes `%XX`. A long one is cut and gets a digest after a `~`, which appears in no other
/// name.
pub(crate) fn file_name(id: &str) -> String {
    let mut name = utf8_percent_encode(id, ESCAPED).to_string();
    if name.starts_with('.') {
        name.replace_range(..1, "%2E");
    }
    if name.is_empty() {
        return "%".to_owned();
    }
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let readable = name.get(..READABLE_BYTES).unwrap_or_default();
    format!("{readable}~{:.32x}", Sha256::digest(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ordinary_ids_stay_readable() {
        assert_eq!(file_name("d-bp1abcdefghij"), "d-bp1abcdefghij");
        assert_eq!(file_name("diskplugin.csi.alibabacloud.com"), "diskplugin.csi.alibabacloud.com");
    }

    #[test]
    fn no_id_becomes_a_path_or_a_hidden_file() {
        for id in [
            "../../etc/passwd",
            "..",
            ".",
            ".hidden",
            "/",
            "",
            "a/b",
            "a\0b",
            "a\nb",
            "ü",
            "~",
            "%",
        ] {
            let name = file_name(id);
            assert!(
                !name.contains('/')
                    && !name.starts_with('.')
                    && !name.is_empty()
                    && name.is_ascii()
                    && !name.contains('\0'),
                "{id:?} -> {name}"
            );
        }
    }

    #[test]
    fn different_ids_have_different_names() {
        let long = "x".repeat(400);
        let ids = [
            "a/b",
            "a%2Fb",
            "a_b",
            "A_B",
            ".a",
            "%2Ea",
            "",
            "%",
            &long,
            &format!("{long}y"),
            "a~b",
        ];
        assert_eq!(ids.iter().map(|id| file_name(id)).collect::<BTreeSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| file_name(id).len() <= MAX_NAME_BYTES));
    }
}
