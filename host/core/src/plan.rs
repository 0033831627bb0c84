//! What must be true on a node: the typed steps that a backend's plan is made of.
//!
//! One file below `plan/` for each step: its fields, its name and what grants it. A new step is
//! such a file and a line in the list of [`Step`]; `wharf-node` has the same for how it is made
//! true, and `wharf-runtime` the function by which a component adds it to a plan.

use serde::{Deserialize, Serialize};

use crate::error::{Blame, Error, ErrorKind};
use crate::policy::NodePolicy;

mod block_device;
mod check;
mod directory_path;
mod find_device;
mod format;
mod goal;
mod grow;
mod make_directory;
mod mount_device;
mod mount_directory;
mod mount_fuse;
mod mount_nfs;
mod mount_staged;
mod move_aside;
mod remove_tree;
mod set_block_queue;
mod set_ownership;

pub use block_device::BlockDevice;
pub use check::Check;
pub use directory_path::{DirectoryBase, DirectoryPath};
pub use find_device::{DeviceMatch, FindDevice};
pub use format::Format;
pub use goal::{Goal, StepOutput};
pub use grow::Grow;
pub use make_directory::MakeDirectory;
pub use mount_device::MountDevice;
pub use mount_directory::{GrantedDirectory, MountDirectory};
pub use mount_fuse::{HelperCredential, MountFuse, Readiness};
pub use mount_nfs::{MakePath, MountNfs, MountPlace};
pub use mount_staged::MountStaged;
pub use move_aside::MoveAside;
pub use remove_tree::RemoveTree;
pub use set_block_queue::SetBlockQueue;
pub use set_ownership::SetOwnership;

/// A plan has no more steps than this: no real one has half as many, and each costs time on a node.
pub const MAX_STEPS: usize = 32;

/// What a backend wants to be true, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// At most [`MAX_STEPS`].
    pub steps: Vec<Step>,
    /// One line for people.
    pub summary: String,
}

impl Plan {
    /// The plan where the call only reads, whatever the backend made of it: every mount is
    /// read-only, and nothing is made, repaired or grown.
    #[must_use]
    pub fn for_reading(self, is_shared: bool) -> Self {
        let steps = self.steps.into_iter().filter_map(|step| step.for_reading(is_shared));
        Self { steps: steps.collect(), summary: self.summary }
    }

    /// What the plan looks for, if it does.
    pub fn find_device(&self) -> Option<&FindDevice> {
        self.steps.iter().find_map(|step| match step {
            Step::FindDevice(find) => Some(find),
            _ => None,
        })
    }

    /// Lets a plan pass that can be performed where no call gives it a path.
    ///
    /// # Errors
    /// `InvalidArgument` naming the first step that works on the path of a call.
    pub fn check_needs_no_path(&self) -> Result<(), Error> {
        match self.steps.iter().find(|step| step.needs_path()) {
            Some(step) => Err(Error::new(
                ErrorKind::Internal,
                Blame::Backend,
                format!(
                    "the step `{}` works on the path of a call, and what the controller performs \
                     has none",
                    step.name()
                ),
            )
            .with_hint("a backend works in the scratch mount there; report it to its author")),
            None => Ok(()),
        }
    }
}

/// What every kind of step says of itself.
pub trait PlanStep {
    /// The step's name in a manifest's and an operator's list of steps.
    const NAME: &'static str;

    /// Whether the operator grants what this step touches. That the step's name is granted was
    /// checked before.
    ///
    /// # Errors
    /// `PermissionDenied` naming the setting that would grant it.
    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error>;

    /// What the call or a step before it must have provided.
    fn input(&self) -> Option<StepOutput> {
        self.directory().and_then(DirectoryPath::input)
    }

    /// What it provides to the call and to the steps after it.
    fn output(&self) -> Option<StepOutput> {
        None
    }

