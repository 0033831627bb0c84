//! The supervisor against the real kernel: real helpers, real FUSE mounts, real mount namespaces.
//! Needs root and `bindfs`; says so and skips otherwise.

#[cfg(test)]
mod bed;
#[cfg(test)]
#[path = "../answering/child.rs"]
mod child;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod earlier;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod healing;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod process;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod strangers;
