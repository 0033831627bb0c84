//! Reads a configuration from where it is written: the file, and what belongs to it. Everything
//! that is wrong is found at once.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use wharf_files::Untrusted;

use super::mistake::Mistake;
use super::tree::{Origin, Source, Tree, file};
use super::{Config, check, grants, preset, read};

/// A configuration is a page of text; a larger file is a mistake.
const MAX_BYTES: u64 = 1 << 20;

/// Why a configuration cannot be used: which file, what is wrong, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("the configuration {path} is wrong: {}", list(mistakes, path))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything, at least one.
        mistakes: Vec<Mistake>,
    },
}

/// One mistake in a line; several in a line each.
fn list(mistakes: &[Mistake], main: &Path) -> String {
    match mistakes {
        [one] => in_words(one, main),
        all => all.iter().map(|mistake| format!("\n       {}", in_words(mistake, main))).collect(),
    }
}

/// A mistake in another file than the configuration names that.
fn in_words(mistake: &Mistake, main: &Path) -> String {
    match mistake.at.as_ref().map(|at| &*at.source) {
        Some(Source::File(path)) if path != main => format!("{}: {mistake}", path.display()),
        _ => mistake.to_string(),
    }
}

impl ConfigError {
    /// What to do, for somebody at a command line.
    pub fn for_a_command(&self) -> String {
        match self {
            Self::Unreadable { source, .. } => {
                let fix = match source.kind() {
                    std::io::ErrorKind::NotFound => {
                        "write one (`wharf config init` does) or name another with --config"
                    }
                    other => fix_of(other),
                };
                format!("{self}; {fix}")
            }
            Self::Wrong { .. } => self.to_string(),
        }
    }

    /// What to do, for somebody who reads what a call-out said: it has no command line of its own,
    /// and one line.
    pub fn for_a_call_out(&self) -> String {
        match self {
            Self::Unreadable { source, .. } => {
                let fix = match source.kind() {
                    std::io::ErrorKind::NotFound => {
                        "put it back, or run `wharf flexvolume install` with the one that is meant"
                    }
                    other => fix_of(other),
                };
                format!("{self}; {fix}")
            }
            Self::Wrong { .. } => self.in_one_line(),
        }
    }

    /// What is wrong first, and how much more is.
    pub fn in_one_line(&self) -> String {
        match self {
            Self::Wrong { path, mistakes } if mistakes.len() > 1 => format!(
                "the configuration {} is wrong: {}; `wharf config check` names {} more",
                path.display(),
                mistakes.first().map(|first| in_words(first, path)).unwrap_or_default(),
                mistakes.len() - 1
            ),
            _ => self.to_string(),
        }
    }
}

/// A configuration, and what it was read from.
#[derive(Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// The same, with the place of every value.
    pub tree: Tree,
}

impl Loaded {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file, every place in it that is wrong, and the fix.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |mistakes| ConfigError::Wrong { path: path.to_owned(), mistakes };
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let text = Text::read(path).map_err(unreadable)?;
        let mut mistakes = text.writers.into_iter().collect::<Vec<_>>();
        let read = match text.content {
            Ok(content) => Self::parse(&content, path),
            Err(mistake) => Err(vec![mistake]),
        };
        match read {
            Ok(loaded) => {
                if loaded.config.holds_secrets() && text.mode & 0o077 != 0 {
                    mistakes.push(readable_by_others(path));
                }
                if mistakes.is_empty() { Ok(loaded) } else { Err(wrong(mistakes)) }
            }
            Err(more) => {
                mistakes.extend(more);
                Err(wrong(mistakes))
            }
        }
    }

    /// Reads the text of a configuration.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Mistake>> {
        let mut tree = Tree::parse(text, file(path))?;
        let mut mistakes = preset::merge_under(&mut tree);
        let has_preset = mistakes.is_empty();
        mistakes.extend(grants::merge_into(&mut tree, path));
        let config = match read::read::<Config>(&tree) {
            Ok(config) => Some(config),
            Err((more, config)) => {
                mistakes.extend(more);
                config
            }
        };
        // Without its preset, most of what a file names is not there.
        if let Some(config) = config.as_ref().filter(|_| has_preset) {
            mistakes.extend(check::mistakes(config, &tree));
        }
        match config {
            Some(config) if mistakes.is_empty() => Ok(Self { config, tree }),
            _ => {
                mistakes.sort_by_key(|mistake| mistake.at.as_ref().map(|at| (at.line, at.column)));
                Err(mistakes)
            }
        }
    }
}

/// What a configuration is written in, and who may write it: equal as long as nobody touched it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written(Vec<(PathBuf, Result<FileContent, ErrorKind>)>);

/// Content, owner and mode of a file.
type FileContent = (Vec<u8>, u32, u32);

impl Written {
    /// The file, and the grants beside it, as they are now; nothing is understood.
    pub fn read(path: &Path) -> Self {
        let files = grants::files(&grants::directory(path));
        // A directory that cannot be read stands for its files.
        let files = files.unwrap_or_else(|_| vec![grants::directory(path)]);
        let read = |path: PathBuf| {
            let content = read_content(&path).map_err(|error| error.kind());
            (path, content)
        };
        Self(std::iter::once(path.to_owned()).chain(files).map(read).collect())
    }
}

/// Of a file that is too large, as much as shows that.
fn read_content(path: &Path) -> std::io::Result<FileContent> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    Ok((content, metadata.uid(), metadata.mode()))
}

/// A file of the configuration.
pub(super) struct Text {
    /// All of it.
    pub(super) content: Result<String, Mistake>,
    mode: u32,
    /// Somebody else may write it.
    pub(super) writers: Option<Mistake>,
}

