//! Header blocks (HPACK, RFC 7541) written anew: every `:authority` becomes `localhost`, every
//! other field keeps its name and value, byte for byte as they were encoded, and nothing refers to
//! a dynamic table any more. No text is decoded, so there is no Huffman code here.
//!
//! The client's dynamic table is followed to resolve its references. An entry's size counts decoded
//! text, of which only a lower bound is known, so an entry is forgotten later here than at the
//! client, never earlier; references count from the newest entry, so later does no harm.

use std::collections::VecDeque;

use super::frames::MAX_BLOCK_BYTES;

/// A client may use so much; `h2` never offers more.
const TABLE_BYTES: usize = 4096;
/// What an entry counts beside its text.
const ENTRY_BYTES: usize = 32;
const STATIC_ENTRIES: usize = 61;
/// `:authority` in the static table.
const AUTHORITY: usize = 1;
/// The name in full, plain and Huffman-coded.
const AUTHORITY_TEXTS: [&[u8]; 2] = [b"\x0a:authority", b"\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f"];
/// `:authority: localhost`, not for any table.
const LOCALHOST: &[u8] = b"\x01\x09localhost";

/// The header blocks of one connection.
#[derive(Default)]
pub(super) struct HeaderBlocks {
    /// Newest first.
    table: VecDeque<Field>,
    /// At least so much the client counts for it.
    bytes: usize,
}

#[derive(Clone)]
struct Field {
    name: Name,
    /// With its length, as it was encoded.
    value: Vec<u8>,
}

#[derive(Clone)]
enum Name {
    Static(usize),
    /// With its length, as it was encoded.
    Text(Vec<u8>),
}

impl HeaderBlocks {
    /// The block for `h2`; `None` when it cannot be read, or grows beyond a bound.
    pub(super) fn rewrite(&mut self, block: &[u8]) -> Option<Vec<u8>> {
        let mut rest = Rest(block);
        let mut out = Vec::with_capacity(block.len() + 64);
        while let Some(&first) = rest.0.first() {
            if first & 0x80 != 0 {
                match rest.number(7)? {
                    0 => return None,
                    AUTHORITY => out.extend_from_slice(LOCALHOST),
                    index if index <= STATIC_ENTRIES => write_number(&mut out, 0x80, 7, index),
                    index => write(&mut out, self.entry(index)?),
                }
            } else if first & 0x40 != 0 {
                let field = self.literal(&mut rest, 6)?;
                write(&mut out, &field);
                self.insert(field);
            } else if first & 0x20 != 0 {
                // The client's table shrinks; what it forgets it does not refer to.
                rest.number(5)?;
            } else {
                write(&mut out, &self.literal(&mut rest, 4)?);
            }
            if out.len() > MAX_BLOCK_BYTES {
                return None;
            }
        }
        Some(out)
    }

    fn literal(&self, rest: &mut Rest<'_>, prefix: u32) -> Option<Field> {
        let name = match rest.number(prefix)? {
            0 => Name::Text(rest.text()?.to_vec()),
            index if index <= STATIC_ENTRIES => Name::Static(index),
            index => self.entry(index)?.name.clone(),
        };
        Some(Field { name, value: rest.text()?.to_vec() })
    }

    fn entry(&self, index: usize) -> Option<&Field> {
        self.table.get(index.checked_sub(STATIC_ENTRIES + 1)?)
    }

    fn insert(&mut self, field: Field) {
        self.bytes += field.least_bytes();
        self.table.push_front(field);
        while self.bytes > TABLE_BYTES
            && let Some(oldest) = self.table.pop_back()
        {
            self.bytes -= oldest.least_bytes();
        }
    }
}

impl Field {
    fn least_bytes(&self) -> usize {
        // A Huffman code has at most 30 bits. The length in front counts as text, so less is taken.
        let text = |text: &[u8]| match text.first() {
            Some(first) if first & 0x80 != 0 => text.len().saturating_sub(5) * 8 / 30,
            _ => text.len().saturating_sub(5),
        };
        let name = match &self.name {
            Name::Static(_) => 0,
            Name::Text(name) => text(name),
        };
        ENTRY_BYTES + name + text(&self.value)
    }

    fn is_authority(&self) -> bool {
        match &self.name {
            Name::Static(index) => *index == AUTHORITY,
            Name::Text(name) => AUTHORITY_TEXTS.contains(&name.as_slice()),
        }
    }
}

