//! The attribute `otherOpts`, and a PersistentVolume's `mountOptions`: options for the helper.
//! Pure.
//!
//! Split at white space as the earlier CSI driver does; no shell ever sees it. Which options a
//! helper may get is for the host to say: it holds each one against the operator's list. Here only
//! what is no option at all is refused, and what an attribute of its own says.

use wharf_sdk::Error;

use crate::names::shown;

/// One option, as the helper's own words have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelperOption {
    /// `allow_other`, `umask=022`: without the `-o`.
    Named(String),
    /// `-s`.
    Flag(String),
}

/// Flags without a value.
const FLAGS: [&str; 2] = ["-s", "-d"];

/// Options that this backend sets itself, and the attribute that says what they become. The second
/// of two would win unseen.
const OWN: [(&str, &str); 8] = [
    ("url", "url"),
    ("oss_endpoint", "url"),
    ("oss_bucket", "bucket"),
    ("oss_bucket_prefix", "path"),
    ("bucket", "bucket"),
    ("ram_role", "authType"),
    ("passwd_file", "authType"),
    ("use_session_token", "authType"),
];

impl HelperOption {
    /// Its name, without a value.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(text) => text.split_once('=').map_or(text, |(name, _)| name),
            Self::Flag(flag) => flag,
        }
    }
}

/// Reads `-o a -o b,c -od -s`.
///
/// # Errors
/// `invalid-argument` naming what is not an option. A value is never shown: it may be secret by
/// mistake.
pub fn split(text: &str) -> Result<Vec<HelperOption>, Error> {
    let mut options = Vec::new();
    let mut elements = text.split_whitespace();
    while let Some(element) = elements.next() {
        match element.strip_prefix("-o") {
            Some("") => {
                let list = elements.next().ok_or_else(|| refused("-o", "an option behind `-o`"))?;
                options.extend(named("otherOpts", list)?);
            }
            Some(list) => options.extend(named("otherOpts", list)?),
            None if FLAGS.contains(&element) => {
                options.push(HelperOption::Flag(element.to_owned()));
            }
            None => return Err(refused(element, "`-o` before each option, `-s` and `-d`")),
        }
    }
    Ok(options)
}

/// Reads one element of `mountOptions`: options with commas between them.
///
/// # Errors
/// As [`split`].
pub fn mount_option(text: &str) -> Result<Vec<HelperOption>, Error> {
    named("mountOptions", text.trim())
}

fn named(key: &str, list: &str) -> Result<Vec<HelperOption>, Error> {
    let each = list.split(',').filter(|option| !option.is_empty());
    each.map(|option| one(key, option)).collect()
}

fn one(key: &str, option: &str) -> Result<HelperOption, Error> {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || !name.bytes().all(plain) || name.starts_with('-') {
        return Err(Error::invalid(key, &shown(name), "options (`name` or `name=value`)"));
    }
    if option.chars().any(|one| one.is_control() || one == '\\') {
        let allowed = "a value without control characters and backslashes";
        return Err(Error::invalid(key, name, allowed));
    }
    if let Some((_, attribute)) = OWN.iter().find(|(own, _)| *own == name) {
        let allowed = format!("the attribute `{attribute}` in its place");
        return Err(Error::invalid(key, name, allowed));
    }
    Ok(HelperOption::Named(option.to_owned()))
}

fn refused(element: &str, allowed: &str) -> Error {
    let name = element.split_once('=').map_or(element, |(name, _)| name);
    Error::invalid("otherOpts", &shown(name), allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let word = |option: HelperOption| match option {
            HelperOption::Named(text) => text,
            HelperOption::Flag(flag) => flag,
        };
        split(text).unwrap().into_iter().map(word).collect()
    }

    #[test]
    fn options_are_split_as_the_earlier_driver_splits_them() {
        assert_eq!(
            words("-o max_stat_cache_size=0 -o allow_other -ogid=1000,uid=1000"),
            ["max_stat_cache_size=0", "allow_other", "gid=1000", "uid=1000"]
        );
        assert_eq!(words("  -s\t-d\n-o umask=022 "), ["-s", "-d", "umask=022"]);
        assert_eq!(words(""), Vec::<String>::new());
        assert_eq!(words("-o a,,b,"), ["a", "b"]);
        // What a shell would run is a value here.
        assert_eq!(words("-o mp_umask=$(id);`id`|x&&y>z"), ["mp_umask=$(id);`id`|x&&y>z"]);
    }

    #[test]
    fn what_is_no_option_is_refused_by_name_and_without_its_value() {
        for (text, named) in [
            ("allow_other", "allow_other"),
            ("-o allow_other; rm -rf /", "allow_other;"),
            ("-o allow_other && id", "&&"),
            ("-o $(id)", "$(id)"),
            ("-o 'a=canary'", "'a"),
            ("-o", "-o"),
            ("-s -o", "-o"),
            ("-o -s", "-s"),
            ("-o =canary", "``"),
            ("--config=canary", "--config"),
            ("-f", "-f"),
            ("-o a\\,passwd_file=canary", "a\\"),
            ("-o a=canary\\", "`a`"),
            ("-o a=canary\u{1}", "`a`"),
        ] {
            let refused = split(text).unwrap_err().message;
            assert!(refused.contains(named) && refused.contains("otherOpts"), "{text}: {refused}");
            assert!(!refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn what_an_attribute_says_is_not_said_again() {
        for (own, attribute) in OWN {
            for text in [format!("-o {own}=canary"), format!("-oallow_other,{own}")] {
                let refused = split(&text).unwrap_err().message;
                assert!(refused.contains(attribute) && !refused.contains("canary"), "{refused}");
            }
            assert!(mount_option(&format!("{own}=x")).is_err());
        }
    }

    #[test]
    fn an_option_of_the_volume_may_hold_several() {
        let options = mount_option(" umask=022,ro").unwrap();
        assert_eq!(options.iter().map(HelperOption::name).collect::<Vec<_>>(), ["umask", "ro"]);
    }
}
