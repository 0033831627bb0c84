//! What is on a disk at the moment at which the machine loses its power: the blocks that the kernel
//! has written by then, in a copy that is mounted as after the next start.

use std::path::{Path, PathBuf};

use wharf_files::OwnDirectory;

use crate::bed::{Bed, sh};

struct Disk<'a> {
    bed: &'a Bed,
    fs_type: &'static str,
}

impl Disk<'_> {
    fn new<'a>(bed: &'a Bed, fs_type: &'static str) -> (Disk<'a>, PathBuf) {
        let device = bed.disk(fs_type, 320);
        let at = bed.path(fs_type);
        std::fs::create_dir(&at).unwrap();
        sh(&format!(
            "mkfs.{fs_type} -q {0} && mount -t {fs_type} {0} {1} && chmod go-w {1} && sync -f {1}",
            device.display(),
            at.display()
        ));
        (Disk { bed, fs_type }, at)
    }

    /// The file after the power was lost now; `None`: there is none.
    fn after_power_loss(&self, file: &Path) -> Option<String> {
        let copy = format!("{}-copy", self.fs_type);
        std::fs::copy(self.bed.image(self.fs_type), self.bed.image(&copy)).unwrap();
        let (device, at) = (self.bed.attach(&copy), self.bed.path(&copy));
        std::fs::create_dir_all(&at).unwrap();
        let options = if self.fs_type == "xfs" { "nouuid" } else { "defaults" };
        sh(&format!("mount -o {options} {} {}", device.display(), at.display()));
        let found = std::fs::read_to_string(at.join(file)).ok();
        sh(&format!("umount {}", at.display()));
        self.bed.detach(&device);
        found
    }
}

#[test]
fn a_file_that_was_replaced_is_there_after_the_power_was_lost() {
    let Some(bed) = Bed::new() else { return };
    for fs_type in ["ext4", "xfs"] {
        let (disk, at) = Disk::new(&bed, fs_type);
        let file = Path::new("state/deep/er/a.json");
        let own = OwnDirectory::new(at.join("state"));
        for content in ["first", "second"] {
            own.replace(&at.join(file), content.as_bytes()).unwrap();
            let found = disk.after_power_loss(file);
            assert_eq!(found.as_deref(), Some(content), "{fs_type}");
        }
        // What says nothing to the machine's next life does not wait for that.
        own.replace_for_this_boot(&at.join(file), b"third").unwrap();
        assert_eq!(std::fs::read_to_string(at.join(file)).unwrap(), "third");
        sh(&format!("umount {}", at.display()));
    }
}