    /// The same where the call only reads; `None`: the step has no place there. `is_shared`: others
    /// may use the volume at the same time, from other nodes.
    fn for_reading(self, _is_shared: bool) -> Option<Self>
    where
        Self: Sized,
    {
        Some(self)
    }

    /// Whether the step works on the path of a call. A plan that the controller performs has no
    /// such path.
    fn needs_path(&self) -> bool {
        self.directory().is_none_or(|directory| directory.base == DirectoryBase::Target)
    }

    /// The directory that it works on, for the steps that work on one.
    fn directory(&self) -> Option<&DirectoryPath> {
        None
    }

    /// The step in a few words, for a log: no option, no argument, nothing that could be secret.
    fn describe(&self) -> String {
        Self::NAME.to_owned()
    }
}

macro_rules! steps {
    ($($step:ident),* $(,)?) => {
        /// One thing that must be true. The host skips what is true already.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Step {
            $(#[doc = concat!("See [`", stringify!($step), "`].")] $step($step),)*
        }

        impl Step {
            /// The names of all steps that this build knows.
            pub const NAMES: &[&str] = &[$($step::NAME),*];

            /// The step's name in a manifest's and an operator's list of steps.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$step(_) => $step::NAME,)*
                }
            }

            /// The step in a few words, for a log. Holds nothing secret.
            pub fn describe(&self) -> String {
                match self {
                    $(Self::$step(step) => step.describe(),)*
                }
            }

            /// See [`PlanStep::input`].
            pub fn input(&self) -> Option<StepOutput> {
                match self {
                    $(Self::$step(step) => step.input(),)*
                }
            }

            /// See [`PlanStep::directory`].
            pub fn directory(&self) -> Option<&DirectoryPath> {
                match self {
                    $(Self::$step(step) => step.directory(),)*
                }
            }

            /// See [`PlanStep::output`].
            pub fn output(&self) -> Option<StepOutput> {
                match self {
                    $(Self::$step(step) => step.output(),)*
                }
            }

            fn for_reading(self, is_shared: bool) -> Option<Self> {
                match self {
                    $(Self::$step(step) => step.for_reading(is_shared).map(Self::$step),)*
                }
            }

            fn needs_path(&self) -> bool {
                match self {
                    $(Self::$step(step) => step.needs_path(),)*
                }
            }

            pub(crate) fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
                match self {
                    $(Self::$step(step) => step.check_grant(policy),)*
                }
            }
        }

        $(impl From<$step> for Step {
            fn from(step: $step) -> Self {
                Self::$step(step)
            }
        })*
    };
}

steps!(
    FindDevice,
    Check,
    Format,
    Grow,
    MountDevice,
    BlockDevice,
    SetBlockQueue,
    MountStaged,
    MountDirectory,
    MountNfs,
    MountFuse,
    MakeDirectory,
    SetOwnership,
    MoveAside,
    RemoveTree,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_controller_performs_has_no_path_of_a_call() {
        let remove = |base| {
            let at = DirectoryPath { base, path: "pv-1".into() };
            Plan { steps: vec![RemoveTree { at }.into()], summary: String::new() }
        };
        assert!(remove(DirectoryBase::Scratch).check_needs_no_path().is_ok());
        assert!(remove(DirectoryBase::Granted("volumes".into())).check_needs_no_path().is_ok());
        let refused = remove(DirectoryBase::Target).check_needs_no_path().unwrap_err();
        assert!(refused.message.contains("`remove-tree`"), "{refused}");
    }

    #[test]
    fn the_names_are_those_of_the_contract() {
        assert_eq!(
            Step::NAMES,
            [
                "find-device",
                "check",
                "format",
                "grow",
                "mount-device",
                "block-device",
                "set-block-queue",
                "mount-staged",
                "mount-directory",
                "mount-nfs",
                "mount-fuse",
                "make-directory",
                "set-ownership",
                "move-aside",
                "remove-tree",
            ]
        );
    }
}
