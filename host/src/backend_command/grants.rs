//! What a component asks for against what it is granted, when it is installed.

use std::path::Path;

use wharf_core::manifest::{EndpointRequest, Manifest, ShortText, World};
use wharf_core::policy::{EndpointGrant, Lacking};

use crate::config::grants::{self, Granted, GrantedNode};
use crate::config::{self, Config};

/// The operator's word about what a component lacks.
pub struct Grants<'a> {
    /// The configuration's file.
    pub path: &'a Path,
    /// What it says.
    pub config: &'a Config,
    /// Grant it.
    pub write: bool,
    /// The account for requests that are signed, where that is not clear.
    pub account: Option<String>,
}

impl Grants<'_> {
    /// Shows the difference, or grants it. Returns what to show a person, and what is still lacking
    /// afterwards.
    ///
    /// # Errors
    /// What is to be granted and cannot be.
    pub fn settle(&self, manifest: &Manifest) -> Result<(String, Option<Lacking>), String> {
        if manifest.world != World::Backend {
            return Ok((self.of_account(manifest), None));
        }
        let sections: Vec<_> = sections(self.config, &manifest.name).collect();
        if sections.is_empty() {
            return Ok((
                format!(
                    "\nno section [backend.…] of the configuration uses it; write [backend.{}]",
                    manifest.name
                ),
                None,
            ));
        }
        let mut more = grants::Grants::default();
        let mut left = Lacking::default();
        for (section, backend) in sections {
            let lacking = Lacking::of(manifest, &backend.grant, &backend.node);
            let (granted, remaining) = match self.write {
                true => self.granted(section, backend, lacking)?,
                false => (Granted::default(), lacking),
            };
            more.backend.insert(section.clone(), granted);
            left = remaining;
        }
        let mut note = String::new();
        more.backend.retain(|_, granted| {
            !granted.grant.is_empty() || granted.node != GrantedNode::default()
        });
        if !more.backend.is_empty() {
            let file = grants::add(self.path, &manifest.name, &more)?;
            note = format!(
                "\nwhat it asks for is granted in {}; running servers follow by themselves, in seconds",
                file.display()
            );
        }
        if left.is_nothing() {
            return Ok((note, None));
        }
        Ok((note + &describe(&left, self.config), Some(left)))
    }

    /// What to write, and what cannot be granted because the configuration has no such endpoint.
    fn granted(
        &self,
        section: &str,
        backend: &config::Backend,
        lacking: Lacking,
    ) -> Result<(Granted, Lacking), String> {
        let Lacking { request, steps, filesystems, block_queue } = lacking;
        let (known, unknown): (Vec<_>, Vec<_>) = request
            .into_iter()
            .partition(|request| self.config.endpoint.contains_key(&*request.endpoint));
        let mut grant = Vec::new();
        for EndpointRequest { endpoint, signed, actions, paths } in known {
            let account = signed.then(|| self.account_for(section, backend)).transpose()?;
            let text = |words: Vec<ShortText<512>>| words.into_iter().map(String::from).collect();
            grant.push(EndpointGrant {
                endpoint: endpoint.into(),
                account,
                actions: text(actions),
                paths: text(paths),
            });
        }
        let node = GrantedNode { steps, filesystems, block_queue };
        Ok((Granted { grant, node }, Lacking { request: unknown, ..Lacking::default() }))
    }

    /// The account that is meant: the one that is named, that the backend has already, or that is
    /// the only one.
    fn account_for(&self, section: &str, backend: &config::Backend) -> Result<String, String> {
        if let Some(account) = &self.account {
            return match self.config.account.contains_key(account) {
                true => Ok(account.clone()),
                false => Err(format!(
                    "--account {account}: there is no section [account.{account}] in {}",
                    self.path.display()
                )),
            };
        }
        let mut used: Vec<&String> =
            backend.grant.iter().filter_map(|grant| grant.account.as_ref()).collect();
        used.sort();
        used.dedup();
        let known: Vec<&String> = self.config.account.keys().collect();
        match (used.as_slice(), known.as_slice()) {
            ([account], _) | ([], [account]) => Ok((*account).clone()),
            (_, known) => Err(format!(
                "[backend.{section}] asks for signed requests, and it is not clear by whose keys; \
                 say --account and one of: {}",
                if known.is_empty() {
                    "none, there is no section [account.…]".to_owned()
                } else {
                    known.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
                }
            )),
        }
    }

    /// An authenticator may use whatever endpoints its account names.
    fn of_account(&self, manifest: &Manifest) -> String {
        let accounts = self.config.account.iter();
        let accounts = accounts.filter(|(_, account)| *account.component == *manifest.name);
        let mut note = String::new();
        for (name, account) in accounts {
            let asked = manifest.request.iter().map(|request| &*request.endpoint);
            let left: Vec<_> = asked
                .filter(|endpoint| !account.endpoints.iter().any(|granted| granted == endpoint))
                .collect();
            if !left.is_empty() {
                note.push_str(&format!(
                    "\naccount \"{name}\" does not let it reach {}; some sources of credentials \
                     need that: `endpoints` of [account.{name}] grants it",
                    left.join(", ")
                ));
            }
        }
        note
    }
}

