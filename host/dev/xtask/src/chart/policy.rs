//! What the chart's pods and accounts may do: no more than each of them needs. Every rule names the
//! object that breaks it.

use serde_json::Value;

use super::pods::{Container, Pod, is_true, list, pods, text, title};

/// All complaints about what the objects allow.
pub fn complaints(objects: &[Value]) -> Vec<String> {
    let containers = pods(objects).flat_map(Pod::containers);
    let tellers = tellers(objects);
    containers
        .flat_map(|container| of_container(&container))
        .chain(pods(objects).flat_map(|pod| of_pod(pod, &tellers)))
        .chain(objects.iter().flat_map(of_rules))
        .chain(of_bindings(objects))
        .collect()
}

fn of_container(container: &Container<'_>) -> Vec<String> {
    let Container { value, .. } = container;
    let is_privileged = is_true(value, "/securityContext/privileged");
    let adds = list(value, "/securityContext/capabilities/add");
    let drops_all =
        list(value, "/securityContext/capabilities/drop").iter().any(|one| one == "ALL");
    let propagates = list(value, "/volumeMounts")
        .iter()
        .any(|mount| text(mount, "/mountPropagation") == "Bidirectional");
    // It keeps helpers: a bound would end them together, and each has one of its own.
    let keeps_helpers = container.has_argument("mounts") && container.has_argument("serve");
    let image = text(value, "/image");
    let rules = [
        (
            !is_true(value, "/securityContext/readOnlyRootFilesystem"),
            "may write its root file system",
        ),
        (
            is_privileged && !propagates,
            "is privileged and propagates no mount: name the capabilities that it needs",
        ),
        (!is_privileged && !drops_all, "keeps the runtime's usual capabilities: drop ALL first"),
        (
            !is_privileged
                && adds.is_empty()
                && value.pointer("/securityContext/allowPrivilegeEscalation")
                    != Some(&Value::Bool(false)),
            "may gain privileges by executing a file",
        ),
        (value.pointer("/resources/requests/memory").is_none(), "requests no memory"),
        (value.pointer("/resources/requests/cpu").is_none(), "requests no processor time"),
        (
            value.pointer("/resources/limits/memory").is_none() && !keeps_helpers,
            "has no bound on its memory",
        ),
        (
            !image.contains("@sha256:") && image.rsplit('/').next().is_none_or(is_without_version),
            "has an image without a version",
        ),
    ];
    let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
    broken
        .map(|(_, what)| format!("{} {what}", container.title))
        .chain(of_probes(container, keeps_helpers))
        .collect()
}

fn is_without_version(name: &str) -> bool {
    name.split_once(':').is_none_or(|(_, tag)| tag.is_empty() || tag == "latest")
}

fn of_probes(container: &Container<'_>, keeps_helpers: bool) -> Vec<String> {
    let has = |probe: &str| container.value.get(probe).is_some();
    let serves = container.has_argument("csi");
    let has_ports = !list(container.value, "/ports").is_empty();
    let rules = [
        (!container.is_init && has_ports && !has("livenessProbe"), "is never restarted"),
        ((serves || keeps_helpers) && !has("readinessProbe"), "does not say when it is ready"),
        (keeps_helpers && has("livenessProbe"), "is restarted by a probe, which ends helpers"),
    ];
    let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
    broken.map(|(_, what)| format!("{} {what}", container.title)).collect()
}

/// Accounts that may make Events, by a Role that allows nothing else.
fn tellers(objects: &[Value]) -> Vec<&str> {
    let bindings = objects.iter().filter(|binding| binds_events_alone(objects, binding));
    bindings.flat_map(|it| list(it, "/subjects")).map(|it| text(it, "/name")).collect()
}

/// Whether a binding gives the right to make Events in its own namespace, and no other.
fn binds_events_alone(objects: &[Value], binding: &Value) -> bool {
    let is_role = |object: &&Value| {
        text(object, "/kind") == "Role"
            && text(object, "/metadata/name") == text(binding, "/roleRef/name")
            && text(object, "/metadata/namespace") == text(binding, "/metadata/namespace")
    };
    let of_events = |rule: &Value| {
        list(rule, "/apiGroups") == [""]
            && list(rule, "/resources") == ["events"]
            && list(rule, "/verbs") == ["create", "patch"]
    };
    let role = objects.iter().find(is_role);
    text(binding, "/kind") == "RoleBinding"
        && text(binding, "/roleRef/kind") == "Role"
        && role.is_some_and(|role| {
            let rules = list(role, "/rules");
            !rules.is_empty() && rules.iter().all(of_events)
        })
}

