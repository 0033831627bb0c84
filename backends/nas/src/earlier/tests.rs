use super::*;
use crate::expand::expand;
use serde_json::{Value, json};
use wharf_sdk::controller::ExpandRequest;
use wharf_sdk::http::{Request, Response};
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::pairs;
use wharf_sdk::{Answer, ErrorKind, Pairs as _, Progress};

const NAME: &str = "nas-6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61";

/// An account with these file systems and the quotas of each, in pages as large as are asked for.
fn account(systems: Vec<(&'static str, Vec<(String, u64)>)>) -> FakeHost {
    let answer = move |request: &Request| {
        let asked = |key: &str| request.query.value(key).unwrap_or_default();
        let number = |key: &str| asked(key).parse::<usize>().unwrap();
        let paged = |all: Vec<Value>| -> Vec<Value> {
            let (size, number) = (number("PageSize"), number("PageNumber"));
            all.into_iter().skip(size * (number - 1)).take(size).collect()
        };
        let body = match request.granted_as().as_str() {
            "DescribeFileSystems" => {
                assert_eq!(asked("FileSystemType"), "standard");
                let show = |(id, _): &(&str, Vec<(String, u64)>)| json!({ "FileSystemId": id, "Status": "Running", "ProtocolType": "NFS" });
                let shown = paged(systems.iter().map(show).collect());
                json!({ "FileSystems": { "FileSystem": shown }, "TotalCount": systems.len() })
            }
            "DescribeDirQuotas" => {
                let id = asked("FileSystemId");
                let (_, quotas) = systems.iter().find(|(known, _)| *known == id).unwrap();
                let show = |(path, gib): &(String, u64)| {
                    let of_all = json!({ "UserType": "AllUsers", "SizeLimit": gib });
                    json!({ "Path": path, "UserQuotaInfos": [of_all] })
                };
                let shown = paged(quotas.iter().map(show).collect());
                json!({ "DirQuotaInfos": shown, "TotalCount": quotas.len() })
            }
            "SetDirQuota" => json!({}),
            _ => return None,
        };
        Some(Ok(Response::new(200, body.to_string())))
    };
    FakeHost::install().handling(answer)
}

fn quotas(paths: &[&str]) -> Vec<(String, u64)> {
    paths.iter().map(|path| ((*path).to_owned(), 20)).collect()
}

fn grown(id: &str, gib: u64, resume: Option<&str>) -> Result<Answer<u64>, Error> {
    let progress = match resume {
        Some(resume) => Progress::default().with_resume(resume),
        None => Progress::default(),
    };
    Ok(match expand(&ExpandRequest::new(id, gib << 30), &progress)? {
        Answer::Done(expanded) => {
            assert!(!expanded.node_expansion_required);
            Answer::Done(expanded.capacity_bytes >> 30)
        }
        Answer::Pending(pending) => Answer::Pending(pending),
        Answer::Perform(_) => panic!("nothing is to be mounted"),
    })
}

fn set(host: &FakeHost) -> Vec<(String, String, String)> {
    let requests = host.requests();
    let set = requests.iter().filter(|request| request.granted_as() == "SetDirQuota");
    let value = |request: &Request, key: &str| request.query.value(key).unwrap().to_owned();
    set.map(|it| (value(it, "FileSystemId"), value(it, "Path"), value(it, "SizeLimit"))).collect()
}

#[test]
fn only_names_that_a_provisioner_made_are_looked_for() {
    let uuid = "6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61";
    for name in [NAME, uuid, "shop-data-pvc-6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61"] {
        assert!(is_provisioned(name), "{name}");
    }
    for name in [
        "",
        "data",
        "nas-static",
        "-6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61",
        "nas6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61",
        "nas-6A1F0C9E-8C1E-45EB-8EC7-786A8B2E0B61",
        "nas-6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b6",
        "nas-6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61-x",
    ] {
        assert!(!is_provisioned(name), "{name}");
        let host = account(vec![("fs1", quotas(&["/k8s/data", "/k8s/nas-static"]))]);
        assert_eq!(grown(name, 40, None).unwrap(), Answer::Done(40));
        assert!(host.requests().is_empty(), "{name}");
    }
}

#[test]
fn the_quota_of_the_directory_with_the_volume_s_name_is_raised_and_never_shrinks() {
    for (asked, now, orders) in [(40, 40, 1), (20, 20, 0), (10, 20, 0)] {
        let others = ["/k8s/nas-other", &format!("/{NAME}/below"), &format!("/k8s/x{NAME}")];
        let place = format!("/k8s/{NAME}/");
        let host = account(vec![("fs1", quotas(&others)), ("fs2", quotas(&["/a", &place]))]);
        assert_eq!(grown(NAME, asked, None).unwrap(), Answer::Done(now));
        let expected = ("fs2".to_owned(), format!("/k8s/{NAME}"), asked.to_string());
        assert_eq!(set(&host), vec![expected; orders]);
    }
}

#[test]
fn a_volume_without_a_quota_is_as_large_as_it_is_said_to_be() {
    let host = account(vec![("fs1", quotas(&["/k8s/nas-other"])), ("fs2", Vec::new())]);
    assert_eq!(grown(NAME, 40, None).unwrap(), Answer::Done(40));
    assert_eq!(set(&host), []);
}

#[test]
fn two_directories_of_one_name_are_both_named_and_neither_is_changed() {
    let place = |base: &str| format!("{base}/{NAME}");
    for (one, two) in [(place("/a"), place("/b")), (place("/a"), place("/a"))] {
        let host = account(vec![("fs1", quotas(&[&one])), ("fs2", quotas(&[&two]))]);
        let refused = grown(NAME, 40, None).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
        for words in [format!("{one} of fs1"), format!("{two} of fs2")] {
            assert!(refused.message.contains(&words), "{refused:?}");
        }
        assert_eq!(set(&host), []);
    }
}

#[test]
fn a_long_look_goes_on_with_the_next_call_and_forgets_nothing() {
    let place = format!("/k8s/{NAME}");
    let many = |with: &str| {
        let mut many: Vec<_> = (0..750).map(|number| (format!("/d/{number}"), 1)).collect();
        many.push((with.to_owned(), 20));
        many
    };
    for found_in in ["fs1", "fs3"] {
        let of = |id: &'static str| (id, many(if id == found_in { &place } else { "/other" }));
        let host = account(vec![of("fs3"), of("fs1"), of("fs2")]);
        let (mut resume, mut calls) = (None::<String>, 1);
        loop {
            let before = host.requests().len();
            let answer = grown(NAME, 40, resume.as_deref()).unwrap();
            assert!(host.requests().len() - before <= 12, "bounded");
            match answer {
                Answer::Pending(pending) => resume = pending.resume,
                answer => break assert_eq!(answer, Answer::Done(40)),
            }
            calls += 1;
        }
        assert_eq!(calls, 3);
        assert_eq!(set(&host), [(found_in.to_owned(), place.clone(), "40".to_owned())]);
    }
}

#[test]
fn what_deleting_leaves_is_said_by_what_the_persistent_volume_says() {
    let server = ("server", "0cd8-1.cn-x.nas.aliyuncs.com");
    let of = |more: &[(&'static str, &'static str)]| what_stays(&pairs([&[server], more].concat()));
    let own = ("volumeAs", "filesystem");
    for (context, said) in [
        (&[own][..], "file system 0cd8 "),
        (&[own, ("deleteVolume", "true"), ("fileSystemId", "1ab2")], "file system 1ab2 "),
        (&[("volumeAs", "accesspoint"), ("accesspoint", "ap-1.x")], "access point ap-1.x"),
    ] {
        assert!(of(context).contains(said), "{}", of(context));
    }
    for context in [&[][..], &[own, ("deleteVolume", "false")], &[("volumeAs", "subpath")]] {
        assert_eq!(of(context), "");
    }
}
