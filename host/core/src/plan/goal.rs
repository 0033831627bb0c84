//! What a plan is for, and whether its steps can lead there at all. A plan that cannot is refused
//! before its first step: a pod whose volume is not mounted would write to the node's own disk.

use super::{Plan, Step};
use crate::error::{Blame, Error, ErrorKind};

/// What a call wants from a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// A file system on the staging path.
    StagedFileSystem,
    /// A device that is ready to be published, and nothing mounted.
    StagedDevice,
    /// A file system on the target path.
    PublishedFileSystem,
    /// A raw device on the target path.
    PublishedDevice,
    /// A file system as large as its device, and no mount besides those that there are.
    Grown,
}

/// What steps provide to each other and to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutput {
    /// A device that was found.
    Device,
    /// What the volume was staged as.
    Staged,
    /// A file system on the call's path.
    FileSystem,
    /// A raw device on the call's path.
    RawDevice,
    /// A private mount.
    Scratch,
}

impl StepOutput {
    fn noun(self) -> &'static str {
        match self {
            Self::Device => "a device",
            Self::Staged => "a staged volume",
            Self::FileSystem => "a file system on the call's path",
            Self::RawDevice => "a raw device on the call's path",
            Self::Scratch => "a private mount",
        }
    }
}

impl Plan {
    /// Whether the plan can reach the goal. `is_staged`: the call has a staging path besides its
    /// own.
    ///
    /// # Errors
    /// `Internal`, to the backend's blame, saying what is missing or too much.
    pub fn check_goal(&self, goal: Goal, is_staged: bool) -> Result<(), Error> {
        let mut outputs: Vec<StepOutput> =
            is_staged.then_some(StepOutput::Staged).into_iter().collect();
        for (index, step) in self.steps.iter().enumerate() {
            if let Some(input) = step.input()
                && !outputs.contains(&input)
            {
                return Err(self.unfit(&format!(
                    "step {} ({}) needs {}, and nothing before it gives one",
                    index + 1,
                    step.name(),
                    input.noun()
                )));
            }
            outputs.extend(step.output());
        }
        let count = |output: StepOutput| outputs.iter().filter(|made| **made == output).count();
        self.check_count(
            StepOutput::FileSystem,
            count(StepOutput::FileSystem),
            match goal {
                Goal::StagedFileSystem | Goal::PublishedFileSystem => 1..=1,
                Goal::StagedDevice | Goal::PublishedDevice | Goal::Grown => 0..=0,
            },
        )?;
        self.check_count(
            StepOutput::RawDevice,
            count(StepOutput::RawDevice),
            match goal {
                Goal::PublishedDevice => 1..=1,
                Goal::StagedFileSystem
                | Goal::StagedDevice
                | Goal::PublishedFileSystem
                | Goal::Grown => 0..=0,
            },
        )?;
        // A volume is one disk.
        self.check_count(
            StepOutput::Device,
            count(StepOutput::Device),
            match goal {
                Goal::StagedDevice | Goal::PublishedDevice => 1..=1,
                Goal::StagedFileSystem | Goal::PublishedFileSystem | Goal::Grown => 0..=1,
            },
        )?;
        if goal == Goal::Grown && self.steps.iter().any(|step| matches!(step, Step::Format(_))) {
            return Err(self.unfit("growing never formats"));
        }
        Ok(())
    }

    /// Whether the plan ends with what the call finds on its path, so that what is mounted there
    /// proves that every step was done.
    pub fn ends_with_its_mount(&self) -> bool {
        let last = self.steps.last().and_then(Step::output);
        matches!(last, Some(StepOutput::FileSystem | StepOutput::RawDevice))
    }

    fn check_count(
        &self,
        output: StepOutput,
        count: usize,
        allowed: std::ops::RangeInclusive<usize>,
    ) -> Result<(), Error> {
        if allowed.contains(&count) {
            return Ok(());
        }
        let output = output.noun();
        Err(self.unfit(&match (count, *allowed.end()) {
            (0, _) => format!("no step gives {output}, which the call asks for"),
            (_, 0) => format!("it gives {output}, which the call does not ask for"),
            (_, _) => format!("{count} steps give {output}"),
        }))
    }

