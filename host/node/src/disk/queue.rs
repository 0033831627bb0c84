//! Settings of a device's request queue (`/sys/block/<device>/queue/<key>`).

use std::path::Path;

use wharf_core::Error;

use crate::disk::device::Device;
use crate::undo::UndoLog;

/// Values are numbers and scheduler names.
const MAX_VALUE_BYTES: usize = 64;

/// Refuses what is not a plain setting, before anything is written.
pub(crate) fn check(key: &str, value: &str) -> Result<(), Error> {
    let is_name = !key.is_empty()
        && key.len() <= 64
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_name {
        return Err(Error::invalid(format!(
            "`{}` is not the name of a queue setting",
            key.chars().take(100).collect::<String>()
        )));
    }
    if value.is_empty() || value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "the value of the queue setting `{key}` is empty, longer than {MAX_VALUE_BYTES} bytes \
             or has control characters"
        )));
    }
    Ok(())
}

/// Writes the setting unless it has that value already, and reads it back.
pub(crate) fn set(
    disk: &Device,
    sysfs: &Path,
    key: &str,
    value: &str,
    undo: &mut UndoLog,
) -> Result<(), Error> {
    check(key, value)?;
    let path = disk.sysfs(sysfs).join("queue").join(key);
    let read = || std::fs::read_to_string(&path).map(|text| selected(&text).to_owned());
    let before = read().map_err(|error| {
        Error::precondition(format!(
            "the queue setting `{key}` of {} cannot be read: {error}",
            disk.path.display()
        ))
        .with_hint("this kernel, or this kind of device, may not have it")
    })?;
    if before == value {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|error| {
        Error::invalid(format!(
            "the queue setting `{key}` of {} cannot be set to `{value}`: {error}",
            disk.path.display()
        ))
    })?;
    let setting = path.clone();
    undo.push(&path, move || std::fs::write(setting, before));
    let after = read().unwrap_or_default();
    if after != value {
        return Err(Error::invalid(format!(
            "the queue setting `{key}` of {} was set to `{value}`, but the kernel made it \
             `{after}`",
            disk.path.display()
        ))
        .with_hint("ask for a value that the device supports"));
    }
    Ok(())
}

/// Of a choice such as `none [mq-deadline] kyber` the selected one, else the whole value.
fn selected(text: &str) -> &str {
    let text = text.trim();
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(text, |(chosen, _)| chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        Device::named("/dev/vdz", "vdz", (252, 16), "")
    }

    fn sysfs() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("dev/block/252:16/queue")).unwrap();
        std::fs::write(directory.path().join("dev/block/252:16/queue/read_ahead_kb"), "128\n")
            .unwrap();
        std::fs::write(
            directory.path().join("dev/block/252:16/queue/scheduler"),
            "none [mq-deadline]\n",
        )
        .unwrap();
        directory
    }

    #[test]
    fn a_setting_is_written_once_and_undone_when_the_call_fails() {
        let sysfs = sysfs();
        let path = sysfs.path().join("dev/block/252:16/queue/read_ahead_kb");
        let mut undo = UndoLog::default();
        set(&device(), sysfs.path(), "read_ahead_kb", "4096", &mut undo).unwrap();
        set(&device(), sysfs.path(), "read_ahead_kb", "4096", &mut undo).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4096");
        drop(undo);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "128");
    }

    #[test]
    fn the_selected_one_of_a_choice_is_the_value() {
        let sysfs = sysfs();
        set(&device(), sysfs.path(), "scheduler", "mq-deadline", &mut UndoLog::default()).unwrap();
        assert_eq!(
            std::fs::read_to_string(sysfs.path().join("dev/block/252:16/queue/scheduler")).unwrap(),
            "none [mq-deadline]\n"
        );
    }

    #[test]
    fn a_key_is_never_a_path_and_a_missing_setting_is_an_error() {
        let sysfs = sysfs();
        for (key, value) in [
            ("../ro", "1"),
            ("", "1"),
            ("a/b", "1"),
            ("..", "1"),
            ("read_ahead_kb", ""),
            ("read_ahead_kb", "1\n2"),
            ("missing", "1"),
        ] {
            assert!(
                set(&device(), sysfs.path(), key, value, &mut UndoLog::default()).is_err(),
                "{key}"
            );
        }
    }
}
