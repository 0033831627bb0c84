//! Client tokens of CreateDisk: the cloud's own driver's, byte for byte, so that a volume whose
//! creation one driver began is found by the other instead of being created twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use wharf_alicloud::fnv128a;

/// The cloud takes 64 ASCII characters; two of them say how the token was made.
const LONGEST_NAME: usize = 62;

/// The token of a volume name: `n:<name>` where it fits, else `h:` and the hash.
pub fn client_token(name: &str) -> String {
    if name.len() <= LONGEST_NAME && name.is_ascii() {
        format!("n:{name}")
    } else {
        format!("h:{}", hash(name))
    }
}

/// The token of a volume name for when the one before is bound to a request that left no disk
/// behind. It depends on the name and on how many came before it alone, so a repeated call,
/// whatever it finds in stock, makes the same disks and no further ones.
pub fn later_token(name: &str, renewals: u32) -> String {
    format!("r:{}", hash(&format!("{renewals}:{name}")))
}

fn hash(text: &str) -> String {
    STANDARD_NO_PAD.encode(fnv128a(text).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_cloud_s_own_driver() {
        let of_62 = "01234567890123456789012345678901234567890123456789012345678901";
        for (name, token) in [
            (
                "disk-dcd6fdde-8c1e-45eb-8ec7-786a8b2e0b61",
                "n:disk-dcd6fdde-8c1e-45eb-8ec7-786a8b2e0b61",
            ),
            ("disk-磁盘名称-1", "h:LGH7vCPQbR31I47I1eCW7g"),
            (of_62, "n:01234567890123456789012345678901234567890123456789012345678901"),
            (
                "012345678901234567890123456789012345678901234567890123456789012",
                "h:NDeYXVDChDCom5xYgHLVQA",
            ),
        ] {
            assert_eq!(client_token(name), token, "{name}");
        }
    }

    #[test]
    fn every_token_fits() {
        for length in 0..=128 {
            let name = "x".repeat(length);
            assert!(client_token(&name).len() <= 64);
            assert!(later_token(&name, u32::MAX).len() <= 64);
        }
    }

    #[test]
    fn every_later_token_is_another_one() {
        for name in ["a", &"x".repeat(80)] {
            assert_ne!(later_token(name, 1), client_token(name));
            assert_ne!(later_token(name, 1), later_token(name, 2));
            assert_ne!(later_token(name, 1), later_token("b", 1));
        }
    }
}
