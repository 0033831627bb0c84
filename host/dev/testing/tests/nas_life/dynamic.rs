//! Volumes that a StorageClass makes: directories, one directory for all, whole file systems.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use wharf_cloudsim::{Fault, FaultRule, FileSystemSummary};
use wharf_testing::player::{CLAIM_METADATA, CsiVolume, PlayError, Retry, VolumeClass};
use wharf_testing::tests;

use super::cluster::{Cluster, GIB, cluster, mode, names, read, write};

tests![
    a_directory_is_made_used_and_archived,
    a_directory_is_removed_with_everything_in_it_and_nothing_else,
    a_volume_whose_directories_are_all_gone_is_deleted_and_none_is_made,
    a_quota_is_set_raised_and_ended,
    a_quota_that_the_earlier_driver_set_is_found_and_raised,
    a_repeated_create_of_another_size_is_refused,
    a_directory_with_an_access_point_of_its_own_is_used_and_archived,
    a_shared_directory_outlives_its_volumes,
    a_file_system_is_made_mounted_and_deleted,
    a_file_system_whose_answers_are_lost_is_found_again,
    a_file_system_stays_where_its_class_does_not_say_that_it_goes,
];

impl Cluster {
    /// A volume of a class whose directories are made in `/k8s`.
    fn directory(&self, name: &str, parameters: &[(&str, &str)]) -> Result<CsiVolume, PlayError> {
        let server = format!("{}:/k8s", self.share.server);
        let mut all = vec![("volumeAs", "subpath"), ("server", server.as_str())];
        all.extend(parameters.iter().copied().chain(CLAIM_METADATA));
        self.csi.provision(name, GIB, &VolumeClass::share(&all))
    }

    fn file_system(&self, name: &str, parameters: &[(&str, &str)]) -> CsiVolume {
        let mut all =
            vec![("volumeAs", "filesystem"), ("vpcId", "vpc-wharf"), ("vSwitchId", "vsw-wharf")];
        all.extend(parameters.iter().copied().chain(CLAIM_METADATA));
        self.csi.provision(name, GIB, &VolumeClass::share(&all)).unwrap()
    }

    pub fn quotas(&self) -> Vec<(String, u64)> {
        let systems = self.bed.region().file_systems();
        let ours = systems.into_iter().find(|system| system.id == self.share.id).unwrap();
        ours.quotas.into_iter().collect()
    }

    /// The file systems of volumes.
    fn made(&self) -> Vec<FileSystemSummary> {
        let is_made =
            |system: &FileSystemSummary| system.id != self.share.id && system.id != self.other.id;
        self.bed.region().file_systems().into_iter().filter(is_made).collect()
    }
}

fn a_directory_is_made_used_and_archived() {
    let cluster = cluster();
    let (csi, one, two) = (&cluster.csi, &cluster.nodes[0], &cluster.nodes[1]);
    let volume = cluster.directory("pvc-archived", &[("mode", "750")]).unwrap();
    assert_eq!(volume, cluster.directory("pvc-archived", &[("mode", "750")]).unwrap());
    assert_eq!(mode(&cluster.share.at("/k8s/pvc-archived")), 0o750);
    let first = csi.publish(&volume, one, "a", false).unwrap();
    write(&first, "written");
    let second = csi.publish(&volume, two, "b", true).unwrap();
    assert_eq!(read(&second), "written");
    csi.unpublish(&volume, one, "a").unwrap();
    csi.unpublish(&volume, two, "b").unwrap();
    for _ in 0..2 {
        csi.delete(&volume).unwrap();
        let left = names(&cluster.share.at("/k8s"));
        let [archive] = left.as_slice() else { panic!("{left:?}") };
        assert!(archive.starts_with("archived-pvc-archived-20"), "{archive}");
        assert_eq!(read(&cluster.share.at("/k8s").join(archive)), "written");
    }
    // The next volume of the same name is an empty one, and its archive another one.
    let again = cluster.directory("pvc-archived", &[]).unwrap();
    assert!(names(&cluster.share.at("/k8s/pvc-archived")).is_empty());
    csi.delete(&again).unwrap();
    assert_eq!(names(&cluster.share.at("/k8s")).len(), 2);
    cluster.assert_as_before();
}

fn a_directory_is_removed_with_everything_in_it_and_nothing_else() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let volume = cluster.directory("pvc-removed", &[("archiveOnDelete", "false")]).unwrap();
    let beside = cluster.directory("pvc-beside", &[]).unwrap();
    let target = csi.publish(&volume, node, "pod", false).unwrap();
    write(&target, "written");
    fs::create_dir_all(target.join("deep/er")).unwrap();
    fs::write(target.join("deep/er/file"), "x").unwrap();
    // What a pod may leave behind to lead a removal astray.
    symlink("../../pvc-beside", target.join("up")).unwrap();
    symlink("/", target.join("root")).unwrap();
    write(&cluster.share.at("/k8s/pvc-beside"), "kept");
    csi.unpublish(&volume, node, "pod").unwrap();
    for _ in 0..2 {
        csi.delete(&volume).unwrap();
        assert_eq!(names(&cluster.share.at("/k8s")), ["pvc-beside"]);
    }
    assert_eq!(read(&cluster.share.at("/k8s/pvc-beside")), "kept");
    csi.delete(&beside).unwrap();
    cluster.assert_as_before();
}

