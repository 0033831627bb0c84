//! Whatever the arguments are: one JSON object, one line, and no panic.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde_json::Value;

use super::world::World;

/// Pieces from which argument lists are made: what kubelet sends, and what it never would.
const PIECES: &[&[u8]] = &[
    b"init",
    b"getvolumename",
    b"attach",
    b"waitforattach",
    b"isattached",
    b"mountdevice",
    b"mount",
    b"unmount",
    b"unmountdevice",
    b"detach",
    b"expandvolume",
    b"expandfs",
    b"",
    b"-",
    b"--",
    b"/",
    b"..",
    b"{}",
    b"{",
    b"null",
    b"\"\"",
    b"[[[[",
    b"\xff\xfe",
    b"d-1",
    b"i-1",
    b"node-a",
    b"2147483648",
    b"-1",
    b"18446744073709551616",
    b"/dev/vdb",
    b"wharf:",
    b"wharf:{}",
    b"wharf:{\"volume\":\"d-1\",\"publish-context\":{}}",
    br#"{"kubernetes.io/pvOrVolumeName":"d-1","volumeId":"d-1"}"#,
    br#"{"kubernetes.io/pvOrVolumeName":"\u0000"}"#,
    br#"{"kubernetes.io/pvOrVolumeName":1}"#,
    br#"{"a":"b"}"#,
    b"/var/lib/kubelet/pods/u/volumes/acme~disk/d-1",
    b"/var/lib/kubelet/plugins/kubernetes.io/flexvolume/acme/disk/mounts/d-1",
    b"/var/lib/kubelet/pods/u/volumes/acme~disk/..",
    b"\n\n\n",
    b"{\"status\":\"Success\"}",
    "ü".as_bytes(),
];

/// The generator of Numerical Recipes: the same lists on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn argument(&mut self) -> OsString {
        let mut argument = PIECES[self.below(PIECES.len())].to_vec();
        // Now and then a byte is changed, or two pieces are joined.
        match self.below(8) {
            0 if !argument.is_empty() => {
                let at = self.below(argument.len());
                argument[at] = u8::try_from(self.below(255)).unwrap() + 1;
            }
            1 => argument.extend(PIECES[self.below(PIECES.len())]),
            _ => {}
        }
        argument.retain(|byte| *byte != 0);
        OsString::from_vec(argument)
    }
}

#[test]
fn any_argument_list_is_answered_with_one_json_object() {
    let mut random = Random(20_260_727);
    let mut world = World::new();
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4000 {
        world.driver = if round % 5 == 0 { "share".into() } else { "disk".into() };
        let count = 1 + random.below(7);
        let arguments: Vec<_> = (0..count).map(|_| random.argument()).collect();
        let printed = world.execute(arguments.clone());
        let object: Value = serde_json::from_str(&printed)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {printed:?}"));
        assert!(
            printed.ends_with("}\n") && printed.lines().count() == 1,
            "{arguments:?}: {printed:?}"
        );
        let status = object["status"].as_str().unwrap().to_owned();
        assert!(!printed.contains("defect"), "{arguments:?}: {printed}");
        assert!(object["volumeName"].is_string(), "{printed}");
        assert!(object.get("capabilities").is_none_or(Value::is_object), "{printed}");
        seen.insert(status);
    }
    assert_eq!(
        seen.iter().map(String::as_str).collect::<Vec<_>>(),
        ["Failure", "Not supported", "Success"]
    );
}

#[test]
fn an_argument_of_many_megabytes_is_refused() {
    let world = World::new();
    let huge = format!(r#"{{"kubernetes.io/pvOrVolumeName":"d-1","x":"{}"}}"#, "x".repeat(2 << 20));
    let printed = world.call(&["getvolumename", &huge]);
    assert_eq!(
        printed,
        "{\"status\":\"Failure\",\"message\":\"getvolumename Options illegal: longer than 1048576 \
         bytes\",\"volumeName\":\"\"}\n"
    );
}
