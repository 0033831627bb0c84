//! The profiles of helpers that come with Wharf, as data: an operator who grants one of them by
//! name need not describe it.

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
