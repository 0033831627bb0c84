//! What must be true on a node: the export on the target path, its directory made where it is
//! missing, its mode in force. Pure: the same request gives the same plan.

use wharf_sdk::Error;
use wharf_sdk::node::PublishRequest;
use wharf_sdk::plan::{Directory, NfsShare, Owner, Plan, Writing};

use crate::attributes::{Attributes, Mode};
use crate::nfs_options::{Defaults, NfsOptions};
use crate::server::{ExportPath, Server};

/// Mode of a directory that no `mode` is said for: the existing drivers', so that a workload that
/// is not root can write.
pub const OPEN: u32 = 0o777;
/// What the existing driver hands to a closed client.
pub const KEYS: [&str; 2] = ["akId", "akSecret"];

/// `node.plan-publish`.
///
/// # Errors
/// `invalid-argument` naming the attribute.
pub fn publish(request: &PublishRequest) -> Result<Plan, Error> {
    let Some(mount) = request.capability.mount_options() else {
        return Err(Error::invalid_request("an NFS volume is no block device")
            .with_hint("set `volumeMode: Filesystem`"));
    };
    refuse_keys(&request.caller.secrets)?;
    let volume = Attributes::read(&request.volume_context, &mount.flags, Defaults::Csi)?;
    let writing = Writing::unless_read_only(
        request.read_only || request.capability.mode.is_read_only() || volume.nfs.is_read_only,
    );
    let bits = volume.mode.map_or(OPEN, |mode| mode.bits);
    let mut share = share(&volume.server, &volume.path, &volume.nfs, bits);
    share.options.extend(volume.read_ahead_kb.map(|kib| format!("readahead={kib}")));
    let plan = Plan::new(format!("NFS {}:{}", volume.server, volume.path.as_str()))
        .mount_nfs(share, writing);
    Ok(match volume.mode {
        // Who only reads changes nothing.
        Some(_) if writing.is_read_only() => plan,
        Some(Mode { bits, is_recursive: false }) => {
            plan.set_ownership(Directory::in_target(""), Some(bits), Owner::UNCHANGED)
        }
        Some(Mode { bits, is_recursive: true }) => {
            plan.set_ownership_of_tree(Directory::in_target(""), Some(bits), Owner::UNCHANGED)
        }
        None => plan,
    })
}

/// Keys are for access points with a RAM policy: mounted without them, such a volume would be
/// another one, or be refused by its server without a word of why.
///
/// # Errors
/// `invalid-argument` naming the key.
fn refuse_keys(secrets: &[String]) -> Result<(), Error> {
    let is_key = |name: &&String| KEYS.iter().any(|key| name.eq_ignore_ascii_case(key));
    match secrets.iter().find(is_key) {
        None => Ok(()),
        Some(key) => {
            let what = format!("the secret of the volume has `{key}`, which no NFS mount takes");
            Err(Error::invalid_request(what).with_hint(
                "use an access point without RAM policy, and remove `nodePublishSecretRef`",
            ))
        }
    }
}

/// An export whose directory is made with this mode where it is missing.
pub fn share(server: &Server, path: &ExportPath, nfs: &NfsOptions, mode: u32) -> NfsShare {
    let share = existing_share(server, path, nfs);
    let root = path.existing_part(server);
    if root == *path { share } else { share.making_path(root.as_str(), mode) }
}

