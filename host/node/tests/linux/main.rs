//! The node against the real kernel: loop devices, real file systems, real mounts. Needs root; says
//! so and skips otherwise.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod binds;
#[cfg(test)]
mod blank;
#[cfg(test)]
#[path = "../answering/child.rs"]
mod child;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod directories;
#[cfg(test)]
mod existing;
#[cfg(test)]
mod filesystems;
#[cfg(test)]
mod hung_disks;
#[cfg(test)]
mod interrupted;
#[cfg(test)]
mod ownership;
#[cfg(test)]
mod power_loss;
#[cfg(test)]
#[path = "../directories/scenes.rs"]
mod scenes;
#[cfg(test)]
mod stages;
#[cfg(test)]
mod undone;
#[cfg(test)]
mod unmounts;
