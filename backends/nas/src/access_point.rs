//! `volumeAs: accesspoint`: a directory of the volume's own, with an access point of its own that
//! leads to it and, where the class says so, makes every client one user.
//!
//! The cloud makes the directory with the access point. It is found again by a tag with the name of
//! the directory and by where it leads; two that a lost answer has left lead to the same place and
//! end together. Access points that ask for RAM need another client than the kernel's and are
//! refused.

use serde::Deserialize;
use wharf_alicloud::RpcCall;
use wharf_sdk::types::Pending;
use wharf_sdk::{Error, Progress};

use crate::action::Action;
use crate::attributes::{Mode, Named};
use crate::file_system::{self, VOLUME_NAME};
use crate::gone::gone;
use crate::handle::Handle;
use crate::ordered::{Kind, LOOK_AFTER_MS, order_once};
use crate::plans::OPEN;

/// Of DescribeAccessPoints.
const PAGE: u32 = 100;
/// A file system has a thousand access points at most, and a volume has one, or two where an answer
/// was lost; the cloud sorts out the others by their tags.
const MOST_PAGES: usize = 20;

/// Keys of a class beside those of any directory.
pub const KEYS: [&str; 11] = [
    "vpcId",
    "vSwitchId",
    "accessGroupName",
    "accesspointEnableRam",
    "ownerUserId",
    "ownerGroupId",
    "permission",
    "posixUserId",
    "posixGroupId",
    "posixSecondaryGroupIds",
    "regionId",
];

/// An access point on its way.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// It can be mounted by this name.
    Active(String),
    /// The cloud is at it.
    Awaited(Pending),
}

/// How access points of a class are made.
#[derive(Debug, Default)]
pub struct AccessPoints {
    vpc: String,
    vswitch: String,
    access_group: String,
    owner: (Option<u32>, Option<u32>),
    permission: Option<u32>,
    posix: Option<(u32, u32)>,
    secondary_groups: String,
}

impl AccessPoints {
    /// Reads the parameters of a class.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn read(named: &Named) -> Result<Self, Error> {
        if let value @ "true" = named.get("accesspointEnableRam") {
            return Err(Error::invalid("accesspointEnableRam", value, "false").with_hint(
                "the kernel's NFS client cannot prove a RAM identity; leave the key out",
            ));
        }
        let id = |key: &str| match named.get(key) {
            "" => Ok(None),
            value => value
                .parse::<u32>()
                .map(Some)
                .map_err(|_| Error::invalid(key, value, "the number of a user or group")),
        };
        let posix = match (id("posixUserId")?, id("posixGroupId")?) {
            (Some(user), Some(group)) => Some((user, group)),
            (None, None) => None,
            (user, _) => {
                let (key, other) = match user {
                    Some(_) => ("posixGroupId", "posixUserId"),
                    None => ("posixUserId", "posixGroupId"),
                };
                let allowed = format!("a number, where `{other}` is set");
                return Err(Error::invalid(key, "", allowed));
            }
        };
        let groups = named.get("posixSecondaryGroupIds");
        let mut numbers = groups.split(',').map(str::trim).filter(|number| !number.is_empty());
        if !numbers.all(|number| number.parse::<u32>().is_ok()) {
            let allowed = "numbers of groups with commas between";
            return Err(Error::invalid("posixSecondaryGroupIds", groups, allowed));
        }
        let permission = match named.get("permission") {
            "" => Mode::read(named)?.map(|mode| mode.bits),
            text => match u32::from_str_radix(text, 8) {
                Ok(bits) if (3..=4).contains(&text.len()) => Some(bits),
                _ => {
                    let allowed = "three or four octal digits (`0755`)";
                    return Err(Error::invalid("permission", text, allowed));
                }
            },
        };
        Ok(Self {
            vpc: named.get("vpcId").to_owned(),
            vswitch: named.get("vSwitchId").to_owned(),
            access_group: named.get("accessGroupName").to_owned(),
            owner: (id("ownerUserId")?, id("ownerGroupId")?),
            permission,
            posix,
            secondary_groups: groups.to_owned(),
        })
    }

    /// One step towards an access point that can be mounted.
    ///
    /// # Errors
    /// `already-exists` where the one of this volume makes clients another user; those of the
    /// cloud.
    pub fn create(
        &self,
        file_system: &str,
        handle: &Handle,
        progress: &Progress,
    ) -> Result<Step, Error> {
        let found = of_volume(file_system, handle)?;
        let Some(point) = found.into_iter().find(|point| point.status != "Deleting") else {
            let is_there = |id: &str| is_there(file_system, id);
            let order = |_| self.order(file_system, handle);
            return order_once(Kind::AccessPoint, &handle.name, progress, is_there, order)
                .map(Step::Awaited);
        };
        let has = point.posix_user.as_ref().map(|user| (user.posix_user_id, user.posix_group_id));
        if has != self.posix {
            return Err(Error::already_exists(format!(
                "access point {} of volume {} has other `posixUserId` and `posixGroupId` than are \
                 asked for",
                point.access_point_id, handle.name
            ))
            .as_observed());
        }
        match point.status == "Active" && !point.domain_name.is_empty() {
            true => Ok(Step::Active(point.domain_name)),
            false => Ok(Step::Awaited(wait(&format!("access point {}", point.access_point_id)))),
        }
    }

    fn order(&self, file_system: &str, handle: &Handle) -> Result<String, Error> {
        let network = match self.is_network_said() {
            true => file_system::Network::default(),
            // Where the file system itself is reached from.
            false => file_system::network(file_system, handle.server.as_str())?,
        };
        let or = |said: &str, found: String| if said.is_empty() { found } else { said.to_owned() };
        let user = self.owner.0.or(self.posix.map(|posix| posix.0)).unwrap_or(0);
        let group = self.owner.1.or(self.posix.map(|posix| posix.1)).unwrap_or(0);
        let call = Action::CreateAccessPoint
            .call()
            .with("FileSystemId", file_system)
            .with("AccessPointName", &handle.name)
            .with("RootDirectory", handle.path().as_str())
            .with("VpcId", or(&self.vpc, network.vpc))
            .with("VswId", or(&self.vswitch, network.vswitch))
            .with("AccessGroup", or(&self.access_group, network.access_group))
            .with("OwnerUserId", user)
            .with("OwnerGroupId", group)
            .with("Permission", format!("{:04o}", self.permission.unwrap_or(OPEN)))
            .with_some("PosixUserId", self.posix.map(|posix| posix.0))
            .with_some("PosixGroupId", self.posix.map(|posix| posix.1))
            .with_tags([file_system::MANAGED, (VOLUME_NAME, handle.name.as_str())]);
        let call = match self.secondary_groups.as_str() {
            "" => call,
            groups => call.with("PosixSecondaryGroupIds", groups),
        };
        Ok(call.send::<Made>()?.access_point.access_point_id)
    }

    fn is_network_said(&self) -> bool {
        [&self.vpc, &self.vswitch, &self.access_group].iter().all(|said| !said.is_empty())
    }
}

