//! Debian's `s3fs`, the open ancestor of `ossfs`, on buckets of the region: what one side writes,
//! the other reads. Needs root, `/dev/fuse` and `s3fs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod client;
mod objects;
mod requirement;

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use client::{Client, eventually};
use objects::Objects;
use tempfile::TempDir;
use wharf_cloudsim::{Devices, Region, RegionOptions};

/// A region with a bucket `b-1`.
fn region() -> (TempDir, Region) {
    let directory = tempfile::tempdir().unwrap();
    let options = RegionOptions {
        devices: Devices::Absent,
        ..RegionOptions::new(directory.path().join("r"))
    };
    let region = Region::start(options).unwrap();
    Objects::of(&region).ok("PUT", "/b-1", "");
    (directory, region)
}

/// A mounted bucket; gone when it is dropped.
struct Mount {
    path: PathBuf,
    helper: Child,
}

impl Mount {
    /// Mounts `b-1` with these options and environment, in the foreground.
    fn new(directory: &Path, region: &Region, options: &[&str], secrets: &[(&str, &str)]) -> Self {
        let path = directory.join("mount");
        fs::create_dir_all(&path).unwrap();
        let url = format!("url={}", region.description().endpoints.oss);
        let log = fs::File::create(directory.join("s3fs.log")).unwrap();
        let mut helper = Command::new("s3fs");
        helper.arg("b-1").arg(&path).args(["-f", "-o", &url, "-o", "use_path_request_style"]);
        helper.args(["-o", "retries=1", "-o", "connect_timeout=5", "-o", "stat_cache_expire=0"]);
        helper.args(["-o", "multipart_size=5"]);
        for option in options {
            helper.args(["-o", option]);
        }
        helper.envs(secrets.iter().copied()).env("no_proxy", "127.0.0.1");
        helper.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut mount = Self { path, helper: helper.spawn().unwrap() };
        let told = || fs::read_to_string(directory.join("s3fs.log")).unwrap();
        eventually(
            || {
                if let Some(status) = mount.helper.try_wait().unwrap() {
                    panic!("s3fs ended, {status}: {}", told());
                }
                mount.is_there().then_some(())
            },
            "s3fs mounts",
        );
        mount
    }