/// The sections of backends that a component serves.
pub fn sections<'a>(
    config: &'a Config,
    component: &'a str,
) -> impl Iterator<Item = (&'a String, &'a config::Backend)> {
    let is_its = move |(section, backend): &(&String, &config::Backend)| {
        backend.component(section) == component
    };
    config.backend.iter().filter(is_its)
}

fn describe(lacking: &Lacking, config: &Config) -> String {
    let mut note = String::from("\nit asks for more than is granted:");
    for request in &lacking.request {
        let what: Vec<&str> =
            request.actions.iter().chain(&request.paths).map(|word| &**word).collect();
        let what = what.join(", ");
        let how = if request.signed { "signed" } else { "unsigned" };
        let missing = match config.endpoint.contains_key(&*request.endpoint) {
            true => "",
            false => " (the configuration has no such endpoint)",
        };
        note.push_str(&format!("\n  endpoint {}{missing}, {how}: {what}", request.endpoint));
    }
    for (what, words) in [
        ("node steps", &lacking.steps),
        ("file systems", &lacking.filesystems),
        ("block-queue settings", &lacking.block_queue),
    ] {
        if !words.is_empty() {
            note.push_str(&format!("\n  {what}: {}", words.join(", ")));
        }
    }
    note.push_str("\n`wharf backend install NAME FILE --grant` grants what it can");
    note
}

#[cfg(test)]
mod tests {
    use wharf_core::manifest::NodeRequest;

    use super::*;
    use crate::config::Loaded;

    const CONFIG: &str = "[endpoint.api]\nurl = \"https://api\"\n[account.a]\ncomponent = \
                          \"auth\"\nsource = []\n[backend.disk.node]\nsteps = [\"format\"]\n\
                          [driver.d]\nbackend = \"disk\"\n";

    fn manifest() -> Manifest {
        let request = |endpoint: &str| EndpointRequest {
            endpoint: endpoint.parse().unwrap(),
            signed: true,
            actions: vec!["AttachDisk".parse().unwrap()],
            paths: Vec::new(),
        };
        Manifest {
            name: "disk".parse().unwrap(),
            version: "1".parse().unwrap(),
            world: World::Backend,
            contract: "c".parse().unwrap(),
            request: vec![request("api"), request("other")],
            node: NodeRequest {
                steps: ["format", "grow"].map(|it| it.parse().unwrap()).to_vec(),
                ..Default::default()
            },
        }
    }

    fn settle(
        config: &str,
        write: bool,
        account: Option<&str>,
    ) -> (Result<(String, Option<Lacking>), String>, Config) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wharf.toml");
        std::fs::write(&path, config).unwrap();
        let loaded = Loaded::load(&path).unwrap();
        let account = account.map(str::to_owned);
        let grants = Grants { path: &path, config: &loaded.config, write, account };
        let settled = grants.settle(&manifest());
        (settled, Config::load(&path).unwrap())
    }

    #[test]
    fn the_difference_is_shown_and_nothing_is_granted_without_a_word() {
        let (settled, after) = settle(CONFIG, false, None);
        let (note, lacking) = settled.unwrap();
        assert!(note.contains("endpoint api, signed: AttachDisk"), "{note}");
        assert!(note.contains("other (the configuration has no such endpoint)"), "{note}");
        assert!(note.contains("node steps: grow") && note.contains("--grant"), "{note}");
        assert_eq!(lacking.unwrap().request.len(), 2);
        assert!(after.backend["disk"].grant.is_empty());
    }

    #[test]
    fn what_is_granted_is_in_force_with_the_next_reading_of_the_configuration() {
        let (settled, after) = settle(CONFIG, true, None);
        let (note, lacking) = settled.unwrap();
        assert!(note.contains("grants.d/disk.toml"), "{note}");
        assert_eq!(lacking.unwrap().request.first().unwrap().endpoint.to_string(), "other");
        let disk = &after.backend["disk"];
        assert_eq!(disk.node.steps, ["format", "grow"]);
        assert_eq!(disk.grant.first().unwrap().account.as_deref(), Some("a"));
    }

    #[test]
    fn whose_keys_sign_is_asked_where_it_is_not_clear() {
        let two = format!("{CONFIG}[account.b]\ncomponent = \"auth\"\nsource = []\n");
        let (refused, _) = settle(&two, true, None);
        assert!(refused.unwrap_err().contains("say --account and one of: a, b"));
        let (_, after) = settle(&two, true, Some("b"));
        let account = after.backend["disk"].grant.first().unwrap().account.clone();
        assert_eq!(account.as_deref(), Some("b"));
        let (refused, _) = settle(&two, true, Some("c"));
        assert!(refused.unwrap_err().contains("no section [account.c]"));
    }
}
