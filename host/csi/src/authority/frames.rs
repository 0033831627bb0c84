//! The frames of one HTTP/2 connection, client to server (RFC 9113 section 4): header blocks are
//! collected and rewritten, everything else passes. Nothing is judged here: what breaks a rule of
//! HTTP/2 is passed on for `h2` to refuse, unless it cannot be read at all.

use std::io;

use super::header_block::HeaderBlocks;

/// `PRI * HTTP/2.0 …`, with which a client begins.
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
/// The largest frame that `h2` takes; a rewritten block is cut into such pieces.
const MAX_FRAME_BYTES: usize = 16 << 10;
/// A header block with its continuations, before and after it is rewritten. gRPC's own bound for
/// metadata is 8 KiB.
pub(super) const MAX_BLOCK_BYTES: usize = 64 << 10;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Where one connection stands.
pub(super) struct Frames {
    blocks: HeaderBlocks,
    /// Bytes that pass as they are: the preface, or the rest of a frame.
    passing: usize,
    /// The beginning of a frame that is not there as a whole.
    kept: Vec<u8>,
    open: Option<Block>,
}

/// A header block that is being collected.
struct Block {
    stream: [u8; 4],
    flags: u8,
    bytes: Vec<u8>,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            blocks: HeaderBlocks::default(),
            passing: PREFACE_BYTES,
            kept: Vec::new(),
            open: None,
        }
    }
}

