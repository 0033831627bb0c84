//! How many answers a mount's NFS server has given, as the kernel counts them: whether it lives can
//! be seen without asking it anything, also behind a long queue of writes.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Read without a word to any server.
const MOUNTSTATS: &str = "/proc/self/mountstats";

/// Answers so far; `None` for what is no NFS mount.
pub(crate) fn count(mount_point: &Path) -> Option<u64> {
    parse(&std::fs::read(MOUNTSTATS).ok()?, mount_point)
}

fn parse(text: &[u8], mount_point: &Path) -> Option<u64> {
    let head = [b" mounted on ", &*escape(mount_point), b" with fstype nfs"].concat();
    let mut lines = text.split(|byte| *byte == b'\n');
    let is_head = |line: &&[u8]| {
        line.starts_with(b"device ") && line.windows(head.len()).any(|part| part == head)
    };
    // Of several on one path the last one is on top.
    let mut found = None;
    while let Some(line) = lines.next() {
        if is_head(&line) {
            let own = lines.clone().take_while(|line| !line.starts_with(b"device "));
            found = Some(own.filter_map(answers).sum());
        }
    }
    found
}

/// `xprt: tcp <port> <binds> <connects> <connect time> <idle time> <sends> <receives> …`, one line
/// for each connection.
fn answers(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?.trim().strip_prefix("xprt:")?;
    line.split_whitespace().nth(7)?.parse().ok()
}

/// As the kernel writes paths in its tables.
fn escape(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => {
                escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            _ => escaped.push(*byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"device proc mounted on /proc with fstype proc
device 127.0.0.1:/a mounted on /m/a\\040b with fstype nfs statvers=1.1
\topts:\trw,vers=3
\txprt:\ttcp 0 1 2 0 0 18 17 0 18 0 2 0 0
\txprt:\ttcp 0 1 2 0 0 18 3 0 18 0 2 0 0
\tper-op statistics
device s:/b mounted on /m/c with fstype nfs4 statvers=1.1
\txprt:\ttcp 0 1 2 0 0 18 5 0 18 0 2 0 0
";

    #[test]
    fn answers_are_those_of_all_connections_of_one_mount() {
        assert_eq!(parse(TEXT, Path::new("/m/a b")), Some(20));
        assert_eq!(parse(TEXT, Path::new("/m/c")), Some(5));
        assert_eq!(parse(TEXT, Path::new("/m")), None);
        assert_eq!(parse(TEXT, Path::new("/proc")), None);
    }
}
