//! What only one crate may do, and what no host crate may know: rules that Cargo manifests alone
//! cannot express.

use super::source::{Source, has_word};

/// Words that may stand only in some places.
struct Boundary {
    /// Whole words, as they appear in code.
    words: &'static [&'static str],
    /// The rule holds below these directories; empty: everywhere.
    inside: &'static [&'static str],
    /// Directories and files that are free of it.
    except: &'static [(&'static str, Why)],
    /// The rule, for the complaint.
    rule: &'static str,
}

type Why = &'static str;

const THIS_FILE: (&str, Why) = ("host/dev/xtask/src/tidy/boundaries.rs", "it has to say the word");

const BOUNDARIES: &[Boundary] = &[
    Boundary {
        words: &["process::Command", "Command::new", "posix_spawn", "libc::fork", "execve"],
        inside: &["host/"],
        except: &[
            ("host/node/", "mount helpers and file-system tools are its business"),
            (
                "host/modules/src/compile.rs",
                "it runs this binary again, with limits, to compile a component that nobody \
                 trusts yet",
            ),
            (
                "host/src/doctor/children.rs",
                "it runs this binary again, one examination in each process, so that one which \
                 hangs can be left behind",
            ),
            ("host/dev/xtask/", "it runs cargo"),
            ("host/dev/cloudsim/", "it stands for a machine, and is no part of the product"),
        ],
        rule: "only `wharf-node` starts other programs",
    },
    Boundary {
        words: &["wasmtime", "wasmtime_wasi"],
        inside: &["host/"],
        except: &[("host/runtime/", "it is the adapter to wasmtime"), THIS_FILE],
        rule: "only `wharf-runtime` knows wasmtime",
    },
    Boundary {
        words: &["tonic", "tonic_prost"],
        inside: &["host/"],
        except: &[
            ("host/csi/", "it is the front end that speaks gRPC"),
            ("host/dev/load/", "it measures that front end from outside"),
            THIS_FILE,
        ],
        rule: "only `wharf-csi` knows gRPC",
    },
    Boundary {
        words: &[
            "std::fs",
            "std::net",
            "std::process",
            "std::env",
            "std::io",
            "time::Instant",
            "SystemTime",
            "thread::sleep",
            "tokio",
        ],
        inside: &["host/core/src/"],
        except: &[],
        rule: "`wharf-core` decides; files, network, processes, environment and clocks are behind \
               its ports",
    },
    Boundary {
        words: &[
            "alicloud",
            "aliyun",
            "alibaba",
            "alibabacloud",
            "ecs",
            "diskplugin",
            "nasplugin",
            "ossplugin",
        ],
        inside: &[
            "host/core/",
            "host/runtime/",
            "host/modules/",
            "host/node/",
            "host/csi/",
            "host/flexvolume/",
            "host/src/",
        ],
        except: &[],
        rule: "no host code names a cloud or a backend",
    },
];

/// All complaints about words where they may not stand.
pub fn complaints(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .flat_map(|source| BOUNDARIES.iter().flat_map(move |boundary| boundary.complaints(source)))
        .collect()
}

impl Boundary {
    fn complaints(&self, source: &Source) -> Vec<String> {
        let inside = self.inside.is_empty()
            || self.inside.iter().any(|directory| source.path.starts_with(directory));
        if !inside || self.except.iter().any(|(free, _)| source.path.starts_with(free)) {
            return Vec::new();
        }
        let complaint = |number: usize, word: &str| {
            format!("{}:{number}: `{word}`: {}", source.path, self.rule)
        };
        source
            .code()
            .filter_map(|(number, line)| self.word_in(line).map(|word| complaint(number, word)))
            .collect()
    }

    fn word_in(&self, line: &str) -> Option<&'static str> {
        let line = line.to_lowercase();
        self.words.iter().copied().find(|word| has_word(&line, &word.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::source;
    use super::*;

    #[test]
    fn every_boundary_is_crossed_by_its_own_words_and_free_where_it_says() {
        for boundary in BOUNDARIES {
            for word in boundary.words {
                let inside = boundary.inside.first().unwrap();
                let crossing = source(&format!("{inside}x/y.rs"), &format!("let x = {word}(1);"));
                assert_eq!(boundary.complaints(&crossing).len(), 1, "{word}");
                for (free, _) in boundary.except {
                    assert!(
                        boundary
                            .complaints(&source(&format!("{free}y.rs"), &format!("{word}\n")))
                            .is_empty(),
                        "{word} in {free}"
                    );
                }
            }
        }
    }

    #[test]
    fn comments_and_tests_may_name_a_cloud_and_strings_may_not() {
        let text = "//! For ECS.\n/// `diskplugin.csi.alibabacloud.com`\n#[cfg(test)]\nmod tests \
                    {\n    \"ecs\"\n}\n";
        assert!(complaints(&[source("host/core/src/a.rs", text)]).is_empty());
        assert_eq!(complaints(&[source("host/core/src/a.rs", "let name = \"ECS\";\n")]).len(), 1);
    }
}
