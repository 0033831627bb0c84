//! `mount-device`: the found device, or its only partition, on the call's path, as
//! what is on it.

use wharf_core::Error;
use wharf_core::plan::MountDevice;

use crate::disk::{file_system, grow};
use crate::mounts::mounting;
use crate::mounts::options::MountOptions;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for MountDevice {
    fn validate(&self) -> Result<(), Error> {
        let options = MountOptions::parse(&self.flags, self.read_only)?;
        if self.fs_type.is_empty() { Ok(()) } else { options.check_allowed(&self.fs_type) }
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let options = MountOptions::parse(&self.flags, self.read_only)?;
        let device = run.found_device()?.adopt_partition(&run.context.options.sysfs)?;
        if run.grows {
            grow::before_mount(run.context, &device)?;
        }
        let fs_type = file_system::type_to_mount(run.context, run.policy, &device, &self.fs_type)?;
        let options = options.for_type(&fs_type);
        options.check_allowed(&fs_type)?;
        let target = run.target()?;
        let (context, call) = (run.context, run.call);
        mounting::mount_device(context, call, &mut run.undo, &target, &device, &fs_type, &options)
    }
}
