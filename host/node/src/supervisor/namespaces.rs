//! The mount namespaces of this node that show a file system: found through `/proc`, one process
//! for each. A namespace that no process is in cannot be found, and nobody looks at it either.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use wharf_core::Error;

use super::decide::DeviceNumber;

/// The kernel's number of the machine's first process namespace (`PROC_PID_INIT_INO`).
const FIRST_PROCESS_NAMESPACE: &str = "pid:[4026531836]";

/// A mount namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// `mnt:[4026532301]`.
    pub id: String,
    /// One of its processes.
    pub pid: i32,
    /// The namespace itself, for setns(2). `None`: the one that this process is in.
    pub file: Option<File>,
}

/// This process's own namespace, if it shows one of these devices.
///
/// # Errors
/// `Internal` when `/proc` cannot be read.
pub(crate) fn own(devices: &[DeviceNumber]) -> Result<Vec<Namespace>, Error> {
    let failed = |error: std::io::Error| Error::internal(format!("cannot read /proc: {error}"));
    let table = fs::read("/proc/self/mountinfo").map_err(failed)?;
    if !shows(&table, devices) {
        return Ok(Vec::new());
    }
    let id = fs::read_link("/proc/self/ns/mnt").map_err(failed)?;
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    Ok(vec![Namespace { id: id.to_string_lossy().into_owned(), pid, file: None }])
}

/// All other namespaces that show one of these devices.
///
/// # Errors
/// `Internal` when `/proc` cannot be read.
pub(crate) fn others(devices: &[DeviceNumber]) -> Result<Vec<Namespace>, Error> {
    let failed = |error: std::io::Error| Error::internal(format!("cannot list /proc: {error}"));
    let mut namespaces = by_namespace().map_err(failed)?;
    namespaces.remove(fs::read_link("/proc/self/ns/mnt").map_err(failed)?.as_os_str());
    let found = namespaces.iter().filter_map(|(id, pids)| find(id, pids, devices));
    Ok(found.collect())
}

/// A namespace, if it shows one of these devices. Its table is read from a process that sees all of
/// it: the table of one that has another root lacks what lies outside.
fn find(id: &OsStr, pids: &[i32], devices: &[DeviceNumber]) -> Option<Namespace> {
    let sees_all = |pid: &&i32| {
        fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|root| root == Path::new("/"))
    };
    let all = pids.iter().filter(sees_all).chain(pids);
    // The first that is still there, and still in this namespace: a process of this supervisor that
    // repairs a mount enters one and leaves it again.
    let (pid, file, table) = all.filter_map(|pid| read(id, *pid)).next()?;
    let id = id.to_string_lossy().into_owned();
    shows(&table, devices).then_some(Namespace { id, pid, file: Some(file) })
}

fn read(id: &OsStr, pid: i32) -> Option<(i32, File, Vec<u8>)> {
    let is_in = |link: &str| fs::read_link(link).is_ok_and(|found| found.as_os_str() == id);
    let link = format!("/proc/{pid}/ns/mnt");
    let file = File::open(&link).ok()?;
    let table = fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    let is_of_it = is_in(&format!("/proc/self/fd/{}", file.as_raw_fd())) && is_in(&link);
    (!table.is_empty() && is_of_it).then_some((pid, file, table))
}

fn by_namespace() -> std::io::Result<BTreeMap<OsString, Vec<i32>>> {
    let mut namespaces = BTreeMap::<_, Vec<i32>>::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) {
            namespaces.entry(namespace.into_os_string()).or_default().push(pid);
        }
    }
    namespaces.values_mut().for_each(|pids| pids.sort_unstable());
    Ok(namespaces)
}

/// Looks for the device's column alone: a node has many namespaces, and each a long table.
fn shows(table: &[u8], devices: &[DeviceNumber]) -> bool {
    let wanted: Vec<String> =
        devices.iter().map(|(major, minor)| format!("{major}:{minor}")).collect();
    table.split(|byte| *byte == b'\n').any(|line| {
        let device = line.split(|byte| *byte == b' ').nth(2);
        device.is_some_and(|device| wanted.iter().any(|wanted| wanted.as_bytes() == device))
    })
}

/// Why containers cannot be repaired from here; `None` when nothing speaks against it.
pub(crate) fn obstacle() -> Option<&'static str> {
    let is_first = fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|namespace| namespace.as_os_str() == FIRST_PROCESS_NAMESPACE);
    (!is_first).then_some(
        "the supervisor does not run in the node's process namespace (`hostPID`): it sees no \
         container but its own, and what propagates from this mount namespace is all that is \
         repaired",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_device_is_found_by_its_column_only() {
        let table = b"36 35 0:51 / /a rw - fuse 0:52 rw\n37 35 0:5 /0:53 /b rw - x y rw\n";
        assert!(shows(table, &[(0, 51)]) && shows(table, &[(0, 9), (0, 5)]));
        assert!(!shows(table, &[(0, 52)]) && !shows(table, &[(0, 53)]) && !shows(table, &[]));
        assert!(!shows(b"", &[(0, 51)]));
    }

    #[test]
    fn a_namespace_is_read_from_a_process_that_is_in_it() {
        // As a process of this supervisor that was in a namespace when it was listed, and has left.
        let gone = i32::try_from(std::process::id()).unwrap();
        let script = "mount -t tmpfs here /mnt && echo && exec sleep 4242";
        let mut process = Command::new("unshare");
        process.args(["-m", "--propagation", "private", "sh", "-c", script]);
        let Ok(mut process) = process.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
            return;
        };
        let is_ready = process.stdout.take().unwrap().read_exact(&mut [0]).is_ok();
        let pid = i32::try_from(process.id()).unwrap();
        let id = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap_or_default();
        let shown = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let here = crate::mounts::table::MountTable::parse(shown.as_bytes())
            .ok()
            .and_then(|table| Some(table.top(std::path::Path::new("/mnt"))?.device));
        let find = |pids: &[i32], device| find(id.as_os_str(), pids, &[device]);
        let found = here.map(|here| {
            let found = [find(&[gone, pid], here), find(&[gone], here), find(&[pid], (999, 9))];
            found.map(|namespace| namespace.map(|namespace| namespace.pid))
        });
        process.kill().unwrap();
        process.wait().unwrap();
        // Without the right to make a namespace there is nothing to find.
        assert!(is_ready || !rustix::process::geteuid().is_root());
        if is_ready {
            assert_eq!(found, Some([Some(pid), None, None]));
        }
    }

    #[test]
    fn the_own_namespace_is_found_by_what_it_shows_and_is_none_of_the_others() {
        let table = crate::mounts::table::MountTable::read().unwrap();
        let root = table.top(std::path::Path::new("/")).unwrap().device;
        let found = own(&[root]).unwrap();
        assert!(found.len() == 1 && found.first().unwrap().file.is_none());
        let others = others(&[root]).unwrap();
        assert!(others.iter().all(|other| other.id != found.first().unwrap().id));
        assert!(own(&[(999, 999_999)]).unwrap().is_empty());
    }
}