/// One step towards the end of the access points to a volume's directory; `None`: there are none.
///
/// # Errors
/// Those of the cloud.
pub fn delete(file_system: &str, handle: &Handle) -> Result<Option<Pending>, Error> {
    let found = of_volume(file_system, handle)?;
    for point in found.iter().filter(|point| point.status != "Deleting") {
        let end = Action::DeleteAccessPoint
            .call()
            .with("FileSystemId", file_system)
            .with("AccessPointId", &point.access_point_id);
        gone(end.send::<serde_json::Value>())?;
    }
    let what = || format!("the end of the access point to {}", handle.path().as_str());
    Ok((!found.is_empty()).then(|| wait(&what())))
}

/// The access points that were made for a volume's directory.
fn of_volume(file_system: &str, handle: &Handle) -> Result<Vec<AccessPoint>, Error> {
    let path = handle.path();
    let is_ours = |point: &AccessPoint| {
        point.root_path.trim_end_matches('/') == path.as_str()
            && point.tags.iter().any(|tag| tag.key == VOLUME_NAME && tag.value == handle.name)
    };
    let tags = [(VOLUME_NAME, handle.name.as_str())];
    Ok(listed(file_system, |call| call.with_tags(tags))?.into_iter().filter(is_ours).collect())
}

/// Whether an access point exists that the listing by its tag does not show.
fn is_there(file_system: &str, id: &str) -> Result<bool, Error> {
    let all = listed(file_system, |call| call)?;
    Ok(all.iter().any(|point| point.access_point_id == id && point.status != "Deleting"))
}

fn listed(
    file_system: &str,
    narrow: impl Fn(RpcCall) -> RpcCall,
) -> Result<Vec<AccessPoint>, Error> {
    let (mut found, mut next) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let call = Action::DescribeAccessPoints
            .call()
            .with("FileSystemId", file_system)
            .with("MaxResults", PAGE)
            .with_some("NextToken", next);
        let Some(page) = gone(narrow(call).send::<Page>())? else { break };
        found.extend(page.access_points);
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            break;
        }
    }
    Ok(found)
}

fn wait(what: &str) -> Pending {
    Pending::after_ms(LOOK_AFTER_MS, format!("the cloud is asked for {what}"))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Made {
    access_point: AccessPoint,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    access_points: Vec<AccessPoint>,
    next_token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AccessPoint {
    access_point_id: String,
    domain_name: String,
    root_path: String,
    status: String,
    posix_user: Option<PosixUser>,
    tags: Vec<file_system::Tag>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PosixUser {
    posix_user_id: u32,
    posix_group_id: u32,
}

#[cfg(test)]
mod tests;