/// An export whose directory is not made.
pub fn existing_share(server: &Server, path: &ExportPath, nfs: &NfsOptions) -> NfsShare {
    NfsShare::new(server.as_str(), path.as_str(), nfs.for_plan(server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::plan::{MountPlace, Step};
    use wharf_sdk::types::{AccessMode, VolumeCapability, pairs};

    const EXTREME: &str = "0a-b.cn-x.extreme.nas.aliyuncs.com";

    fn request(attributes: &[(&str, &str)]) -> PublishRequest {
        PublishRequest {
            volume_context: pairs(attributes.iter().copied()),
            ..PublishRequest::new("any", VolumeCapability::mount("nfs"))
        }
    }

    fn mounted(plan: &Plan) -> (&NfsShare, bool) {
        match &plan.steps[0] {
            Step::MountNfs { share, place: MountPlace::Target, read_only } => (share, *read_only),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_export_is_mounted_and_its_directory_made_where_it_is_missing() {
        let plan = publish(&request(&[("server", "[fd00::1]"), ("path", "/a/b/")])).unwrap();
        assert_eq!(plan.steps.len(), 1);
        let (share, read_only) = mounted(&plan);
        assert_eq!((share.server.as_str(), share.path.as_str()), ("fd00::1", "/a/b"));
        assert_eq!(
            (share.options[0].as_str(), share.options.len(), read_only),
            ("vers=3", 9, false)
        );
        let missing = share.missing.as_ref().unwrap();
        assert_eq!((missing.root.as_str(), missing.mode), ("/", OPEN));
    }

    #[test]
    fn what_is_to_be_read_ahead_is_an_option_for_the_host() {
        let attributes = [("server", "a"), ("sysConfig", "bdi/read_ahead_kb=512")];
        let plan = publish(&request(&attributes)).unwrap();
        assert_eq!(mounted(&plan).0.options.last().unwrap(), "readahead=512");
    }

    #[test]
    fn what_every_server_has_is_not_made() {
        for (server, path, root) in
            [("a", "", None), (EXTREME, "/share", None), (EXTREME, "/share/x", Some("/share"))]
        {
            let plan = publish(&request(&[("server", server), ("path", path)])).unwrap();
            let missing = mounted(&plan).0.missing.as_ref();
            assert_eq!(missing.map(|missing| missing.root.as_str()), root, "{path}");
        }
    }

    #[test]
    fn the_mode_is_in_force_when_the_call_answers() {
        for (kind, expected) in [("", false), ("non-recursive", false), ("recursive", true)] {
            let attributes = [("server", "a"), ("path", "/p"), ("mode", "750"), ("modeType", kind)];
            let plan = publish(&request(&attributes)).unwrap();
            let Step::SetOwnership { at, mode, owner, recursive } = &plan.steps[1] else {
                panic!()
            };
            assert_eq!((at, *mode), (&Directory::in_target(""), Some(0o750)));
            assert_eq!((*owner, *recursive), (Owner::UNCHANGED, expected));
            assert_eq!(mounted(&plan).0.missing.as_ref().unwrap().mode, 0o750);
        }
    }

    #[test]
    fn who_only_reads_mounts_for_reading_and_changes_nothing() {
        let of = || request(&[("server", "a"), ("path", "/p"), ("mode", "750")]);
        let asked = PublishRequest { read_only: true, ..of() };
        let mut by_mode = of();
        by_mode.capability = by_mode.capability.in_mode(AccessMode::MultiNodeReaderOnly);
        let by_option = request(&[("server", "a"), ("path", "/p"), ("options", "ro,hard")]);
        for request in [asked, by_mode, by_option] {
            let plan = publish(&request).unwrap();
            assert_eq!((mounted(&plan).1, plan.steps.len()), (true, 1));
        }
    }

    #[test]
    fn an_nfs_volume_is_no_block_device() {
        let block = PublishRequest::new("any", VolumeCapability::block());
        assert!(publish(&block).unwrap_err().message.contains("block device"));
    }

    #[test]
    fn keys_that_only_a_closed_client_takes_are_refused() {
        let mut with_keys = request(&[("server", "a"), ("path", "/p")]);
        with_keys.caller.secrets = vec!["other".to_owned()];
        assert!(publish(&with_keys).is_ok());
        with_keys.caller.secrets.push("akid".to_owned());
        let refused = publish(&with_keys).unwrap_err();
        assert!(refused.message.contains("`akid`"), "{refused:?}");
    }
}