    fn unfit(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Internal,
            Blame::Backend,
            format!("the backend's plan ({}) does not do what was asked: {why}", self.summary),
        )
        .with_hint("this is a defect of the backend; report it to its author")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        BlockDevice, Check, DeviceMatch, DirectoryBase, DirectoryPath, FindDevice, Format, Grow,
        MountDevice, MountNfs, MountPlace, MountStaged, RemoveTree, SetBlockQueue,
    };

    fn find() -> Step {
        FindDevice { matches: vec![DeviceMatch::Serial("s".into())], minimum_bytes: 0 }.into()
    }

    fn format() -> Step {
        Format { fs_type: "ext4".into(), arguments: vec![] }.into()
    }

    fn mount() -> Step {
        MountDevice { fs_type: "ext4".into(), flags: vec!["noatime".into()], read_only: false }
            .into()
    }

    fn bind() -> Step {
        MountStaged { flags: vec![], read_only: false }.into()
    }

    fn block() -> Step {
        BlockDevice { read_only: false }.into()
    }

    fn nfs(place: MountPlace) -> Step {
        MountNfs {
            server: "n".into(),
            path: "/".into(),
            options: vec![],
            read_only: false,
            place,
            make_path: None,
        }
        .into()
    }

    fn remove(base: DirectoryBase) -> Step {
        RemoveTree { at: DirectoryPath { base, path: "a".into() } }.into()
    }

    fn grow() -> Step {
        Grow { fs_type: String::new() }.into()
    }

    fn plan(steps: &[Step]) -> Plan {
        Plan { steps: steps.to_vec(), summary: "s".into() }
    }

    fn fits(steps: &[Step], goal: Goal) -> bool {
        let is_staged = matches!(goal, Goal::PublishedFileSystem | Goal::PublishedDevice);
        match plan(steps).check_goal(goal, is_staged) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!((error.kind, error.blame), (ErrorKind::Internal, Blame::Backend));
                false
            }
        }
    }

    #[test]
    fn plans_that_do_what_was_asked_pass() {
        let target = MountPlace::Target;
        for (steps, goal) in [
            (&[find(), format(), mount(), grow()][..], Goal::StagedFileSystem),
            (&[nfs(target)], Goal::StagedFileSystem),
            (&[find()], Goal::StagedDevice),
            (&[bind()], Goal::PublishedFileSystem),
            (&[nfs(target), remove(DirectoryBase::Target)], Goal::PublishedFileSystem),
            (&[find(), block()], Goal::PublishedDevice),
            (&[find(), grow()], Goal::Grown),
            (&[], Goal::Grown),
            (
                &[nfs(MountPlace::Scratch), remove(DirectoryBase::Scratch), nfs(target)],
                Goal::PublishedFileSystem,
            ),
        ] {
            assert!(fits(steps, goal), "{steps:?} {goal:?}");
        }
    }

    #[test]
    fn plans_that_leave_nothing_another_thing_or_too_much_are_refused() {
        use Goal::{Grown, PublishedDevice, PublishedFileSystem, StagedDevice, StagedFileSystem};
        for goal in [StagedFileSystem, StagedDevice, PublishedFileSystem, PublishedDevice] {
            assert!(!fits(&[], goal), "{goal:?}");
            assert!(!fits(&[nfs(MountPlace::Scratch)], goal), "{goal:?}");
        }
        for (steps, goal) in [
            (&[find(), format()][..], StagedFileSystem),
            (&[find(), block()], StagedFileSystem),
            (&[find(), mount(), mount()], StagedFileSystem),
            (&[find(), mount(), block()], StagedFileSystem),
            (&[bind()], StagedFileSystem),
            (&[find(), mount()], StagedDevice),
            (&[find(), block()], StagedDevice),
            (&[find(), find()], StagedDevice),
            (&[find(), block()], PublishedFileSystem),
            (&[bind(), bind()], PublishedFileSystem),
            (&[bind()], PublishedDevice),
            (&[find(), block(), bind()], PublishedDevice),
            (&[find(), block(), block()], PublishedDevice),
            (&[find(), mount()], Grown),
            (&[find(), block()], Grown),
            (&[find(), format()], Grown),
        ] {
            assert!(!fits(steps, goal), "{steps:?} {goal:?}");
        }
    }

    #[test]
    fn a_step_that_comes_before_what_it_needs_is_refused() {
        for steps in [
            &[mount()][..],
            &[mount(), find()],
            &[format(), find(), mount()],
            &[Check { fs_type: "ext4".into() }.into(), find(), mount()],
            &[SetBlockQueue { key: "k".into(), value: "v".into() }.into(), find(), mount()],
            &[remove(DirectoryBase::Target), find(), mount()],
            &[remove(DirectoryBase::Scratch), find(), mount()],
        ] {
            assert!(!fits(steps, Goal::StagedFileSystem), "{steps:?}");
        }
        assert!(!fits(&[block(), find()], Goal::PublishedDevice));
        let unstaged = plan(&[bind()]).check_goal(Goal::PublishedFileSystem, false);
        assert!(unstaged.unwrap_err().message.contains("a staged volume"));
    }

    #[test]
    fn where_only_reading_is_asked_for_nothing_is_made_repaired_or_written() {
        let check = Check { fs_type: "ext4".into() }.into();
        let steps = [find(), check, format(), mount(), grow()];
        let read_only = |flags: &[&str]| -> Step {
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            MountDevice { fs_type: "ext4".into(), flags, read_only: true }.into()
        };
        assert_eq!(plan(&steps).for_reading(false).steps, [find(), read_only(&["noatime"])]);
        assert_eq!(
            plan(&steps).for_reading(true).steps,
            [find(), read_only(&["noatime", "norecovery"])]
        );
        assert_eq!(
            plan(&[find(), block(), bind()]).for_reading(true).steps,
            [
                find(),
                BlockDevice { read_only: true }.into(),
                MountStaged { flags: vec![], read_only: true }.into()
            ]
        );
    }
}
