//! `wharf config init`: the short file that names a preset and what it has to be given.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::config::Loaded;
use crate::config::mistake::meant;
use crate::config::preset::{Parameter, Preset};
use crate::output::{self, Failure};

/// The file. A value that the environment says is written down: who starts a process later may not
/// have it.
///
/// # Errors
/// What the preset should be given and is not, or is given wrongly.
pub fn text(
    cloud: &str,
    set: &[String],
    drivers: &[String],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let preset = Preset::find(cloud).map_err(|mistake| mistake.text())?;
    let mut values = BTreeMap::new();
    for pair in set {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("--set {pair}: it is written PARAMETER=VALUE"))?;
        let Some(known) = preset.parameter.keys().find(|known| *known == key) else {
            return Err(unknown(&preset, key));
        };
        values.insert(known.as_str(), (value.to_owned(), String::new()));
    }
    for (key, parameter) in &preset.parameter {
        let said = parameter.environment.as_ref().and_then(|name| Some((environment(name)?, name)));
        if let Some((value, name)) = said.filter(|(value, _)| !value.is_empty()) {
            values.entry(key).or_insert_with(|| (value, format!("  # from {name}")));
        }
    }
    let drivers = if drivers.is_empty() { &preset.parts } else { drivers };
    let drivers: Vec<String> = drivers.iter().map(|driver| quoted(driver)).collect();
    let mut text = format!(
        "# {}.\n# `wharf config show` prints all that this stands for, `wharf config check` what is \
         wrong with it.\n\n[preset]\nname = {}\ndrivers = [{}]\n",
        preset.about,
        quoted(cloud),
        drivers.join(", ")
    );
    for (key, parameter) in &preset.parameter {
        match values.get(key.as_str()) {
            Some((value, from)) => text.push_str(&format!("{key} = {}{from}\n", quoted(value))),
            None if parameter.rare => {}
            None => text.push_str(&unset(key, parameter)?),
        }
    }
    match Loaded::parse(&text, Path::new("")) {
        Ok(_) => Ok(text),
        Err(mistakes) => {
            let mistakes: Vec<_> = mistakes.iter().map(|mistake| mistake.text()).collect();
            Err(mistakes.join("\n       "))
        }
    }
}

fn unknown(preset: &Preset, key: &str) -> String {
    let known = || preset.parameter.keys().map(String::as_str);
    match meant(key, known()) {
        Some(near) => format!("--set {key}: did you mean `{near}`?"),
        None => format!("--set {key}: it takes {}", known().collect::<Vec<_>>().join(", ")),
    }
}

fn unset(key: &str, parameter: &Parameter) -> Result<String, String> {
    let Some(default) = &parameter.default else {
        let example = parameter.example.as_deref().unwrap_or("…");
        let variable = parameter.environment.as_ref();
        let or = variable.map(|name| format!(", or set {name}")).unwrap_or_default();
        return Err(format!(
            "`{key}` is not known: {}; say `--set {key}={example}`{or}",
            parameter.about
        ));
    };
    Ok(format!("# {key} = {}  # {}\n", quoted(default), parameter.about))
}

/// As a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Writes it where nothing is yet.
///
/// # Errors
/// Something is there, or it cannot be written.
pub fn write(config: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => format!(
            "{} is there already and stays as it is; remove it first, or say --print",
            config.display()
        ),
        _ => format!("cannot write {}: {error}", config.display()),
    };
    if let Some(directory) = config.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(config).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    output::print(&format!(
        "{} is written; next: `wharf authenticator install NAME FILE --activate` and `wharf backend \
         install NAME FILE --activate` for each component, then \
         `wharf doctor`",
        config.display()
    ))
}