impl Frames {
    /// Takes what has arrived and appends what `h2` is to read.
    ///
    /// # Errors
    /// `InvalidData` for a header block that cannot be read, is too large, or is interrupted.
    pub(super) fn pass(&mut self, arrived: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend_from_slice(arrived);
        let mut rest = kept.as_slice();
        loop {
            let (passed, behind) = rest.split_at(rest.len().min(self.passing));
            out.extend_from_slice(passed);
            self.passing -= passed.len();
            rest = behind;
            let Some((header, payload)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() else {
                break;
            };
            let [high, middle, low, kind, flags, stream @ ..] = *header;
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if kind != HEADERS && (kind != CONTINUATION || self.open.is_none()) {
                if self.open.is_some() {
                    return Err(unreadable("a header block is interrupted"));
                }
                self.passing = FRAME_HEADER_BYTES + length;
                continue;
            }
            if length > MAX_BLOCK_BYTES {
                return Err(unreadable("a header block is too large"));
            }
            let Some((payload, behind)) = payload.split_at_checked(length) else { break };
            rest = behind;
            self.collect(kind, flags, stream, payload)?;
            if flags & END_HEADERS != 0 {
                self.write_block(out)?;
            }
        }
        self.kept = rest.to_vec();
        Ok(())
    }

    fn collect(&mut self, kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) -> io::Result<()> {
        if kind == HEADERS {
            if self.open.is_some() {
                return Err(unreadable("a header block is interrupted"));
            }
            let bytes = without_padding(flags, payload)?.to_vec();
            self.open = Some(Block { stream, flags, bytes });
            return Ok(());
        }
        let block = self.open.as_mut().filter(|block| block.stream == stream);
        let block = block.ok_or_else(|| unreadable("a header block is interrupted"))?;
        block.bytes.extend_from_slice(payload);
        if block.bytes.len() > MAX_BLOCK_BYTES {
            return Err(unreadable("a header block is too large"));
        }
        Ok(())
    }

    /// The block without its priority, which is deprecated and which `h2` ignores.
    fn write_block(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(block) = self.open.take() else { return Ok(()) };
        let rewritten = self.blocks.rewrite(&block.bytes);
        let rewritten = rewritten.ok_or_else(|| unreadable("a header block cannot be read"))?;
        let mut pieces = rewritten.chunks(MAX_FRAME_BYTES).peekable();
        let (mut kind, mut flags) = (HEADERS, block.flags & END_STREAM);
        loop {
            let piece = pieces.next().unwrap_or_default();
            let is_last = pieces.peek().is_none();
            // A piece is shorter than 2^24.
            let [_, length @ ..] = u32::try_from(piece.len()).unwrap_or_default().to_be_bytes();
            out.extend_from_slice(&length);
            out.extend_from_slice(&[kind, if is_last { flags | END_HEADERS } else { flags }]);
            out.extend_from_slice(&block.stream);
            out.extend_from_slice(piece);
            if is_last {
                return Ok(());
            }
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}

fn without_padding(flags: u8, payload: &[u8]) -> io::Result<&[u8]> {
    let mut rest = payload;
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (length, behind) = rest.split_first().ok_or_else(|| unreadable("a frame is cut"))?;
        (padding, rest) = (usize::from(*length), behind);
    }
    let priority = if flags & PRIORITY != 0 { 5 } else { 0 };
    let end = rest.len().checked_sub(padding).ok_or_else(|| unreadable("a frame is cut"))?;
    rest.get(priority..end).ok_or_else(|| unreadable("a frame is cut"))
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [length.as_slice(), &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A static index that is no authority: it passes as it is.
    const METHOD: u8 = 0x83;

    fn begun() -> Vec<u8> {
        [[b'P'; PREFACE_BYTES].as_slice(), &frame(4, 0, &[0; 6])].concat()
    }

    fn passed(bytes: &[u8], at_once: usize) -> io::Result<Vec<u8>> {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        bytes.chunks(at_once).try_for_each(|piece| frames.pass(piece, &mut out))?;
        Ok(out)
    }

    #[test]
    fn everything_but_header_blocks_passes_in_pieces_of_any_size() {
        let data = frame(0, END_STREAM, &[7; 300]);
        let headers = frame(HEADERS, END_HEADERS, &[METHOD]);
        let stream = [begun(), headers, data, frame(8, 0, &[0; 4])].concat();
        for at_once in [1, 2, 7, 100, stream.len()] {
            assert_eq!(passed(&stream, at_once).unwrap(), stream, "{at_once}");
        }
    }

    #[test]
    fn padding_priority_and_continuations_become_one_plain_frame() {
        let padded = [&[2][..], &[0, 0, 0, 0, 16], &[METHOD], &[0, 0]].concat();
        let stream = [
            begun(),
            frame(HEADERS, PADDED | PRIORITY | END_STREAM, &padded),
            frame(CONTINUATION, 0, &[METHOD]),
            frame(CONTINUATION, END_HEADERS, &[METHOD]),
        ]
        .concat();
        let plain = frame(HEADERS, END_HEADERS | END_STREAM, &[METHOD; 3]);
        assert_eq!(passed(&stream, 5).unwrap(), [begun(), plain].concat());
    }

    #[test]
    fn a_block_that_outgrows_a_frame_is_continued() {
        let value = vec![b'v'; 20 << 10];
        let mut block = vec![0x0f, 0x08, 0x7f, 0x81, 0x9f, 0x01];
        block.extend_from_slice(&value);
        let (first, second) = block.split_at(MAX_FRAME_BYTES);
        let stream =
            [begun(), frame(HEADERS, END_STREAM, first), frame(CONTINUATION, END_HEADERS, second)]
                .concat();
        assert_eq!(passed(&stream, 1000).unwrap(), stream);
    }

    #[test]
    fn what_cannot_be_read_ends_the_connection_within_bounds() {
        let large = frame(HEADERS, 0, &vec![METHOD; MAX_BLOCK_BYTES + 1]);
        let endless =
            [frame(HEADERS, 0, &[METHOD]), frame(CONTINUATION, 0, &vec![METHOD; MAX_BLOCK_BYTES])]
                .concat();
        let interrupted = [frame(HEADERS, 0, &[METHOD]), frame(0, 0, &[0])].concat();
        let twice = [frame(HEADERS, 0, &[METHOD]), frame(HEADERS, 0, &[METHOD])].concat();
        let cut = frame(HEADERS, PADDED | END_HEADERS, &[9, METHOD]);
        let broken = frame(HEADERS, END_HEADERS, &[0x80]);
        for stream in [large, endless, interrupted, twice, cut, broken] {
            let refused = passed(&[begun(), stream].concat(), 4096).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        }
    }
}
