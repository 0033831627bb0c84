//! Which mounts are a driver's, by the directories that kubelet gives to its volumes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::driver_name::DriverName;
use crate::paths;

/// The volumes of this driver in a mount table (`/proc/PID/mountinfo`): in pods and on the node.
pub fn mounted(table: &str, driver: &DriverName) -> Vec<PathBuf> {
    const MOUNT_POINT: usize = 4;
    let points = table.lines().filter_map(|line| line.split(' ').nth(MOUNT_POINT));
    points.filter_map(|point| paths::parse_mounted(&unescaped(point), driver).ok()).collect()
}

/// The kernel writes blanks, line ends and backslashes as three octal digits.
fn unescaped(text: &str) -> OsString {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..3).filter(|_| first == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_driver_s_volumes_are_found_and_no_others() {
        let table = "\
22 1 8:1 / / rw - ext4 /dev/vda rw
30 22 8:2 / /var/lib/kubelet/pods/u-1/volumes/alicloud~disk/d-1 rw - ext4 /dev/vdb rw
31 22 8:2 / /var/lib/kubelet/plugins/kubernetes.io/flexvolume/alicloud/disk/mounts/d-1 rw - ext4 /dev/vdb rw
32 22 8:3 / /data\\040x/pods/u-2/volumes/alicloud~disk/d-2 ro - ext4 /dev/vdc ro
33 22 0:5 / /var/lib/kubelet/pods/u-1/volumes/alicloud~nas/n-1 rw - nfs4 server:/ rw
34 22 0:5 / /var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/pv/mount rw - ext4 /dev/vdd rw
";
        let driver = DriverName::parse("alicloud/disk").unwrap();
        let found: Vec<_> =
            mounted(table, &driver).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            found,
            [
                "/var/lib/kubelet/pods/u-1/volumes/alicloud~disk/d-1",
                "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/alicloud/disk/mounts/d-1",
                "/data x/pods/u-2/volumes/alicloud~disk/d-2",
            ]
        );
        assert!(mounted("", &driver).is_empty() && mounted("garbage\n\n", &driver).is_empty());
    }
}