    fn is_there(&self) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = self.path.to_str().unwrap();
        table.lines().any(|line| line.split(' ').nth(4) == Some(path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Unmounts; answers whether the helper ended well.
    fn unmount(mut self) -> bool {
        assert!(Command::new("umount").arg(&self.path).status().unwrap().success());
        self.helper.wait().unwrap().success()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}

/// The option that names a file with the administrator's keys.
fn passwd(directory: &Path, region: &Region) -> String {
    let (path, keys) = (directory.join("passwd"), &region.description().admin);
    let mut file = fs::OpenOptions::new();
    file.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    fs::write(&path, format!("{}:{}\n", keys.access_key_id, keys.access_key_secret)).unwrap();
    format!("passwd_file={}", path.display())
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn actions(region: &Region) -> Vec<String> {
    region.journal().into_iter().map(|entry| entry.action).collect()
}

#[test]
fn s3fs_and_the_api_see_the_same_files_whichever_signature_is_used() {
    if !requirement::fuse("s3fs_and_the_api_see_the_same_files_whichever_signature_is_used") {
        return;
    }
    for signature in ["sigv4", "sigv2"] {
        let (directory, region) = region();
        let (api, passwd) = (Objects::of(&region), passwd(directory.path(), &region));
        let mount = Mount::new(directory.path(), &region, &[&passwd, signature], &[]);

        fs::write(mount.file("one"), "from the mount").unwrap();
        assert_eq!(api.ok("GET", "/b-1/one", ""), "from the mount", "{signature}");
        api.ok("PUT", "/b-1/two", "from the API");
        assert_eq!(fs::read_to_string(mount.file("two")).unwrap(), "from the API");

        fs::create_dir(mount.file("dir")).unwrap();
        fs::write(mount.file("dir/three"), "3").unwrap();
        fs::write(mount.file("dir/a b+c&d"), "4").unwrap();
        assert_eq!(names(&mount.path), ["dir", "one", "two"]);
        assert_eq!(names(&mount.file("dir")), ["a b+c&d", "three"]);

        fs::rename(mount.file("dir/three"), mount.file("moved")).unwrap();
        assert_eq!(api.ok("GET", "/b-1/moved", ""), "3");
        fs::remove_file(mount.file("one")).unwrap();
        assert_eq!(api.error("GET", "/b-1/one", ""), (404, "NoSuchKey".into()));
        fs::remove_file(mount.file("dir/a b+c&d")).unwrap();
        fs::remove_dir(mount.file("dir")).unwrap();
        assert_eq!(names(&mount.path), ["moved", "two"]);

        assert!(mount.unmount(), "s3fs ends well");
        let refused: Vec<_> =
            region.journal().into_iter().filter(|entry| entry.status == 403).collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
}

#[test]
fn a_large_file_goes_in_parts_and_comes_back_whole() {
    if !requirement::fuse("a_large_file_goes_in_parts_and_comes_back_whole") {
        return;
    }
    let (directory, region) = region();
    let passwd = passwd(directory.path(), &region);
    let content: Vec<u8> = (0..11_u32 << 20).map(|n| (n >> 8 ^ n) as u8).collect();
    let mount = Mount::new(directory.path(), &region, &[&passwd], &[]);
    fs::write(mount.file("large"), &content).unwrap();
    fs::rename(mount.file("large"), mount.file("moved")).unwrap();
    assert!(mount.unmount());
    let done = actions(&region);
    let used = |action: &str| done.iter().any(|done| done == action);
    assert!(used("UploadPart") && used("CompleteMultipartUpload"), "{done:?}");

    let mount = Mount::new(directory.path(), &region, &[&passwd], &[]);
    assert!(fs::read(mount.file("moved")).unwrap() == content, "other bytes came back");
    assert_eq!(region.buckets()[0].uploads, 0);
    assert!(mount.unmount());
}

#[test]
fn temporary_keys_mount_a_bucket() {
    if !requirement::fuse("temporary_keys_mount_a_bucket") {
        return;
    }
    let (directory, region) = region();
    let role = format!("acs:ram::{}:role/oss", region.description().account);
    let assume = [("RoleArn", role.as_str()), ("RoleSessionName", "s3fs")];
    let keys = Client::sts(&region).ok("AssumeRole", &assume)["Credentials"].clone();
    let text = |name: &str| keys[name].as_str().unwrap();
    let secrets = [
        ("AWSACCESSKEYID", text("AccessKeyId")),
        ("AWSSECRETACCESSKEY", text("AccessKeySecret")),
        ("AWSSESSIONTOKEN", text("SecurityToken")),
    ];
    let mount = Mount::new(directory.path(), &region, &["use_session_token"], &secrets);
    fs::write(mount.file("key"), "with a token").unwrap();
    assert_eq!(Objects::of(&region).ok("GET", "/b-1/key", ""), "with a token");
    assert!(mount.unmount());
}

#[test]
fn a_public_bucket_is_read_without_keys() {
    if !requirement::fuse("a_public_bucket_is_read_without_keys") {
        return;
    }
    let (directory, region) = region();
    let api = Objects::of(&region);
    let public = [("x-oss-acl", "public-read")];
    assert_eq!(api.send_with("PUT", "/b-1?acl", &public, "").unwrap().0, 200);
    api.ok("PUT", "/b-1/key", "for everybody");
    let mount = Mount::new(directory.path(), &region, &["public_bucket=1"], &[]);
    assert_eq!(fs::read_to_string(mount.file("key")).unwrap(), "for everybody");
    assert_eq!(names(&mount.path), ["key"]);
    let written = fs::File::create(mount.file("other")).and_then(|mut file| {
        file.write_all(b"x")?;
        file.sync_all()
    });
    assert!(written.is_err());
    drop(mount);
    assert_eq!(region.buckets()[0].objects.len(), 1);
}