/// Tokens are for sidecars, and for who makes Events.
fn of_pod(pod: Pod<'_>, tellers: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let spec = |pointer: &str| pod.template.pointer(&format!("/spec{pointer}"));
    if spec("/automountServiceAccountToken") != Some(&Value::Bool(false)) {
        complaints.push(format!("{}: every container gets a token", title(pod.owner)));
    }
    if spec("/priorityClassName").is_none() {
        complaints.push(format!("{}: is evicted like any other pod", title(pod.owner)));
    }
    let tokens: Vec<&str> = pod
        .volumes()
        .iter()
        .filter(|volume| {
            list(volume, "/projected/sources").iter().any(|source| {
                source
                    .get("serviceAccountToken")
                    .is_some_and(|token| token.get("audience").is_none())
            })
        })
        .map(|volume| text(volume, "/name"))
        .collect();
    for container in pod.containers() {
        let is_sidecar = container
            .value
            .get("args")
            .and_then(Value::as_array)
            .is_some_and(|args| args.iter().any(|one| one == "--leader-election"));
        let has_token = list(container.value, "/volumeMounts")
            .iter()
            .any(|mount| tokens.contains(&text(mount, "/name")));
        let tells = container.has_argument("csi")
            && tellers.contains(&text(pod.template, "/spec/serviceAccountName"));
        if has_token && !is_sidecar && !tells {
            complaints.push(format!("{} gets a token of the API server", container.title));
        }
    }
    let keeps_helpers = pod.containers().any(|one| one.has_argument("mounts"));
    if keeps_helpers && text(pod.owner, "/spec/updateStrategy/type") != "OnDelete" {
        complaints.push(format!("{}: an upgrade would end helpers", title(pod.owner)));
    }
    complaints
}

const WRITING: [&str; 7] =
    ["create", "update", "patch", "delete", "deletecollection", "bind", "escalate"];

fn of_rules(object: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    for rule in list(object, "/rules") {
        let words = |pointer: &str| {
            list(rule, pointer).iter().filter_map(Value::as_str).collect::<Vec<_>>()
        };
        let (resources, verbs) = (words("/resources"), words("/verbs"));
        if words("/apiGroups").contains(&"*") || resources.contains(&"*") || verbs.contains(&"*") {
            complaints.push(format!("{}: a rule allows everything", title(object)));
        }
        let writes = verbs.iter().any(|verb| WRITING.contains(verb));
        if writes && resources.iter().any(|name| name.split('/').next() == Some("nodes")) {
            complaints.push(format!("{}: may write Nodes", title(object)));
        }
        let is_narrow = text(object, "/kind") == "Role" && verbs == ["get"];
        if resources.contains(&"secrets") && !is_narrow {
            complaints.push(format!("{}: may read every Secret", title(object)));
        }
    }
    complaints
}

