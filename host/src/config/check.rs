//! What has to fit together in a configuration: names that refer to sections, values that are more
//! than text. Everything wrong is found at once. Looks at nothing but the configuration.

use wharf_core::manifest::ComponentName;
use wharf_core::plan::Step;
use wharf_flexvolume::DriverName;

use super::mistake::{Mistake, meant};
use super::tree::{Tree, Value};
use super::{Config, HelperGrant};
use crate::traces;

/// Everything with which the configuration cannot be used. `tree` is the whole of what was written:
/// a section that cannot be read is there all the same.
pub fn mistakes(config: &Config, tree: &Tree) -> Vec<Mistake> {
    let mut found = Found { tree, mistakes: Vec::new() };
    found.drivers(config);
    for (name, backend) in &config.backend {
        found.component(backend.component(name), &["backend", name]);
        for (index, grant) in backend.grant.iter().enumerate() {
            let path = ["backend", name, "grant", &index.to_string()];
            let who = format!("a grant of backend \"{name}\"");
            found.section("endpoint", &grant.endpoint, &who, &join(&path, "endpoint"));
            if let Some(account) = &grant.account {
                found.section("account", account, &who, &join(&path, "account"));
            }
        }
        found.helpers(name, &backend.node.helpers);
    }
    for (name, account) in &config.account {
        if found.is_written(&["account", name, "component"]) {
            found.component(&account.component, &["account", name, "component"]);
        }
        for endpoint in &account.endpoints {
            let path = ["account", name, "endpoints"];
            found.section("endpoint", endpoint, &format!("account \"{name}\""), &path);
        }
    }
    for (id, endpoint) in &config.endpoint {
        if !found.is_written(&["endpoint", id, "url"]) {
            continue;
        }
        if let Err(error) = wharf_runtime::Endpoint::new(id, &endpoint.url) {
            let reason = match endpoint.url.contains('@') {
                true => error.reason.replace(&endpoint.url, "the URL"),
                false => error.reason,
            };
            found.add(&["endpoint", id, "url"], format!("endpoint \"{id}\": {reason}"), "");
        }
    }
    if let Some(endpoint) = &config.traces.endpoint {
        found.traces(endpoint);
    }
    found.flexvolume(config);
    if let Err(problem) = config.limits.check(config.shares()) {
        found.add(&["limits"], problem, "");
    }
    found.mistakes
}

