//! A request's body: a small document as a whole, or the bytes of an object, streamed into a draft
//! while digests are made of them.

use std::io::Write;

use axum::body::{Body, Bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc::{CRC_64_XZ, Crc, Digest as CrcDigest, Table};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

use super::error::OssError;
use super::request::{Face, Head};
use super::store::file::Draft;

/// Most bytes that one request brings to an object or a part: 5 GiB, as at the real service.
pub(crate) const MOST_BYTES: u64 = 5 << 30;

/// Most bytes of a document. The largest that a client may send names 10 000 parts in about 1 MiB.
const MOST_DOCUMENT: usize = 2 << 20;

/// What is read of a body that nobody wants, so that a client that sends before it listens hears
/// why it is refused. Of a larger one the connection is closed.
const MOST_UNWANTED: usize = 8 << 20;

/// Pieces of a body that wait for the disk.
const PIECES: usize = 8;

/// The CRC-64 of `x-oss-hash-crc64ecma`; sixteen bytes at a time.
static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// Digests of bytes that pass by.
pub(crate) struct Digests {
    md5: Md5,
    /// Only S3's face announces it, and it costs as much as the others together.
    sha256: Option<Sha256>,
    crc64: CrcDigest<'static, u64, Table<16>>,
    size: u64,
}

/// What is known of bytes once they have passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digested {
    pub(crate) md5: [u8; 16],
    pub(crate) crc64: u64,
    pub(crate) size: u64,
    sha256: Option<String>,
}

impl Digests {
    pub(crate) fn new() -> Self {
        Self { md5: Md5::new(), sha256: None, crc64: CRC64.digest(), size: 0 }
    }

    /// Those that the body of a request is held to.
    fn of(head: &Head) -> Self {
        Self { sha256: announced_sha256(head).map(|_| Sha256::new()), ..Self::new() }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        self.crc64.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub(crate) fn finish(self) -> Digested {
        Digested {
            md5: self.md5.finalize().into(),
            crc64: self.crc64.finalize(),
            size: self.size,
            sha256: self.sha256.map(|sha256| const_hex::encode(sha256.finalize())),
        }
    }
}

impl Digested {
    /// As an object's tag: upper-case hexadecimal of the MD5.
    pub(crate) fn etag(&self) -> String {
        const_hex::encode_upper(self.md5)
    }

    /// Whether the bytes are those that the request's head announced.
    fn check(&self, head: &Head) -> Result<(), OssError> {
        if let Some(announced) = head.header("content-md5")
            && STANDARD.decode(announced).ok().as_deref() != Some(&self.md5)
        {
            let message = "The Content-MD5 you specified did not match what we received.";
            return Err(OssError::new(400, "InvalidDigest", message).with("Content-MD5", announced));
        }
        if announced_sha256(head) != self.sha256.as_deref() {
            let message = "The provided content SHA256 does not match what was computed.";
            return Err(OssError::new(400, "XAmzContentSHA256Mismatch", message));
        }
        Ok(())
    }
}

/// The digest of its body that a request announces.
fn announced_sha256(head: &Head) -> Option<&str> {
    head.own_header("content-sha256").filter(|payload| *payload != "UNSIGNED-PAYLOAD")
}

/// Whether the body can be read at all, before any of it is.
pub(crate) fn check_head(head: &Head) -> Result<(), OssError> {
    let payload = head.own_header("content-sha256").unwrap_or_default();
    if payload.starts_with("STREAMING-") {
        return Err(OssError::not_simulated("aws-chunked bodies"));
    }
    if head.face == Face::Native && !matches!(payload, "" | "UNSIGNED-PAYLOAD") {
        let message = "Invalid x-oss-content-sha256: it is UNSIGNED-PAYLOAD.";
        return Err(OssError::argument("x-oss-content-sha256", payload, message));
    }
    let length = head.header("content-length").and_then(|length| length.parse().ok());
    if length.is_some_and(|length: u64| length > MOST_BYTES) {
        return Err(OssError::too_large(MOST_BYTES));
    }
    Ok(())
}

/// Reads a document.
pub(crate) async fn document(head: &Head, body: Body) -> Result<Vec<u8>, OssError> {
    let bytes = axum::body::to_bytes(body, MOST_DOCUMENT)
        .await
        .map_err(|_| OssError::malformed_xml().with("MostBytes", MOST_DOCUMENT.to_string()))?;
    let mut digests = Digests::of(head);
    digests.add(&bytes);
    digests.finish().check(head)?;
    Ok(bytes.into())
}

/// Reads and forgets the body of a request that is refused anyway.
pub(crate) async fn unwanted(body: Body) {
    let _ = axum::body::to_bytes(body, MOST_UNWANTED).await;
}

/// Streams a body into a draft.
pub(crate) async fn bytes(
    head: &Head,
    body: Body,
    draft: Draft,
) -> Result<(Draft, Digested), OssError> {
    let (pieces, taken) = mpsc::channel(PIECES);
    let digests = Digests::of(head);
    let writer = tokio::task::spawn_blocking(move || write(draft, digests, taken));
    let mut stream = body.into_data_stream();
    let mut size = 0;
    let mut broken = None;
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else {
            broken = Some(OssError::incomplete_body());
            break;
        };
        size += piece.len() as u64;
        if size > MOST_BYTES {
            broken = Some(OssError::too_large(MOST_BYTES));
            break;
        }
        // The writer has ended: it says below why.
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let written = writer.await.map_err(|error| OssError::internal(&error))?;
    if let Some(error) = broken {
        return Err(error);
    }
    let (draft, digested) = written.map_err(|error| OssError::internal(&error))?;
    digested.check(head)?;
    Ok((draft, digested))
}

fn write(
    mut draft: Draft,
    mut digests: Digests,
    mut pieces: mpsc::Receiver<Bytes>,
) -> std::io::Result<(Draft, Digested)> {
    while let Some(piece) = pieces.blocking_recv() {
        draft.write_all(&piece)?;
        digests.add(&piece);
    }
    Ok((draft, digests.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_real_service() {
        let mut digests = Digests::new();
        digests.add(b"1234");
        digests.add(b"56789");
        let digested = digests.finish();
        assert_eq!((digested.size, digested.crc64), (9, 0x995d_c9bb_df19_39fa));
        assert_eq!(digested.etag(), "25F9E794323B453885F5181F1B624D0B");
    }
}