/// What runs on every node has an account without any right, but for Events where they are wanted.
fn of_bindings(objects: &[Value]) -> Vec<String> {
    let on_nodes: Vec<&str> = pods(objects)
        .filter(|pod| text(pod.owner, "/kind") == "DaemonSet")
        .map(|pod| text(pod.template, "/spec/serviceAccountName"))
        .collect();
    let mut complaints = Vec::new();
    for binding in objects {
        for subject in list(binding, "/subjects") {
            let name = text(subject, "/name");
            let is_of_nodes = on_nodes.contains(&name) && !binds_events_alone(objects, binding);
            if text(subject, "/kind") != "ServiceAccount" || is_of_nodes {
                complaints.push(format!("{}: gives nodes ({name}) a right", title(binding)));
            }
        }
    }
    if on_nodes.iter().any(|name| name.is_empty() || *name == "default") {
        complaints.push("a DaemonSet runs under an account that others may give rights to".into());
    }
    complaints
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn daemon_set() -> Value {
        json!({
            "kind": "DaemonSet", "metadata": {"name": "d"},
            "spec": {"updateStrategy": {"type": "OnDelete"}, "template": {"spec": {
                "automountServiceAccountToken": false, "priorityClassName": "p", "serviceAccountName": "d",
                "containers": [{
                    "name": "c", "image": "registry.example.com:5000/wharf:1.0.0", "args": ["csi"],
                    "securityContext": {
                        "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {"requests": {"cpu": "1", "memory": "1"}, "limits": {"memory": "1"}},
                    "ports": [{"name": "http", "containerPort": 1}],
                    "livenessProbe": {}, "readinessProbe": {},
                }],
            }}},
        })
    }

    fn after(change: impl FnOnce(&mut Value)) -> String {
        let mut object = daemon_set();
        change(&mut object);
        complaints(&[object]).join("\n")
    }

    fn container(object: &mut Value) -> &mut Value {
        &mut object["spec"]["template"]["spec"]["containers"][0]
    }

    #[test]
    fn a_container_with_least_rights_is_fine_and_each_right_too_many_is_named() {
        assert_eq!(after(|_| {}), "");
        let security = |key: &'static str, value: Value| {
            after(move |object| container(object)["securityContext"][key] = value)
        };
        assert!(security("readOnlyRootFilesystem", json!(false)).contains("may write its root"));
        assert!(security("privileged", json!(true)).contains("propagates no mount"));
        assert!(security("capabilities", json!({})).contains("drop ALL"));
        assert!(security("allowPrivilegeEscalation", json!(true)).contains("gain privileges"));
        let set =
            |key: &'static str, value: Value| after(move |object| container(object)[key] = value);
        assert!(set("resources", json!({})).contains("no bound on its memory"));
        assert!(
            set("image", json!("registry.example.com:5000/wharf")).contains("without a version")
        );
        assert!(set("image", json!("wharf:latest")).contains("without a version"));
        let without = |key: &'static str| {
            after(move |object| drop(container(object).as_object_mut().unwrap().remove(key)))
        };
        assert!(without("livenessProbe").contains("never restarted"));
        assert!(without("readinessProbe").contains("when it is ready"));
    }

    #[test]
    fn a_supervisor_is_replaced_by_hand_and_never_by_a_probe() {
        let supervisor = |change: fn(&mut Value)| {
            after(move |object| {
                container(object)["args"] = json!(["mounts", "serve"]);
                container(object).as_object_mut().unwrap().remove("livenessProbe");
                container(object).as_object_mut().unwrap().remove("ports");
                change(object);
            })
        };
        assert_eq!(supervisor(|_| {}), "");
        let probed = supervisor(|object| container(object)["livenessProbe"] = json!({}));
        assert!(probed.contains("ends helpers"), "{probed}");
        let rolled = supervisor(|object| object["spec"]["updateStrategy"]["type"] = json!("X"));
        assert!(rolled.contains("would end helpers"), "{rolled}");
    }

    #[test]
    fn rights_of_nodes_over_nodes_and_over_every_secret_are_named() {
        let role = |resource: &str, verb: &str| {
            let role = json!({
                "kind": "ClusterRole", "metadata": {"name": "r"},
                "rules": [{"apiGroups": [""], "resources": [resource], "verbs": [verb]}],
            });
            complaints(&[role]).join("\n")
        };
        assert_eq!(role("nodes", "get"), "");
        assert!(role("nodes/status", "patch").contains("may write Nodes"));
        assert!(role("secrets", "get").contains("every Secret"));
        assert!(role("*", "get").contains("everything"));
        let binding = json!({
            "kind": "RoleBinding", "metadata": {"name": "b"},
            "subjects": [{"kind": "ServiceAccount", "name": "d"}],
        });
        assert!(complaints(&[daemon_set(), binding])[0].contains("gives nodes (d) a right"));
        let to_events = |verbs: Value| {
            let binding = json!({
                "kind": "RoleBinding", "metadata": {"name": "b", "namespace": "n"},
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "ServiceAccount", "name": "d"}],
            });
            let role = json!({
                "kind": "Role", "metadata": {"name": "r", "namespace": "n"},
                "rules": [{"apiGroups": [""], "resources": ["events"], "verbs": verbs}],
            });
            let mut owner = daemon_set();
            owner["spec"]["template"]["spec"]["volumes"] = json!([{
                "name": "api", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]},
            }]);
            container(&mut owner)["volumeMounts"] = json!([{"name": "api"}]);
            complaints(&[owner, binding, role]).join("\n")
        };
        assert_eq!(to_events(json!(["create", "patch"])), "");
        let wide = to_events(json!(["create", "patch", "list"]));
        assert!(
            wide.contains("gives nodes (d) a right") && wide.contains("gets a token"),
            "{wide}"
        );
        let shared = after(|object| {
            object["spec"]["template"]["spec"]["automountServiceAccountToken"] = json!(true);
        });
        assert!(shared.contains("every container gets a token"), "{shared}");
    }
}
