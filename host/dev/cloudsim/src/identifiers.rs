//! Identifiers and secrets of a region. Identifiers follow from a seed and a counter that are part
//! of the state: no two regions give the same disk id, so that their serial numbers can meet on one
//! machine, and no restart gives an id twice.

use std::io::Read;

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// `length` lower-case letters and digits that follow from seed, kind and number.
pub(crate) fn derive(seed: &str, kind: &str, number: u64, length: usize) -> String {
    let digest = Sha256::digest(format!("{seed}/{kind}/{number}"));
    // 32 digest bytes; ids are at most 20 characters long, a virtio serial's limit.
    digest.iter().take(length).map(|byte| letter(*byte)).collect()
}

/// `length` unpredictable letters and digits.
pub(crate) fn random(length: usize) -> std::io::Result<String> {
    let mut bytes = vec![0; length];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.into_iter().map(letter).collect())
}

/// A request id, in the shape of the real ones.
pub(crate) fn request_id(seed: &str, number: u64) -> String {
    let digest = const_hex::encode_upper(Sha256::digest(format!("{seed}/request/{number}")));
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default().to_owned();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

fn letter(byte: u8) -> char {
    ALPHABET.get(usize::from(byte) % ALPHABET.len()).map_or('0', |letter| char::from(*letter))
}