/// What is allowed and hardly meant.
pub fn doubts(config: &Config, tree: &Tree) -> Vec<Mistake> {
    let mut found = Found { tree, mistakes: Vec::new() };
    if config.driver.is_empty() {
        found.add(
            &[],
            "there is no driver to serve".into(),
            "add a section such as [driver.\"disk.example.com\"]",
        );
    }
    for (key, path) in
        [("state", &config.state), ("store", &config.store), ("kubelet-root", &config.kubelet_root)]
    {
        if !path.is_absolute() {
            let problem =
                format!("`{key}` is no absolute path, so it lies where each process was started");
            found.add(&[key], problem, "begin it with `/`");
        }
    }
    for (name, backend) in &config.backend {
        for (index, grant) in backend.grant.iter().enumerate() {
            if grant.actions.is_empty() && grant.paths.is_empty() {
                let problem = format!("this grant of backend \"{name}\" grants nothing");
                found.add(
                    &["backend", name, "grant", &index.to_string()],
                    problem,
                    "name `actions` or `paths`",
                );
            }
        }
        for step in backend.node.steps.iter().filter(|step| !Step::NAMES.contains(&step.as_str())) {
            let problem = format!(
                "backend \"{name}\" is granted the step `{step}`, which this build does not have"
            );
            let fix = meant(step, Step::NAMES.iter().copied()).map_or_else(
                || format!("it has {}", Step::NAMES.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            found.add(&["backend", name, "node", "steps"], problem, &fix);
        }
        if !config.driver.values().any(|driver| driver.backend == *name) {
            found.add(
                &["backend", name],
                format!("no driver has backend \"{name}\""),
                "name it in a section [driver.…], or remove it",
            );
        }
    }
    found.mistakes
}

struct Found<'a> {
    tree: &'a Tree,
    mistakes: Vec<Mistake>,
}

impl Found<'_> {
    fn add(&mut self, path: &[&str], problem: String, fix: &str) {
        let mistake = Mistake::new(problem).of(path).fix(fix);
        let at = self.tree.origin_of(&mistake.path);
        self.mistakes.push(mistake.at(at));
    }

    fn traces(&mut self, endpoint: &str) {
        let path = ["traces", "endpoint"];
        if !traces::ARE_BUILT {
            let problem = "traces are asked for, and this build makes none".to_owned();
            self.add(&path, problem, "remove it, or build with `--features otlp`");
        } else if !["http://", "https://"].iter().any(|start| endpoint.starts_with(start)) {
            let problem = "a collector's address has to begin with `http://` or `https://`";
            self.add(&path, problem.to_owned(), "OTLP over HTTP is spoken, mostly at port 4318");
        }
    }

    /// Whether it stands in a source, and is no stand-in for what is missing.
    fn is_written(&self, path: &[&str]) -> bool {
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        self.tree.find(&path).is_some()
    }

    fn has_flexvolume_driver(&self, name: &str) -> bool {
        self.tree.keys(&["driver"]).into_iter().any(|driver| {
            let path = ["driver", driver, "flexvolume"].map(str::to_owned);
            match self.tree.find(&path).map(|tree| &tree.value) {
                Some(Value::List(names)) => names
                    .iter()
                    .any(|tree| matches!(&tree.value, Value::Text(text) if text == name)),
                _ => false,
            }
        })
    }

    /// This must be a name that a component can have.
    fn component(&mut self, name: &str, path: &[&str]) {
        if let Err(error) = name.parse::<ComponentName>() {
            self.add(path, error.to_string(), "`component` names it as the store does");
        }
    }

    /// There must be a section of this kind and name.
    fn section(&mut self, kind: &str, name: &str, who: &str, path: &[&str]) {
        let known = self.tree.keys(&[kind]);
        if known.contains(&name) || !self.is_written(path) {
            return;
        }
        let fix = match meant(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "add it".to_owned(),
            None => format!("add it, or name one that there is: {}", known.join(", ")),
        };
        let section = super::mistake::setting(&[kind.to_owned(), name.to_owned()]);
        self.add(
            path,
            format!("{who} names {kind} \"{name}\", and there is no section [{section}]"),
            &fix,
        );
    }

    fn drivers(&mut self, config: &Config) {
        for (name, driver) in &config.driver {
            self.section(
                "backend",
                &driver.backend,
                &format!("driver \"{name}\""),
                &["driver", name, "backend"],
            );
            for flexvolume in &driver.flexvolume {
                let path = ["driver", name, "flexvolume"];
                if let Err(error) = DriverName::parse(flexvolume) {
                    self.add(
                        &path,
                        error.message.clone(),
                        error.hint.as_deref().unwrap_or_default(),
                    );
                }
                let other = config.driver.iter().find(|(other, section)| {
                    *other < name && section.flexvolume.contains(flexvolume)
                });
                if let Some((other, _)) = other {
                    let problem =
                        format!("FlexVolume driver \"{flexvolume}\" is of \"{other}\" already");
                    self.add(&path, problem, "each belongs to one driver");
                }
            }
        }
    }

    fn helpers(
        &mut self,
        backend: &str,
        helpers: &std::collections::BTreeMap<String, HelperGrant>,
    ) {
        for (helper, grant) in helpers {
            for account in &grant.accounts {
                let path = ["backend", backend, "node", "helpers", helper, "accounts"];
                let who = format!("helper \"{helper}\" of backend \"{backend}\"");
                self.section("account", account, &who, &path);
            }
        }
    }

    fn flexvolume(&mut self, config: &Config) {
        for name in config.flexvolume.init.keys() {
            if !self.has_flexvolume_driver(name) {
                let problem = format!("[flexvolume.init.\"{name}\"] is of no driver");
                self.add(
                    &["flexvolume", "init", name],
                    problem,
                    "name it in `flexvolume` of a section [driver.…]",
                );
            }
        }
        if config
            .flexvolume
            .node_name
            .as_deref()
            .is_some_and(|rule| !["match", "any"].contains(&rule))
        {
            self.add(
                &["flexvolume", "node-name"],
                "that is no rule for node names".into(),
                "allowed are \"match\" and \"any\"",
            );
        }
    }
}

fn join<'a>(path: &[&'a str], last: &'a str) -> Vec<&'a str> {
    path.iter().copied().chain([last]).collect()
}