/// What is left of a block.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// An integer whose first byte has so many bits for it (RFC 7541, 5.1).
    fn number(&mut self, prefix: u32) -> Option<usize> {
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A text with its length in front (RFC 7541, 5.2).
    fn text(&mut self) -> Option<&'a [u8]> {
        let whole = self.0;
        let length = self.number(7)?;
        self.0 = self.0.get(length..)?;
        whole.get(..whole.len() - self.0.len())
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }
}

/// As a literal that is not for any table.
fn write(out: &mut Vec<u8>, field: &Field) {
    if field.is_authority() {
        return out.extend_from_slice(LOCALHOST);
    }
    match &field.name {
        Name::Static(index) => write_number(out, 0, 4, *index),
        Name::Text(name) => {
            out.push(0);
            out.extend_from_slice(name);
        }
    }
    out.extend_from_slice(&field.value);
}

fn write_number(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    let low = |value: usize| u8::try_from(value & 0xff).unwrap_or_default();
    if value < mask {
        return out.push(pattern | low(value));
    }
    out.push(pattern | low(mask));
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(low(rest & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(low(rest));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write_number(&mut out, 0, 7, text.len());
        out.extend_from_slice(text.as_bytes());
        out
    }

    fn indexed_later(name: &str, value: &str) -> Vec<u8> {
        [vec![0x40], plain(name), plain(value)].concat()
    }

    fn rewritten(blocks: &mut HeaderBlocks, block: &[u8]) -> Vec<u8> {
        blocks.rewrite(block).unwrap()
    }

    #[test]
    fn every_spelling_of_an_authority_becomes_localhost() {
        for spelled in [
            [vec![0x41], plain("/var/lib/kubelet/plugins/d/csi.sock")].concat(),
            [vec![0x01], plain("%2Fcsi%2Fcsi.sock")].concat(),
            [vec![0x11], plain("")].concat(),
            indexed_later(":authority", "/csi/csi.sock"),
            [vec![0x00], AUTHORITY_TEXTS[1].to_vec(), plain("a b")].concat(),
            vec![0x81],
        ] {
            assert_eq!(rewritten(&mut HeaderBlocks::default(), &spelled), LOCALHOST);
        }
    }

    #[test]
    fn references_to_the_dynamic_table_are_resolved_also_for_the_authority() {
        let mut blocks = HeaderBlocks::default();
        let authority = [vec![0x41], plain("/csi.sock")].concat();
        let first = [indexed_later("a", "1"), authority, indexed_later("b", "2")].concat();
        rewritten(&mut blocks, &first);
        // b, the authority, a, and a with another value.
        let again = [&[0xbe, 0xbf, 0xc0][..], &[0x0f, 49], &plain("3")].concat();
        let literal = |name: &str, value: &str| [vec![0], plain(name), plain(value)].concat();
        let expected =
            [literal("b", "2"), LOCALHOST.to_vec(), literal("a", "1"), literal("a", "3")].concat();
        assert_eq!(rewritten(&mut blocks, &again), expected);
    }

    #[test]
    fn the_table_holds_no_less_than_the_client_s_and_is_bounded() {
        let mut blocks = HeaderBlocks::default();
        for number in 0..1000 {
            rewritten(&mut blocks, &indexed_later("name", &format!("{number:04}")));
            // The client holds as many: 4096 / (32 + 4 + 4).
            let oldest: usize = usize::min(number, 101);
            let mut reference = Vec::new();
            write_number(&mut reference, 0x80, 7, STATIC_ENTRIES + 1 + oldest);
            let resolved = rewritten(&mut blocks, &reference);
            assert!(resolved.ends_with(&plain(&format!("{:04}", number - oldest))));
        }
        assert!(blocks.table.len() <= TABLE_BYTES / ENTRY_BYTES);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for broken in [
            &[0x80][..],
            &[0xbe],
            &[0x41],
            &[0x41, 5, b'a'],
            &[0x7f],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x40, 0x7f],
        ] {
            assert_eq!(HeaderBlocks::default().rewrite(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn references_do_not_multiply_a_block_without_a_bound() {
        let mut blocks = HeaderBlocks::default();
        rewritten(&mut blocks, &indexed_later("name", &"v".repeat(3000)));
        assert_eq!(blocks.rewrite(&[0xbe; 100]), None);
    }
}