fn a_volume_whose_directories_are_all_gone_is_deleted_and_none_is_made() {
    let cluster = cluster();
    for archive in ["true", "false"] {
        let volume = cluster.directory("pvc-lost", &[("archiveOnDelete", archive)]).unwrap();
        fs::remove_dir_all(cluster.share.at("/k8s")).unwrap();
        for _ in 0..2 {
            cluster.csi.delete(&volume).unwrap();
            assert!(!cluster.share.at("/k8s").exists());
        }
    }
    cluster.assert_as_before();
}

fn a_quota_is_set_raised_and_ended() {
    let cluster = cluster();
    let csi = &cluster.csi;
    for key in ["volumeCapacity", "allowVolumeExpansion"] {
        let mut volume = cluster.directory("pvc-quota", &[(key, "true")]).unwrap();
        let place = "/k8s/pvc-quota".to_owned();
        assert_eq!((volume.bytes, cluster.quotas()), (GIB, vec![(place.clone(), 1)]));
        for _ in 0..2 {
            assert!(!csi.expand_controller(&mut volume, 3 * GIB).unwrap(), "a node has to help");
            assert_eq!((volume.bytes, cluster.quotas()), (3 * GIB, vec![(place.clone(), 3)]));
        }
        csi.delete(&volume).unwrap();
        assert_eq!(cluster.quotas(), []);
    }
    cluster.assert_as_before();
}

fn a_quota_that_the_earlier_driver_set_is_found_and_raised() {
    let cluster = cluster();
    let csi = cluster.csi.clone().with_retry(Retry::never());
    // Its handle is the PersistentVolume's name, as its directory's is.
    let name = "nas-6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61";
    let server = format!("{}:/k8s", cluster.share.server);
    let class = VolumeClass::share(&[("server", &server), ("volumeCapacity", "true")]);
    let made = csi.provision(name, GIB, &class).unwrap();
    let mut volume = CsiVolume::of_handle(name, name, GIB, class.clone());
    let place = format!("/k8s/{name}");
    for _ in 0..2 {
        assert!(!csi.expand_controller(&mut volume, 3 * GIB).unwrap(), "a node has to help");
        assert_eq!((volume.bytes, cluster.quotas()), (3 * GIB, vec![(place.clone(), 3)]));
    }
    // A second directory of that name, in another file system: it is not known whose it is.
    let elsewhere = format!("{}:/k8s", cluster.other.server);
    let other = VolumeClass::share(&[("server", &elsewhere), ("volumeCapacity", "true")]);
    let twin = csi.provision(name, GIB, &other).unwrap();
    let refused = csi.expand_controller(&mut volume, 4 * GIB).unwrap_err();
    let PlayError::Refused { code, message, .. } = &refused else { panic!("{refused}") };
    assert_eq!(code, "FailedPrecondition");
    assert!([&cluster.share.id, &cluster.other.id].iter().all(|id| message.contains(*id)));
    assert_eq!(cluster.quotas(), [(place, 3)]);
    csi.delete(&twin).unwrap();
    // Deleted by that handle its data stays.
    csi.delete(&volume).unwrap();
    assert!(cluster.share.at("/k8s").join(name).exists());
    csi.delete(&made).unwrap();
    cluster.assert_as_before();
}

fn a_repeated_create_of_another_size_is_refused() {
    let cluster = cluster();
    let volume = cluster.directory("pvc-size", &[("volumeCapacity", "true")]).unwrap();
    let class = volume.class.clone();
    let csi = cluster.csi.clone().with_retry(Retry::never());
    let refused = csi.provision("pvc-size", 2 * GIB, &class).unwrap_err();
    assert!(matches!(&refused, PlayError::Refused { code, .. } if code == "AlreadyExists"));
    assert_eq!(cluster.quotas(), [("/k8s/pvc-size".to_owned(), 1)]);
    csi.delete(&volume).unwrap();
    cluster.assert_as_before();
}

