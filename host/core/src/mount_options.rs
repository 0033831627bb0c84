//! Mount options as people write them: one string may hold several. Pure.
//!
//! Everybody who reads options separates them here, so that nobody sees an option that another one
//! overlooks.

/// The options one by one, white space around them dropped. They are separated at every comma, as
/// the kernel does; only the value of an SELinux label may have commas of its own, between double
/// quotes.
pub fn each(options: &[String]) -> impl Iterator<Item = &str> {
    options
        .iter()
        .flat_map(|text| Split { rest: Some(text) })
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

/// Whether only reading is asked for; the last of several `ro` and `rw` counts.
pub fn ask_for_reading(options: &[String]) -> bool {
    each(options).filter(|option| matches!(*option, "ro" | "rw")).last() == Some("ro")
}

/// Options whose value is an SELinux label.
pub const LABELS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

struct Split<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest?;
        let from = quoted_label_end(text).unwrap_or(0);
        let comma = text.get(from..).and_then(|tail| tail.find(',')).map(|at| from + at);
        let (option, rest) = match comma {
            Some(at) => (text.get(..at)?, text.get(at + 1..)),
            None => (text, None),
        };
        self.rest = rest;
        Some(option)
    }
}

/// Where the quoted label that the text begins with ends.
fn quoted_label_end(text: &str) -> Option<usize> {
    let (name, value) = text.split_once("=\"")?;
    if !LABELS.contains(&name.trim_start()) {
        return None;
    }
    let begin = name.len() + 2;
    Some(begin + value.find('"')? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(options: &[&str]) -> Vec<String> {
        options.iter().map(|option| (*option).to_owned()).collect()
    }

    fn separated(options: &[&str]) -> Vec<String> {
        each(&owned(options)).map(str::to_owned).collect()
    }

    #[test]
    fn options_are_separated_at_every_comma() {
        assert_eq!(separated(&["ro,noatime", " discard ", "", ",,", "a = b"]).len(), 4);
        assert_eq!(separated(&["a=\"b,c\""]), ["a=\"b", "c\""]);
        assert_eq!(separated(&["x\",journal_path=/dev/vda,\""]).len(), 3);
        assert_eq!(separated(&["context=unquoted,ro"]), ["context=unquoted", "ro"]);
    }

    #[test]
    fn a_label_keeps_its_commas() {
        let label = "context=\"system_u:object_r:t:s0:c1,c2\"";
        assert_eq!(separated(&[&format!("noatime,{label},ro")]), ["noatime", label, "ro"]);
        assert_eq!(separated(&["context=\"never,ends"]), ["context=\"never", "ends"]);
    }

    #[test]
    fn the_last_word_about_writing_counts() {
        for (options, reads) in [
            (&["ro"][..], true),
            (&["ro,noatime"], true),
            (&[" ro"], true),
            (&["noatime", "rw,ro"], true),
            (&["ro", "rw"], false),
            (&["errors=remount-ro"], false),
            (&["ro=1"], false),
            (&["x-a=\"ro\""], false),
            (&[], false),
        ] {
            assert_eq!(ask_for_reading(&owned(options)), reads, "{options:?}");
        }
    }
}
