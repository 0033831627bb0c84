//! One layer: a compressed archive whose bytes depend on its entries alone. No times, no owners but
//! root, entries in the order of their names.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::files::{Entry, Tree};

/// A layer.
pub struct Layer {
    /// Compressed.
    pub blob: Vec<u8>,
    /// `sha256:…` of the bytes before they were compressed, by which runtimes know a layer.
    pub diff_id: String,
    /// Bytes before they were compressed.
    pub unpacked: u64,
}

impl Layer {
    /// The layer of these entries.
    pub fn of(tree: &Tree) -> Result<Self> {
        let archive = archive(tree)?;
        let mut compressed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        compressed.write_all(&archive)?;
        let blob = compressed.finish()?;
        Ok(Self { diff_id: digest(&archive), unpacked: u64::try_from(archive.len())?, blob })
    }
}

fn archive(tree: &Tree) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, entry) in tree.entries() {
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        match entry {
            Entry::Directory => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(if path == "tmp" { 0o1777 } else { 0o755 });
                header.set_size(0);
                archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Entry::File(content, mode) => {
                header.set_mode(*mode);
                header.set_size(u64::try_from(content.len())?);
                archive.append_data(&mut header, path, content.as_slice())?;
            }
            Entry::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                archive.append_link(&mut header, path, target)?;
            }
        }
    }
    Ok(archive.into_inner()?)
}

/// As images name things.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_of_the_same_entries_is_the_same_and_has_neither_time_nor_owner() {
        let mut tree = Tree::with_usual_directories();
        tree.put("usr/bin/a", vec![7; 1000], 0o755);
        let (one, other) = (Layer::of(&tree).unwrap(), Layer::of(&tree.clone()).unwrap());
        assert_eq!((&one.blob, &one.diff_id), (&other.blob, &other.diff_id));
        let archive = archive(&tree).unwrap();
        let mut read = tar::Archive::new(archive.as_slice());
        let mut seen = 0;
        for entry in read.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let owner = (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap());
            assert_eq!(owner, (0, 0, 0));
            seen += 1;
        }
        assert_eq!(seen, tree.entries().count());
        tree.put("usr/bin/a", vec![8; 1000], 0o755);
        assert_ne!(Layer::of(&tree).unwrap().diff_id, one.diff_id);
    }
}
