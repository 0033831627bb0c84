//! What goes into an image: programs of this machine with the libraries that the dynamic loader
//! says they need, and single files. Directories are made where a file needs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A file with its mode.
    File(Vec<u8>, u32),
    /// A symbolic link.
    Link(String),
}

/// Entries by their path, without a leading slash: so in the one order in which they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

/// Directories that container runtimes mount on, or that programs expect.
const DIRECTORIES: [&str; 7] = ["dev", "etc", "proc", "run", "sys", "tmp", "var/lib/wharf"];
/// As Debian has it: one place for programs and libraries, and the old names for it.
const LINKS: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];
/// Users, for programs that ask for root's name; where names of hosts are looked for.
const TEXTS: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/root:/usr/sbin/nologin\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
];

impl Tree {
    /// What every image has, whatever is in it.
    pub fn with_usual_directories() -> Self {
        let mut tree = Self::default();
        for directory in DIRECTORIES.into_iter().chain(LINKS.map(|(_, target)| target)) {
            tree.make_directories(directory);
            tree.0.insert(directory.to_owned(), Entry::Directory);
        }
        for (name, target) in LINKS {
            tree.0.insert(name.to_owned(), Entry::Link(target.to_owned()));
        }
        for (name, text) in TEXTS {
            tree.put(name, text.into(), 0o644);
        }
        tree
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// A file with this content.
    pub fn put(&mut self, path: &str, content: Vec<u8>, mode: u32) {
        self.make_directories(path);
        self.0.insert(path.to_owned(), Entry::File(content, mode));
    }

    /// A file of this machine, at the same place.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.put(&in_image(path)?, content, mode_of(path)?);
        Ok(())
    }

    /// A program of this machine by its name, with its libraries. A name that is a link stays one
    /// (`mkfs.ext4`).
    pub fn add_program(&mut self, name: &str) -> Result<()> {
        let found = command::find_program(name).with_context(|| format!("there is no {name}"))?;
        let real = found.canonicalize()?;
        let link = in_image(&found)?;
        let target = in_image(&real)?;
        self.add_file(&real)?;
        if link != target {
            self.0.insert(link, Entry::Link(format!("/{target}")));
        }
        self.add_libraries(&real)
    }

    /// A binary from anywhere, at this place; with its libraries, unless they are in `below`.
    pub fn add_binary(&mut self, binary: &Path, at: &str, below: &Self) -> Result<()> {
        let content =
            fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
        self.put(at, content, 0o755);
        self.add_libraries(binary)?;
        self.leave_out(&[below]);
        Ok(())
    }

    /// Takes out what layers below have already.
    pub fn leave_out(&mut self, below: &[&Self]) {
        self.0.retain(|path, entry| !below.iter().any(|tree| tree.0.get(path) == Some(entry)));
    }

    fn add_libraries(&mut self, program: &Path) -> Result<()> {
        for library in libraries(program)? {
            let content =
                fs::read(&library).with_context(|| format!("cannot read {}", library.display()))?;
            // Under the name by which programs ask for it, whatever file it is a link to.
            self.put(&in_image(&library)?, content, 0o755);
        }
        Ok(())
    }

    fn make_directories(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            if let Some(directory) = path.get(..end) {
                self.0.entry(directory.to_owned()).or_insert(Entry::Directory);
            }
        }
    }
}

/// Without a leading slash, and below `usr` where Debian has a link to there.
fn in_image(path: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            other => bail!("{}: what is {other:?} in an image?", path.display()),
        }
    }
    let path = parts.join("/");
    let is_old = LINKS.iter().any(|(old, _)| path.split('/').next() == Some(old));
    Ok(if is_old { format!("usr/{path}") } else { path })
}

fn mode_of(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    let is_executable = fs::metadata(path)?.permissions().mode() & 0o111 != 0;
    Ok(if is_executable { 0o755 } else { 0o644 })
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).env("LC_ALL", "C").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    if said.contains("not a dynamic executable") || said.contains("statically linked") {
        return Ok(Vec::new());
    }
    ensure!(output.status.success(), "`ldd {}` failed: {said}", program.display());
    parse(&text).with_context(|| format!("libraries of {}", program.display()))
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or a path alone; `linux-vdso.so.1` is the
/// kernel's.
fn parse(ldd: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in ldd.lines().map(str::trim) {
        ensure!(!line.ends_with("not found"), "{line}");
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        let path = path.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            libraries.push(path.into());
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_that_the_loader_names() {
        let text = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x0000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x0000)\n";
        assert_eq!(
            parse(text).unwrap(),
            [PathBuf::from("/lib/x/libc.so.6"), "/lib64/ld-linux-x86-64.so.2".into()]
        );
        assert!(parse("\tliba.so => not found\n").is_err());
    }

    #[test]
    fn old_places_are_below_usr_and_directories_come_with_their_files() {
        assert_eq!(in_image(Path::new("/lib/x/a.so")).unwrap(), "usr/lib/x/a.so");
        assert_eq!(in_image(Path::new("/etc/a")).unwrap(), "etc/a");
        assert!(in_image(Path::new("/etc/../a")).is_err());
        let mut tree = Tree::default();
        tree.put("usr/share/wharf/a", vec![1], 0o644);
        let paths: Vec<&str> = tree.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/share", "usr/share/wharf", "usr/share/wharf/a"]);
        let below = tree.clone();
        tree.put("usr/share/wharf/b", vec![2], 0o644);
        tree.leave_out(&[&below]);
        let paths: Vec<&str> = tree.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr/share/wharf/b"]);
    }
}