impl Text {
    /// Reads it, and looks at who may write it.
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let content = if metadata.len() > MAX_BYTES {
            let problem = format!("it has {} bytes, at most {MAX_BYTES} are read", metadata.len());
            Err(Mistake::new(problem))
        } else {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text)
        };
        let at = Origin::whole(super::tree::file(path));
        let writers = check_writers(path, metadata.uid(), metadata.mode()).err();
        Ok(Self {
            content: content.map_err(|mistake| mistake.at(&at)),
            mode: metadata.mode(),
            writers: writers.map(|mistake| mistake.at(&at)),
        })
    }
}

/// Whoever writes this file says what runs as root, and where keys go.
fn check_writers(path: &Path, owner: u32, mode: u32) -> Result<(), Mistake> {
    wharf_files::check_writers(path, owner, mode).map_err(|untrusted| match untrusted {
        Untrusted::Owner { path, user } => {
            Mistake::new(format!("it belongs to user {user}, who could grant anything"))
                .fix(format!("run `chown root {}`", path.display()))
        }
        Untrusted::Mode { path } => Mistake::new("others may write it, and so grant anything")
            .fix(format!("run `chmod go-w {}`", path.display())),
    })
}

fn readable_by_others(path: &Path) -> Mistake {
    let fix = format!("run `chmod 600 {}`, or name files with `{{ file = … }}`", path.display());
    Mistake::new("it holds secrets and others may read it").fix(fix).at(&Origin::whole(file(path)))
}

fn fix_of(kind: std::io::ErrorKind) -> &'static str {
    match kind {
        std::io::ErrorKind::PermissionDenied => {
            "run as root, or make the file readable for this user"
        }
        _ => "it must be a text file in TOML",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_configuration_that_others_may_write_is_refused() {
        let path = Path::new("/etc/wharf/wharf.toml");
        let own = rustix::process::geteuid().as_raw();
        let refused = |owner, mode| check_writers(path, owner, mode).unwrap_err().text();
        for mode in [0o100_600, 0o100_644, 0o100_444] {
            assert!(check_writers(path, own, mode).is_ok() && check_writers(path, 0, mode).is_ok());
            assert!(refused(own + 1, mode).contains("chown root"));
        }
        for mode in [0o100_664, 0o100_602] {
            assert!(refused(own, mode).contains("chmod go-w"));
        }
    }

    #[test]
    fn a_configuration_with_secrets_that_others_may_read_is_refused() {
        let path = std::env::temp_dir().join(format!("wharf-config-{}.toml", std::process::id()));
        std::fs::write(
            &path,
            "[account.a]\ncomponent = \"auth\"\n[[account.a.source]]\nkind = \"static\"\nkey = { \
             value = \"x\" }\n",
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Config::load(&path).unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Config::load(&path).is_ok());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn every_mistake_is_found_at_once_with_its_line_and_its_fix() {
        let text = "stat = \"/x\"\n\
                    [limits]\nmemory-mib = \"much\"\ncalls-per-backend = 0\n\
                    [endpoint.api]\nurl = \"ftp://x\"\n\
                    [account.cloud]\ncomponent = \"auth\"\nendpoints = [\"apo\"]\n\
                    [backend.disk]\n[[backend.disk.grant]]\nendpoint = \"metadata\"\naccount = \"cluod\"\n\
                    [driver.\"d.example.com\"]\nbackend = \"dsk\"\nflexvolume = [\"nonsense\"]\n\
                    [flexvolume]\nnode-name = \"all\"\n";
        let mistakes = Loaded::parse(text, Path::new("/w.toml")).unwrap_err();
        let said = |line: usize, what: &str| {
            let hit = mistakes.iter().any(|mistake| {
                mistake.at.as_ref().is_some_and(|at| at.line == line)
                    && mistake.text().contains(what)
            });
            assert!(hit, "line {line}, {what}: {mistakes:#?}");
        };
        said(1, "unknown field `stat`; did you mean `state`?");
        said(3, "a whole number is needed, and it is a string");
        said(6, "must begin with `https://`");
        said(7, "`source` is missing");
        assert!(mistakes.iter().all(|mistake| !mistake.text().contains("\"\"")), "{mistakes:#?}");
        said(12, "there is no section [endpoint.metadata]");
        said(13, "did you mean `cloud`?");
        said(15, "did you mean `disk`?");
        said(16, "vendor/driver");
        said(18, "\"match\" and \"any\"");
        said(2, "`limits.calls-per-backend` is 0");
        said(9, "did you mean `api`?");
        assert_eq!(mistakes.len(), 11, "{mistakes:#?}");
    }

    #[test]
    fn a_section_that_cannot_be_read_is_there_for_those_who_name_it() {
        let text = "[account.cloud]\n[[backend.b.grant]]\nendpoint = \"e\"\naccount = \"cloud\"\n\
                    [endpoint.e]\nurl = \"https://e\"\n";
        let mistakes = Loaded::parse(text, Path::new("/w.toml")).unwrap_err();
        assert_eq!(mistakes.len(), 2, "{mistakes:#?}");
    }

    #[test]
    fn a_call_out_gets_one_line_and_the_command_that_tells_the_rest() {
        let mistakes = Loaded::parse("a = 1\nb = 2\n", Path::new("/w.toml")).unwrap_err();
        let error = ConfigError::Wrong { path: "/w.toml".into(), mistakes };
        let said = error.for_a_call_out();
        assert!(said.contains("`a`") && said.contains("names 1 more"), "{said}");
        assert_eq!(error.for_a_command().lines().count(), 3);
    }
}
