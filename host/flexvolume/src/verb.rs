//! The twelve call-outs: their names, how many arguments each has, and how long each may take.

use std::time::Duration;

/// A call-out that Wharf answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Init,
    GetVolumeName,
    Attach,
    WaitForAttach,
    IsAttached,
    MountDevice,
    Mount,
    Unmount,
    UnmountDevice,
    Detach,
    ExpandVolume,
    ExpandFs,
}

impl Verb {
    pub(crate) const ALL: [Self; 12] = [
        Self::Init,
        Self::GetVolumeName,
        Self::Attach,
        Self::WaitForAttach,
        Self::IsAttached,
        Self::MountDevice,
        Self::Mount,
        Self::Unmount,
        Self::UnmountDevice,
        Self::Detach,
        Self::ExpandVolume,
        Self::ExpandFs,
    ];

    /// Kubelet's spelling, which is exact.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::GetVolumeName => "getvolumename",
            Self::Attach => "attach",
            Self::WaitForAttach => "waitforattach",
            Self::IsAttached => "isattached",
            Self::MountDevice => "mountdevice",
            Self::Mount => "mount",
            Self::Unmount => "unmount",
            Self::UnmountDevice => "unmountdevice",
            Self::Detach => "detach",
            Self::ExpandVolume => "expandvolume",
            Self::ExpandFs => "expandfs",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }

    /// Arguments after the call-out's name. Kubelet leaves the options out when it cannot write
    /// them, so they are counted.
    pub(crate) fn arguments(self) -> usize {
        match self {
            Self::Init => 0,
            Self::GetVolumeName | Self::Unmount | Self::UnmountDevice => 1,
            Self::Attach | Self::WaitForAttach | Self::IsAttached | Self::Mount | Self::Detach => 2,
            Self::MountDevice => 3,
            Self::ExpandVolume => 4,
            Self::ExpandFs => 5,
        }
    }

    /// Whether only drivers whose volumes are attached answer it.
    pub(crate) fn needs_attachable(self) -> bool {
        match self {
            Self::Attach
            | Self::WaitForAttach
            | Self::IsAttached
            | Self::MountDevice
            | Self::UnmountDevice
            | Self::Detach => true,
            Self::Init
            | Self::GetVolumeName
            | Self::Mount
            | Self::Unmount
            | Self::ExpandVolume
            | Self::ExpandFs => false,
        }
    }

    /// How long it may take. A call-out without a bound would hold the volume's operation in
    /// kubelet for ever: kubelet has none of its own.
    pub(crate) fn bound(self) -> Duration {
        match self {
            // Static; the bound is never looked at.
            Self::Init | Self::GetVolumeName => Duration::from_secs(1),
            // A cloud takes seconds to half a minute; what goes on longer goes on by itself, and
            // the next call finds it done.
            Self::Attach | Self::Detach => Duration::from_secs(120),
            // Below the ten minutes after which kubelet kills the driver, so that the reason is
            // heard.
            Self::WaitForAttach => Duration::from_secs(540),
            // Asked every minute for every volume: an answer that takes longer is of no use.
            Self::IsAttached => Duration::from_secs(30),
            // A check and repair of a file system of many terabytes; cutting it off would only
            // begin it again.
            Self::MountDevice => Duration::from_secs(1800),
            // Kubelet gives up on the pod after 2 min 3 s and calls again.
            Self::Mount | Self::Unmount => Duration::from_secs(120),
            // Dirty pages are written back first.
            Self::UnmountDevice => Duration::from_secs(600),
            // The disk in the cloud, and for the second one also the file system.
            Self::ExpandVolume => Duration::from_secs(120),
            Self::ExpandFs => Duration::from_secs(600),
        }
    }

    /// How complaints about the number of arguments begin; the texts that people know from the
    /// older driver.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Attach => "Attach",
            Self::Detach => "Detach",
            Self::Mount => "Mount",
            Self::Unmount => "Umount",
            other => other.word(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_out_is_known_by_its_exact_word() {
        for verb in Verb::ALL {
            assert_eq!(Verb::of(verb.word()), Some(verb));
            assert_eq!(Verb::of(&verb.word().to_uppercase()), None);
        }
    }

    #[test]
    fn waiting_for_a_device_ends_before_kubelet_kills_the_driver() {
        assert!(Verb::WaitForAttach.bound() < Duration::from_secs(600));
    }
}
