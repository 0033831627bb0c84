//! The few superblock fields that decide whether there is anything to grow, and whether mkfs was
//! interrupted. Pure; spares a program start on every stage. What a device holds in general is
//! libblkid's to say (`probe`).

/// How much of a device's beginning is needed.
pub(crate) const SUPERBLOCK_BYTES: usize = 2048;

/// Which programs work on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// ext2, ext3 and ext4.
    Ext,
    /// XFS.
    Xfs,
}

/// What the beginning of a device says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// What it is.
    pub family: Family,
    /// Bytes that the file system covers.
    pub bytes: u64,
    /// Bytes of one block; a difference smaller than this is none.
    pub block_bytes: u64,
    /// False: mkfs or a copy was interrupted, and the kernel refuses to mount it.
    pub is_complete: bool,
}

/// Reads an ext2, ext3, ext4 or XFS superblock; `None` for anything else.
pub(crate) fn parse(head: &[u8]) -> Option<Superblock> {
    parse_ext(head).or_else(|| parse_xfs(head))
}

/// Linux `fs/ext4/ext4.h`, `struct ext4_super_block` at byte 1024; little endian.
fn parse_ext(head: &[u8]) -> Option<Superblock> {
    const INCOMPAT_64BIT: u32 = 0x80;
    let block = head.get(1024..)?;
    if le16(block, 0x38)? != 0xEF53 {
        return None;
    }
    let log_block = le32(block, 0x18)?;
    let block_bytes = 1024_u64.checked_shl(log_block).filter(|_| log_block <= 6)?;
    let high =
        if le32(block, 0x60)? & INCOMPAT_64BIT == 0 { 0 } else { u64::from(le32(block, 0x150)?) };
    let blocks = (high << 32) | u64::from(le32(block, 0x4)?);
    Some(Superblock {
        family: Family::Ext,
        bytes: blocks.checked_mul(block_bytes)?,
        block_bytes,
        is_complete: true,
    })
}

/// Linux `fs/xfs/libxfs/xfs_format.h`, `struct xfs_dsb` at byte 0; big endian.
fn parse_xfs(head: &[u8]) -> Option<Superblock> {
    if head.get(..4)? != b"XFSB" {
        return None;
    }
    let block_bytes = u64::from(u32::from_be_bytes(head.get(4..8)?.try_into().ok()?));
    let blocks = u64::from_be_bytes(head.get(8..16)?.try_into().ok()?);
    let in_progress = *head.get(126)?;
    Some(Superblock {
        family: Family::Xfs,
        bytes: blocks.checked_mul(block_bytes)?,
        block_bytes,
        is_complete: in_progress == 0,
    })
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ext(log_block: u32, low: u32, incompat: u32, high: u32) -> Vec<u8> {
        let mut head = vec![0_u8; SUPERBLOCK_BYTES];
        head[1024 + 0x4..1024 + 0x8].copy_from_slice(&low.to_le_bytes());
        head[1024 + 0x18..1024 + 0x1c].copy_from_slice(&log_block.to_le_bytes());
        head[1024 + 0x38..1024 + 0x3a].copy_from_slice(&0xEF53_u16.to_le_bytes());
        head[1024 + 0x60..1024 + 0x64].copy_from_slice(&incompat.to_le_bytes());
        head[1024 + 0x150..1024 + 0x154].copy_from_slice(&high.to_le_bytes());
        head
    }

    #[test]
    fn ext4_counts_blocks_beyond_32_bits_only_when_it_says_so() {
        assert_eq!(parse(&ext(2, 1000, 0x80, 1)).unwrap().bytes, ((1 << 32) + 1000) * 4096);
        assert_eq!(parse(&ext(2, 1000, 0, 1)).unwrap().bytes, 1000 * 4096);
        assert_eq!(parse(&ext(0, 1000, 0, 0)).unwrap().block_bytes, 1024);
    }

    #[test]
    fn xfs_says_whether_mkfs_came_to_its_end() {
        let mut head = vec![0_u8; SUPERBLOCK_BYTES];
        head[..4].copy_from_slice(b"XFSB");
        head[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        head[8..16].copy_from_slice(&77_u64.to_be_bytes());
        assert_eq!(
            parse(&head),
            Some(Superblock {
                family: Family::Xfs,
                bytes: 77 * 4096,
                block_bytes: 4096,
                is_complete: true
            })
        );
        head[126] = 1;
        assert!(!parse(&head).unwrap().is_complete);
    }

    #[test]
    fn nonsense_is_not_a_superblock() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0_u8; SUPERBLOCK_BYTES]), None);
        assert_eq!(parse(&ext(40, 1000, 0, 0)), None);
        assert_eq!(parse(b"XFSB"), None);
        let mut huge = vec![0xff_u8; SUPERBLOCK_BYTES];
        huge[..4].copy_from_slice(b"XFSB");
        assert_eq!(parse(&huge), None);
    }
}
