//! Mounts: the kernel's table of them, paths that no link redirects, options, mounting, unmounting
//! and asking how a mount is.

pub(crate) mod answers;
pub(crate) mod detached;
pub(crate) mod device;
pub(crate) mod health;
pub(crate) mod mounting;
pub(crate) mod nfs;
pub(crate) mod options;
pub(crate) mod paths;
pub(crate) mod table;
pub(crate) mod unmount;
pub(crate) mod usage;
