use std::os::unix::fs::PermissionsExt;

use wharf_core::types::{AccessMode, AccessType, Capability};

use super::*;

fn record(driver: &str, volume: &str) -> StageRecord {
    StageRecord {
        driver: driver.into(),
        volume: VolumeId::new(volume),
        staging_path: format!("/staging/{volume}").into(),
        capability: Capability {
            access: AccessType::Mount { fs_type: "ext4".into(), flags: vec![], group: None },
            mode: AccessMode::SingleNodeWriter,
        },
        context: vec![("type".into(), "disk".into())],
        publish_context: vec![],
        device: None,
        serial: None,
        plan: None,
        complete: false,
        targets: vec![],
    }
}

fn records() -> (tempfile::TempDir, Records) {
    let directory = tempfile::tempdir().unwrap();
    let records = Records::new(&directory.path().join("state"));
    (directory, records)
}

#[test]
fn a_record_comes_back_as_it_was_saved_until_it_is_forgotten() {
    let (_directory, records) = records();
    let volume = VolumeId::new("d-1/../x");
    let mut record = record("a.b", volume.as_str());
    assert_eq!(records.load("a.b", &volume).unwrap(), None);
    records.save(&record).unwrap();
    record.complete = true;
    records.save(&record).unwrap();
    assert_eq!(records.load("a.b", &volume).unwrap(), Some(record));
    assert_eq!(records.load("other", &volume).unwrap(), None);
    records.forget("a.b", &volume).unwrap();
    records.forget("a.b", &volume).unwrap();
    assert_eq!(records.load("a.b", &volume).unwrap(), None);
}

#[test]
fn records_are_listed_by_driver_and_found_across_drivers() {
    let (_directory, records) = records();
    for (driver, volume) in [("a", "1"), ("a", "2"), ("b", "3")] {
        records.save(&record(driver, volume)).unwrap();
    }
    assert_eq!(records.of_driver("a").unwrap().len(), 2);
    assert_eq!(records.of_driver("none").unwrap(), vec![]);
    assert_eq!(records.find(|record| record.volume.as_str() == "3").unwrap().unwrap().driver, "b");
    assert_eq!(records.find(|_| false).unwrap(), None);
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_that_names_the_file_and_never_none() {
    let (_directory, records) = records();
    let volume = VolumeId::new("d-1");
    records.save(&record("a", "d-1")).unwrap();
    records.save(&record("a", "d-2")).unwrap();
    let path = records.path("a", &volume);
    let good = std::fs::read_to_string(&path).unwrap();
    for bad in [
        "{",
        "null",
        &good.replace("\"format\": 1", "\"format\": 2"),
        &good.replace("d-1", "d-9"),
        &good[..good.len() / 2],
    ] {
        std::fs::write(&path, bad).unwrap();
        let error = records.load("a", &volume).unwrap_err().to_string();
        assert!(error.contains("d-1.json") && error.contains("delete"), "{error}");
    }
    assert!(records.of_driver("a").is_err());
    assert_eq!(
        records.find(|record| record.volume.as_str() == "d-2").unwrap().unwrap().volume.as_str(),
        "d-2"
    );
    assert!(records.find(|_| false).is_err());
}

#[test]
fn what_a_crash_of_the_machine_left_of_a_record_is_none() {
    let (_directory, records) = records();
    let volume = VolumeId::new("d-1");
    records.save(&record("a", "d-1")).unwrap();
    let path = records.path("a", &volume);
    let good = std::fs::read_to_string(&path).unwrap();
    let before = good.replace(boot_id(), "an-earlier-boot");
    assert_ne!(before, good);
    for left in ["", "\0\0\0\0", &before[..before.len() / 2], &format!("{}\0\0", &before[..200])] {
        std::fs::write(&path, left).unwrap();
        assert_eq!(records.load("a", &volume).unwrap(), None, "{left:?}");
        records.save(&record("a", "d-1")).unwrap();
        assert!(records.load("a", &volume).unwrap().is_some());
    }
    // What is whole is a record, whoever wrote it.
    std::fs::write(&path, before).unwrap();
    assert!(records.load("a", &volume).unwrap().is_some());
}

#[test]
fn what_a_killed_writer_left_is_not_a_record_and_is_overwritten() {
    let (_directory, records) = records();
    records.save(&record("a", "d-1")).unwrap();
    let left = records.path("a", &VolumeId::new("d-1")).with_file_name(".d-1.new");
    std::fs::write(&left, "{\"half").unwrap();
    assert_eq!(records.of_driver("a").unwrap().len(), 1);
    records.save(&record("a", "d-1")).unwrap();
    assert!(!left.exists());
}

#[test]
fn only_root_may_read_records() {
    let (_directory, records) = records();
    records.save(&record("a", "d-1")).unwrap();
    let path = records.path("a", &VolumeId::new("d-1"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_record_that_somebody_else_could_have_written_is_not_believed_and_can_be_forgotten() {
    let (directory, records) = records();
    let volume = VolumeId::new("d-1");
    records.save(&record("a", "d-1")).unwrap();
    let state = directory.path().join("state");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o777)).unwrap();
    for refused in [records.load("a", &volume).map(drop), records.save(&record("a", "d-2"))] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, wharf_core::ErrorKind::FailedPrecondition);
        assert!(refused.message.contains(&format!("chmod go-w {}", state.display())), "{refused}");
    }
    assert!(records.readable().unwrap().is_empty());
    records.forget("a", &volume).unwrap();
}