fn a_directory_with_an_access_point_of_its_own_is_used_and_archived() {
    let cluster = cluster();
    let (csi, node, region) = (&cluster.csi, &cluster.nodes[0], cluster.bed.region());
    let server = format!("{}:/k8s", cluster.share.server);
    let class = VolumeClass::share(&[
        ("volumeAs", "accesspoint"),
        ("server", &server),
        ("volumeCapacity", "true"),
        ("ownerUserId", "1000"),
        ("ownerGroupId", "1001"),
        ("permission", "0750"),
    ]);
    let points = || {
        let systems = region.file_systems();
        let ours = systems.into_iter().find(|system| system.id == cluster.share.id).unwrap();
        ours.access_points.into_values().collect::<Vec<_>>()
    };
    let place = "/k8s/pvc-point".to_owned();
    region.set_faults(vec![FaultRule::new("CreateAccessPoint", Fault::DropAnswer).times(1)]);
    let volume = csi.provision("pvc-point", GIB, &class).unwrap();
    assert_eq!(volume, csi.provision("pvc-point", GIB, &class).unwrap());
    assert_eq!((points(), cluster.quotas()), (vec![place.clone()], vec![(place, 1)]));
    let made = fs::metadata(cluster.share.at("/k8s/pvc-point")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (1000, 1001, 0o750));
    drop(cluster.servers());
    let target = csi.publish(&volume, node, "pod", false).unwrap();
    write(&target, "written");
    assert_eq!(read(&cluster.share.at("/k8s/pvc-point")), "written");
    csi.unpublish(&volume, node, "pod").unwrap();
    region.set_faults(vec![FaultRule::new("DeleteAccessPoint", Fault::DropAnswer).times(1)]);
    for _ in 0..2 {
        csi.delete(&volume).unwrap();
    }
    region.advance(std::time::Duration::from_secs(1));
    assert_eq!((points(), cluster.quotas()), (vec![], vec![]));
    let left = names(&cluster.share.at("/k8s"));
    let [archive] = left.as_slice() else { panic!("{left:?}") };
    assert_eq!(read(&cluster.share.at("/k8s").join(archive)), "written");
    drop(cluster.servers());
    cluster.assert_as_before();
}

fn a_shared_directory_outlives_its_volumes() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let class = VolumeClass::share(&[
        ("volumeAs", "sharepath"),
        ("server", &cluster.share.server),
        ("path", "/common"),
    ]);
    let [first, second] =
        ["pvc-one", "pvc-two"].map(|name| csi.provision(name, GIB, &class).unwrap());
    assert_ne!(first.handle, second.handle);
    let target = csi.publish(&first, node, "a", false).unwrap();
    write(&target, "common");
    let other = csi.publish(&second, node, "b", false).unwrap();
    assert_eq!(read(&other), "common");
    csi.unpublish(&first, node, "a").unwrap();
    csi.delete(&first).unwrap();
    assert_eq!(read(&other), "common");
    csi.unpublish(&second, node, "b").unwrap();
    csi.delete(&second).unwrap();
    assert_eq!(read(&cluster.share.at("/common")), "common");
    cluster.assert_as_before();
}

fn a_file_system_is_made_mounted_and_deleted() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let extreme =
        [("fileSystemType", "extreme"), ("zoneId", "cn-wharf-1a"), ("deleteVolume", "true")];
    for (name, parameters) in
        [("pvc-standard", &[("deleteVolume", "true")][..]), ("pvc-extreme", &extreme)]
    {
        let volume = cluster.file_system(name, parameters);
        assert_eq!(volume, cluster.file_system(name, parameters));
        assert_eq!(cluster.made().len(), 1);
        drop(cluster.servers());
        let target = csi.publish(&volume, node, "pod", false).unwrap();
        write(&target, "written");
        let files =
            cluster.made()[0].directory.join(volume.context["path"].trim_start_matches('/'));
        assert_eq!(read(&files), "written");
        csi.unpublish(&volume, node, "pod").unwrap();
        for _ in 0..2 {
            csi.delete(&volume).unwrap();
        }
        cluster.bed.region().advance(std::time::Duration::from_secs(1));
        assert_eq!(cluster.made(), []);
        drop(cluster.servers());
    }
    cluster.assert_as_before();
}

fn a_file_system_whose_answers_are_lost_is_found_again() {
    let cluster = cluster();
    let region = cluster.bed.region();
    for action in ["CreateFileSystem", "CreateMountTarget", "DescribeFileSystems"] {
        region.set_faults(vec![FaultRule::new(action, Fault::DropAnswer).times(1)]);
        let volume = cluster.file_system("pvc-lost", &[("deleteVolume", "true")]);
        let systems = cluster.made();
        let targets: Vec<_> = systems.iter().map(|system| system.mount_targets.len()).collect();
        assert_eq!(targets, [1], "{action}: {systems:?}");
        for lost in ["DeleteMountTarget", "DeleteFileSystem"] {
            region.set_faults(vec![FaultRule::new(lost, Fault::DropAnswer).times(1)]);
            cluster.csi.delete(&volume).unwrap();
        }
        region.set_faults(Vec::new());
        region.advance(std::time::Duration::from_secs(1));
        assert_eq!(cluster.made(), [], "{action}");
    }
    cluster.assert_as_before();
}

fn a_file_system_stays_where_its_class_does_not_say_that_it_goes() {
    let cluster = cluster();
    let volume = cluster.file_system("pvc-stays", &[]);
    cluster.csi.delete(&volume).unwrap();
    assert_eq!(cluster.made().len(), 1);
    let deleted = volume.handle.replace("#keep", "#delete");
    cluster.csi.delete(&CsiVolume { handle: deleted, ..volume }).unwrap();
    cluster.bed.region().advance(std::time::Duration::from_secs(1));
    cluster.assert_as_before();
}
