//! The profiles of helpers that come with Wharf, as data: an operator who grants one of them by
//! name need not describe it. What the data cannot say of itself:
//!
//! - `memory-mib`, a bound that no helper reaches with its own defaults, so that one which leaks
//!   ends before the node's memory does. `s3fs`: 40 MB of file attributes, and parts of 10 MB, five
//!   at a time for each file that is written. `ossfs`: the same, and 1024 MB that `direct_read`
//!   reads ahead. `ossfs2`: 832 buffers of 8 MiB (64 to write, 256 × 3 to read ahead), which
//!   `total_mem_limit` of a volume makes fewer. It reserves gigabytes that it does not use
//!   (`reserves-memory`).
//! - `rotation: restart`. All three read a file of keys once, when they start. `ossfs` (1.91.9) and
//!   `ossfs2` (2.0.7) run a `credential_process` again only if it says when its keys end, and only
//!   in the last twenty minutes before: `ossfs` before each request, `ossfs2` every fifteen
//!   seconds. Accounts have the next keys five minutes before the end of the last ones, so for a
//!   quarter of an hour `ossfs` would start a process with each request; and nobody could know when
//!   a helper has taken the new ones, as a second helper does by serving. Hence the process says no
//!   end.
//! - `device`: all three open `/dev/fuse` themselves, as root. `ossfs` and `s3fs` are built upon
//!   libfuse 2, which knows no `/dev/fd/N`. `ossfs2` has libfuse 3.16, which does; but it
//!   looks into its mount point as into a directory first (not with `--nonempty`), and makes a
//!   socket in `/run/ossfs2`, which is root's. That it takes one is nowhere written down, and not
//!   tried.

use std::collections::BTreeMap;

use wharf_core::Error;
use wharf_core::helper_profile::HelperProfile;

const SHIPPED: &str = include_str!("profiles.json");

/// The shipped profile of this name.
///
/// # Errors
/// `Internal` when this build's data is damaged.
pub fn shipped(name: &str) -> Result<Option<HelperProfile>, Error> {
    Ok(parse()?.remove(name))
}

fn parse() -> Result<BTreeMap<String, HelperProfile>, Error> {
    serde_json::from_str(SHIPPED)
        .map_err(|error| Error::internal(format!("the shipped helper profiles: {error}")))
}

#[cfg(test)]
mod tests {
    use wharf_core::helper_profile::HelperMount;

    use super::*;

    #[test]
    fn every_shipped_profile_works_with_each_form_of_its_credential() {
        let profiles = parse().unwrap();
        assert_eq!(profiles.keys().collect::<Vec<_>>(), ["ossfs", "ossfs2", "s3fs"]);
        for (name, profile) in profiles {
            assert!(!profile.install.is_empty());
            for form in profile.credentials.keys() {
                let mount = HelperMount {
                    source: "bucket:/path",
                    mountpoint: "/run/m",
                    options: &[],
                    read_only: true,
                    credential: Some((form, "/run/c")),
                };
                let vector = profile.argument_vector(&mount).unwrap();
                assert!(vector.iter().any(|argument| argument == "/run/m"), "{name}: {vector:?}");
                assert!(vector.iter().any(|argument| argument.contains("/run/c")), "{vector:?}");
                assert!(vector.iter().any(|argument| argument == "-f"), "{vector:?}");
            }
        }
    }

    #[test]
    fn no_shipped_helper_can_take_all_memory_of_a_node() {
        for (name, profile) in parse().unwrap() {
            assert!(profile.memory_mib.is_some_and(|mib| mib >= 1024), "{name}");
            assert_eq!(profile.reserves_memory, name == "ossfs2");
        }
    }

    #[test]
    fn no_shipped_profile_lets_a_plan_name_a_file_a_library_or_a_key() {
        for (name, profile) in parse().unwrap() {
            for option in [
                "passwd_file",
                "use_cache",
                "tmpdir",
                "logfile",
                "credential_process",
                "credlib",
                "credlib_opts",
                "ahbe_conf",
                "mime",
                "ssl_client_cert",
                "curldbg",
                "instance_name",
                "ram_role",
                "iam_role",
                "ibm_iam_auth",
                "ecs",
                "host",
                "servicepath",
                "use_session_token",
                "secret_store_dir",
                "rrsa_endpoint",
                "assume_role_arn",
                "dev",
                "suid",
                "exec",
                "fsname",
                "subtype",
                "auto_unmount",
                "no_check_certificate",
                "bucket",
                "passwd",
            ] {
                for spelled in [format!("-o{option}=x"), format!("--{option}=x")] {
                    let refused = profile.check_options(std::slice::from_ref(&spelled));
                    assert!(refused.is_err(), "{name} takes {spelled}");
                }
            }
            for flag in ["-c", "-d", "-o", "-C", "-u", "--conf", "--log_dir=/etc", "/etc"] {
                assert!(profile.check_options(&[flag.to_owned()]).is_err(), "{name} takes {flag}");
            }
        }
    }

    #[test]
    fn what_existing_volumes_pass_is_allowed() {
        let ossfs = shipped("ossfs").unwrap().unwrap();
        let options = |list: &[&str]| -> Vec<String> {
            list.iter().map(|option| (*option).to_owned()).collect()
        };
        ossfs
            .check_options(&options(&[
                "-ourl=http://oss-internal.example.com",
                "-o",
                "allow_other",
                "-o",
                "max_stat_cache_size=0",
                "-o",
                "umask=022,uid=1000,gid=1000",
                "-o",
                "dbglevel=warn",
                "-o",
                "use_sse=kmsid:0000",
                "-o",
                "sigv4,region=cn-hangzhou",
            ]))
            .unwrap();
        let ossfs2 = shipped("ossfs2").unwrap().unwrap();
        ossfs2
            .check_options(&options(&["--oss_bucket=b", "--oss_endpoint=http://x", "--uid=1"]))
            .unwrap();
    }
}
