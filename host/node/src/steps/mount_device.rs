//! `mount-device`: the found device, or its only partition, on the call's path.

use wharf_core::Error;
use wharf_core::plan::MountDevice;

use crate::disk::grow;
use crate::mounts::mounting;
use crate::mounts::options::MountOptions;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for MountDevice {
    fn validate(&self) -> Result<(), Error> {
        if self.fs_type.is_empty() {
            return Err(Error::invalid(
                "a device is mounted as some type of file system, and the plan names none",
            ));
        }
        MountOptions::parse(&self.flags, self.read_only).map(drop)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let options = MountOptions::parse(&self.flags, self.read_only)?;
        let device = run.found_device()?.adopt_partition(&run.context.options.sysfs)?;
        if run.grows {
            grow::before_mount(run.context, &device)?;
        }
        let target = run.target()?;
        mounting::mount_device(&target, &device, &self.fs_type, &options, &mut run.undo)
    }
}
