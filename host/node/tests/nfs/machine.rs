//! What the other tests stand on: the machine has an NFS server and client, and nothing in it
//! reaches the host.

use crate::bed::{Export, Server, sh};
use wharf_testing::tests;

tests![what_one_version_writes_the_other_reads, the_outside_cannot_be_written,];

fn what_one_version_writes_the_other_reads() {
    let (export, server) = (Export::new(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let mounted = |name: &str, options: &str| {
        let point = directory.path().join(name);
        std::fs::create_dir(&point).unwrap();
        sh(&format!(
            "mount -i -t {name} -o {options},proto=tcp,noresvport,addr={0} {0}:{1} {2}",
            server.address(),
            export.path().display(),
            point.display()
        ));
        point
    };
    let third = mounted("nfs", "vers=3,nolock,mountport=20049,mountproto=tcp");
    let fourth = mounted("nfs4", "vers=4.0,clientaddr=127.0.0.1");
    std::fs::write(third.join("a"), "from v3").unwrap();
    assert_eq!(std::fs::read_to_string(fourth.join("a")).unwrap(), "from v3");
    sh(&format!("umount {} {}", third.display(), fourth.display()));
}

fn the_outside_cannot_be_written() {
    for path in ["/etc/wharf-nfs-test", "/usr/wharf-nfs-test", env!("CARGO_MANIFEST_DIR")] {
        let error = std::fs::write(format!("{path}/x"), "x").or_else(|_| std::fs::write(path, "x"));
        assert!(error.is_err(), "{path}");
    }
}
