//! Names by which the chart's objects mean each other, and that the API's schemas do not check.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pods::{Pod, is_true, list, pods, text, title};

/// Kinds that belong to no namespace.
const OF_THE_CLUSTER: [&str; 4] =
    ["ClusterRole", "ClusterRoleBinding", "CSIDriver", "StorageClass"];
/// The API's bound for the name of a port.
const MAX_PORT_NAME: usize = 15;

/// All complaints about names.
pub fn complaints(objects: &[Value]) -> Vec<String> {
    let names: BTreeSet<(&str, &str)> = objects
        .iter()
        .map(|object| (text(object, "/kind"), text(object, "/metadata/name")))
        .collect();
    let places: BTreeSet<(&str, &str, &str)> = objects
        .iter()
        .map(|object| {
            let namespace = text(object, "/metadata/namespace");
            (text(object, "/kind"), namespace, text(object, "/metadata/name"))
        })
        .collect();
    let mut complaints = Vec::new();
    if places.len() < objects.len() {
        complaints.push("two objects have one name".to_owned());
    }
    complaints.extend(objects.iter().flat_map(of_namespace));
    for pod in pods(objects) {
        complaints.extend(of_pod(pod, &names));
    }
    complaints.extend(of_drivers(objects));
    complaints
}

fn of_namespace(object: &Value) -> Option<String> {
    let kind = text(object, "/kind");
    let has = object.pointer("/metadata/namespace").is_some();
    (OF_THE_CLUSTER.contains(&kind) == has)
        .then(|| format!("{}: a namespace is missing, or one too many", title(object)))
}

fn of_pod(pod: Pod<'_>, names: &BTreeSet<(&str, &str)>) -> Vec<String> {
    let mut complaints = Vec::new();
    let owner = title(pod.owner);
    let labels = pod.template.pointer("/metadata/labels");
    let selector = pod.owner.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let selects = selector.is_some_and(|selector| {
        !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value))
    });
    if !selects {
        complaints.push(format!("{owner}: selects other pods than its own"));
    }
    let account = text(pod.template, "/spec/serviceAccountName");
    if !names.contains(&("ServiceAccount", account)) {
        complaints.push(format!("{owner}: there is no ServiceAccount {account}"));
    }
    let there: BTreeSet<&str> = pod.volumes().iter().map(|one| text(one, "/name")).collect();
    if there.len() < pod.volumes().len() {
        complaints.push(format!("{owner}: two volumes have one name"));
    }
    let mut used = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for container in pod.containers() {
        let mut places = BTreeSet::new();
        for mount in list(container.value, "/volumeMounts") {
            used.insert(text(mount, "/name"));
            if !places.insert(text(mount, "/mountPath")) {
                complaints.push(format!("{} mounts twice at one place", container.title));
            }
        }
        for port in list(container.value, "/ports") {
            let name = text(port, "/name");
            let is_new = ports.insert(name.to_owned())
                && ports
                    .insert(port.get("containerPort").map(Value::to_string).unwrap_or_default());
            if !is_new || name.is_empty() || name.len() > MAX_PORT_NAME {
                complaints.push(format!("{}: port {name} cannot be used", container.title));
            }
        }
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let port = text(container.value, &format!("/{probe}/httpGet/port"));
            let is_own =
                list(container.value, "/ports").iter().any(|one| text(one, "/name") == port);
            if !port.is_empty() && !is_own {
                complaints.push(format!("{}: its {probe} asks port {port}", container.title));
            }
        }
    }
    complaints.extend(
        used.symmetric_difference(&there)
            .map(|name| format!("{owner}: volume {name} is missing, or is mounted nowhere")),
    );
    for volume in pod.volumes() {
        let map = text(volume, "/configMap/name");
        // Others are the administrator's, who named them.
        if map.contains("wharf") && !names.contains(&("ConfigMap", map)) {
            complaints.push(format!("{owner}: there is no ConfigMap {map}"));
        }
    }
    complaints
}

/// A driver that attaches has its attacher, and every driver its provisioner.
fn of_drivers(objects: &[Value]) -> Vec<String> {
    let sidecars: Vec<String> = pods(objects)
        .flat_map(Pod::containers)
        .flat_map(|one| list(one.value, "/args").to_vec())
        .filter_map(|argument| argument.as_str().map(str::to_owned))
        .filter(|argument| argument.starts_with("--csi-address="))
        .collect();
    let count = |driver: &str| {
        sidecars.iter().filter(|address| address.contains(&format!("/{driver}/"))).count()
    };
    let of_driver = |object: &&Value| text(object, "/kind") == "CSIDriver";
    let wrong = |object: &&Value| {
        let least = if is_true(object, "/spec/attachRequired") { 2 } else { 1 };
        count(text(object, "/metadata/name")) < least
    };
    objects
        .iter()
        .filter(of_driver)
        .filter(wrong)
        .map(|object| format!("{}: a sidecar that it needs is missing", title(object)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Vec<Value> {
        let pod = json!({
            "serviceAccountName": "wharf",
            "containers": [{
                "name": "c",
                "args": ["--csi-address=/csi/d.example/controller.sock"],
                "ports": [{"name": "http", "containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": "http"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }],
            "volumes": [{"name": "v", "configMap": {"name": "wharf"}}],
        });
        let metadata = json!({"name": "wharf", "namespace": "kube-system"});
        vec![
            json!({"kind": "ServiceAccount", "metadata": metadata}),
            json!({"kind": "ConfigMap", "metadata": metadata}),
            json!({"kind": "CSIDriver", "metadata": {"name": "d.example"}, "spec": {"attachRequired": false}}),
            json!({"kind": "Deployment", "metadata": metadata, "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod},
            }}),
        ]
    }

    fn after(change: impl FnOnce(&mut Vec<Value>)) -> String {
        let mut all = objects();
        change(&mut all);
        complaints(&all).join("\n")
    }

    #[test]
    fn objects_that_mean_each_other_are_fine_and_a_name_of_nothing_is_told() {
        assert_eq!(after(|_| {}), "");
        fn container(all: &mut [Value]) -> &mut Value {
            &mut all[3]["spec"]["template"]["spec"]["containers"][0]
        }
        let told = |wanted: &str, change: fn(&mut Vec<Value>)| {
            let said = after(change);
            assert!(said.contains(wanted), "{wanted}: {said}");
        };
        told("no ServiceAccount wharf", |all| drop(all.remove(0)));
        told("no ConfigMap wharf", |all| drop(all.remove(1)));
        told("one name", |all| all.push(all[0].clone()));
        told("a namespace is missing", |all| {
            drop(all[0]["metadata"].as_object_mut().unwrap().remove("namespace"));
        });
        told("one too many", |all| all[2]["metadata"]["namespace"] = json!("x"));
        told("selects other pods", |all| {
            all[3]["spec"]["selector"]["matchLabels"]["a"] = json!("c")
        });
        told("volume w is missing", |all| container(all)["volumeMounts"][0]["name"] = json!("w"));
        told("asks port other", |all| {
            container(all)["livenessProbe"]["httpGet"]["port"] = json!("other");
        });
        told("cannot be used", |all| {
            container(all)["ports"][0]["name"] = json!("sixteen-letters-")
        });
        told("sidecar that it needs", |all| all[2]["spec"]["attachRequired"] = json!(true));
    }
}
