//! The FlexVolume half of Kubernetes: which call-outs kube-controller-manager and kubelet make,
//! with which arguments, what they do themselves around them, and what they remember
//! (`pkg/volume/flexvolume` of Kubernetes 1.36).

mod call_out;
mod driver_status;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Map, Value};

use self::call_out::{Executed, execute};
pub use self::driver_status::{Capabilities, DriverStatus, Verdict, read_status};
use super::event::{Audience, Event, Happening, Part, silence};
use super::retry::Retry;
use super::{PlayError, paths};

/// Plays kube-controller-manager and, on every [`FlexNode`], kubelet, for one driver.
#[derive(Clone)]
pub struct FlexPlayer {
    driver: String,
    retry: Retry,
    audience: Audience,
    disturb: Option<Disturbance>,
}

/// Runs a call-out in the caller's own way (under a tracer, say) instead of just executing it.
pub type Disturbance =
    Arc<dyn Fn(std::process::Command) -> std::io::Result<std::process::ExitStatus> + Send + Sync>;

/// A machine with an installed driver: a kubelet, or a controller manager.
#[derive(Clone)]
pub struct FlexNode {
    /// The node's name in the cluster.
    pub name: String,
    /// `--volume-plugin-dir`.
    pub plugins: PathBuf,
    /// kubelet's root directory.
    pub root: PathBuf,
    plugin: Arc<Mutex<Plugin>>,
}

/// What Kubernetes holds of a probed plugin.
#[derive(Debug, Default)]
struct Plugin {
    probed: Option<Capabilities>,
    unsupported: BTreeSet<String>,
}

impl FlexNode {
    /// A machine whose plugin directory and kubelet root are these.
    pub fn new(
        name: impl Into<String>,
        plugins: impl Into<PathBuf>,
        root: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            plugins: plugins.into(),
            root: root.into(),
            plugin: Arc::default(),
        }
    }

    /// A file event in the plugin directory, or a restart: the next call probes again, and what was
    /// "Not supported" is asked again.
    pub fn forget(&self) {
        *self.plugin.lock().unwrap_or_else(PoisonError::into_inner) = Plugin::default();
    }
}

/// A PersistentVolume of type `flexVolume`.
#[derive(Debug, Clone)]
pub struct FlexVolume {
    /// The PersistentVolume's name.
    pub name: String,
    /// `flexVolume.fsType`.
    pub fs_type: String,
    /// The claim's `readOnly`.
    pub read_only: bool,
    /// `flexVolume.options`.
    pub options: BTreeMap<String, String>,
    /// The secret's data, before base64.
    pub secret: BTreeMap<String, Vec<u8>>,
    /// The pod's `fsGroup`.
    pub fs_group: Option<u32>,
}

impl FlexVolume {
    /// A volume with these options and nothing else.
    pub fn new(name: &str, fs_type: &str, options: &[(&str, &str)]) -> Self {
        Self {
            name: name.to_owned(),
            fs_type: fs_type.to_owned(),
            read_only: false,
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            secret: BTreeMap::new(),
            fs_group: None,
        }
    }

    /// Where kubelet has it once per node.
    pub fn global_mount(&self, node: &FlexNode, driver: &str) -> PathBuf {
        paths::flex_global(&node.root, driver, &self.name)
    }

    /// Where a pod has it.
    pub fn pod_mount(&self, node: &FlexNode, driver: &str, pod: &str) -> PathBuf {
        paths::flex_pod(&node.root, pod, driver, &self.name)
    }

    /// What kubelet passes after the word `mount`.
    pub fn mount_arguments(&self, node: &FlexNode, driver: &str, pod: &str) -> Vec<String> {
        let target = self.pod_mount(node, driver, pod);
        vec![text(&target), self.options_json(self.pod_options(pod))]
    }

    /// `$J`: keys sorted, the user's options last, so that they win.
    fn options_json(&self, extra: Map<String, Value>) -> String {
        let mut map: Map<String, Value> = extra;
        map.insert("kubernetes.io/fsType".into(), self.fs_type.clone().into());
        map.insert(
            "kubernetes.io/readwrite".into(),
            if self.read_only { "ro" } else { "rw" }.into(),
        );
        map.insert("kubernetes.io/pvOrVolumeName".into(), self.name.clone().into());
        for (key, value) in &self.options {
            map.insert(key.clone(), value.clone().into());
        }
        Value::Object(map).to_string()
    }

    fn pod_options(&self, pod: &str) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("kubernetes.io/pod.name".into(), format!("pod-{pod}").into());
        map.insert("kubernetes.io/pod.namespace".into(), "default".into());
        map.insert("kubernetes.io/pod.uid".into(), pod.into());
        map.insert("kubernetes.io/serviceAccount.name".into(), "default".into());
        if let Some(group) = self.fs_group {
            map.insert("kubernetes.io/mounterArgs.FsGroup".into(), group.to_string().into());
        }
        for (key, value) in &self.secret {
            map.insert(
                format!("kubernetes.io/secret/{key}"),
                base64::engine::general_purpose::STANDARD.encode(value).into(),
            );
        }
        map
    }
}

/// One call-out, for the audience.
struct Ask<'a> {
    part: Part,
    node: &'a FlexNode,
    volume: &'a str,
    call: &'a str,
    arguments: Vec<String>,
    /// What a person wants to see of the arguments.
    with: String,
}

impl FlexPlayer {
    /// Plays for `vendor/driver`.
    pub fn new(driver: impl Into<String>) -> Self {
        Self {
            driver: driver.into(),
            retry: Retry::brisk(Duration::from_secs(60)),
            audience: silence(),
            disturb: None,
        }
    }

    /// Repeats like this instead of briskly for a minute.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Tells somebody.
    #[must_use]
    pub fn with_audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// Executes call-outs (not `init`) this way.
    #[must_use]
    pub fn with_disturbance(mut self, disturb: Disturbance) -> Self {
        self.disturb = Some(disturb);
        self
    }

    /// `vendor/driver`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The executable in a node's plugin directory.
    pub fn executable(&self, node: &FlexNode) -> PathBuf {
        let name = self.driver.rsplit('/').next().unwrap_or_default();
        node.plugins.join(self.driver.replace('/', "~")).join(name)
    }

    /// `init`, as on every probe.
    ///
    /// # Errors
    /// When the plugin would not be loaded.
    pub fn probe(&self, part: Part, node: &FlexNode) -> Result<Capabilities, PlayError> {
        if let Some(known) = node.plugin.lock().unwrap_or_else(PoisonError::into_inner).probed {
            return Ok(known);
        }
        let ask = Ask {
            part,
            node,
            volume: "",
            call: "init",
            arguments: Vec::new(),
            with: String::new(),
        };
        let status = self.once(&ask, None)?;
        let capabilities = status.capabilities.ok_or_else(|| PlayError::Unreadable {
            call: "init".to_owned(),
            what: "\"capabilities\": null, of which kubelet dies".to_owned(),
        })?;
        let mut plugin = node.plugin.lock().unwrap_or_else(PoisonError::into_inner);
        *plugin = Plugin { probed: Some(capabilities), unsupported: BTreeSet::new() };
        Ok(capabilities)
    }

    /// kube-controller-manager attaches the volume to the node. Returns the device that it writes
    /// into the node's status.
    ///
    /// # Errors
    /// The driver's failure, or the last of those that were repeated.
    pub fn attach(
        &self,
        volume: &FlexVolume,
        manager: &FlexNode,
        node: &FlexNode,
    ) -> Result<String, PlayError> {
        let json = volume.options_json(Map::new());
        self.repeat(Part::ControllerManager, manager, "attach", volume, || {
            self.volume_name(Part::ControllerManager, manager, volume, &json)?;
            let status = self.ask(
                Part::ControllerManager,
                manager,
                "attach",
                volume,
                vec![json.clone(), node.name.clone()],
                &node.name,
            )?;
            Ok(status.map(|status| status.device).unwrap_or_default())
        })
    }

    /// The controller's minutely look.
    ///
    /// # Errors
    /// The driver's failure.
    pub fn is_attached(
        &self,
        volume: &FlexVolume,
        manager: &FlexNode,
        node: &FlexNode,
    ) -> Result<Option<bool>, PlayError> {
        let json = volume.options_json(Map::new());
        let arguments = vec![json, node.name.clone()];
        let status = self.ask(
            Part::ControllerManager,
            manager,
            "isattached",
            volume,
            arguments,
            &node.name,
        )?;
        Ok(status.map(|status| status.attached))
    }

    /// kube-controller-manager detaches by the PersistentVolume's name: it has nothing else any
    /// more.
    ///
    /// # Errors
    /// The driver's failure, or the last of those that were repeated.
    pub fn detach(
        &self,
        volume: &FlexVolume,
        manager: &FlexNode,
        node: &FlexNode,
    ) -> Result<(), PlayError> {
        self.repeat(Part::ControllerManager, manager, "detach", volume, || {
            let arguments = vec![volume.name.clone(), node.name.clone()];
            self.ask(Part::ControllerManager, manager, "detach", volume, arguments, &node.name)
                .map(drop)
        })
    }

    /// kubelet waits for the device, before each pod. Returns the device that the next calls get.
    ///
    /// # Errors
    /// The driver's failure, or the last of those that were repeated.
    pub fn wait_for_attach(
        &self,
        volume: &FlexVolume,
        node: &FlexNode,
        device: &str,
    ) -> Result<String, PlayError> {
        let json = volume.options_json(Map::new());
        self.repeat(Part::Kubelet, node, "waitforattach", volume, || {
            self.volume_name(Part::Kubelet, node, volume, &json)?;
            let status = self.ask(
                Part::Kubelet,
                node,
                "waitforattach",
                volume,
                vec![device.to_owned(), json.clone()],
                device,
            )?;
            Ok(status.map_or_else(|| device.to_owned(), |status| status.device))
        })
    }

    /// kubelet has the device mounted once for the node; not if something is mounted there already.
    ///
    /// # Errors
    /// The driver's failure, or the last of those that were repeated.
    pub fn mount_device(
        &self,
        volume: &FlexVolume,
        node: &FlexNode,
        device: &str,
    ) -> Result<(), PlayError> {
        let global = volume.global_mount(node, &self.driver);
        self.repeat(Part::Kubelet, node, "mountdevice", volume, || {
            if self.prepare(Part::Kubelet, node, "mountdevice", volume, &global)? {
                return Ok(());
            }
            let arguments = vec![text(&global), device.to_owned(), volume.options_json(Map::new())];
            let status = self.ask(Part::Kubelet, node, "mountdevice", volume, arguments, device)?;
            // Without a device there is nothing that kubelet could do itself, and it does nothing.
            if status.is_none() && !device.is_empty() {
                Err(left_to_kubelet("mountdevice"))
            } else {
                Ok(())
            }
        })
    }

    /// kubelet has the volume mounted for a pod; not if something is mounted there already. Returns
    /// where.
    ///
    /// # Errors
    /// The driver's failure, or the last of those that were repeated.
    pub fn mount(
        &self,
        volume: &FlexVolume,
        node: &FlexNode,
        pod: &str,
    ) -> Result<PathBuf, PlayError> {
        let target = volume.pod_mount(node, &self.driver, pod);
        self.repeat(Part::Kubelet, node, "mount", volume, || {
            if self.prepare(Part::Kubelet, node, "mount", volume, &target)? {
                return Ok(());
            }
            let arguments = volume.mount_arguments(node, &self.driver, pod);
            let mounted = self.ask(Part::Kubelet, node, "mount", volume, arguments, &text(&target));
            if mounted.is_err() {
                let _ = std::fs::remove_dir(&target);
            }
            mounted?.map(drop).ok_or_else(|| left_to_kubelet("mount"))
        })?;
        Ok(target)
    }

    /// kubelet has the volume taken from a pod, as long as its directory is there.
    ///
    /// # Errors
    /// The driver's failure, or the last of those that were repeated; also when the directory is
    /// not empty afterwards.
    pub fn unmount(
        &self,
        volume: &FlexVolume,
        node: &FlexNode,
        pod: &str,
    ) -> Result<(), PlayError> {
        let target = volume.pod_mount(node, &self.driver, pod);
        self.repeat(Part::Kubelet, node, "unmount", volume, || {
            if !target.exists() {
                return Ok(());
            }
            let status = self.ask(
                Part::Kubelet,
                node,
                "unmount",
                volume,
                vec![text(&target)],
                &text(&target),
            )?;
            status.ok_or_else(|| left_to_kubelet("unmount"))?;
            paths::remove(&target)
        })
    }

    /// kubelet has the device unmounted on the node, if it is mounted.
    ///
    /// # Errors
    /// The driver's failure, or the last of those that were repeated; also when the directory is
    /// not empty afterwards.
    pub fn unmount_device(&self, volume: &FlexVolume, node: &FlexNode) -> Result<(), PlayError> {
        let global = volume.global_mount(node, &self.driver);
        self.repeat(Part::Kubelet, node, "unmountdevice", volume, || {
            if !global.exists() {
                return Ok(());
            }
            if paths::is_likely_mounted(&global) {
                let status = self.ask(
                    Part::Kubelet,
                    node,
                    "unmountdevice",
                    volume,
                    vec![text(&global)],
                    &text(&global),
                )?;
                status.ok_or_else(|| left_to_kubelet("unmountdevice"))?;
            } else {
                let why = "nothing is mounted there".to_owned();
                self.say(
                    Part::Kubelet,
                    node,
                    "unmountdevice",
                    &volume.name,
                    Happening::Skipped { why },
                );
            }
            paths::remove(&global)
        })
    }

    /// The claim has grown: kubelet's only call (the controller's `expandvolume` is dead code in
    /// Kubernetes).
    ///
    /// # Errors
    /// The driver's failure, or the last of those that were repeated.
    pub fn expand_fs(
        &self,
        volume: &FlexVolume,
        node: &FlexNode,
        device: &str,
        pod: &str,
        sizes: Sizes,
    ) -> Result<(), PlayError> {
        let target = volume.pod_mount(node, &self.driver, pod);
        self.repeat(Part::Kubelet, node, "expandfs", volume, || {
            let json = volume.options_json(Map::new());
            let arguments = vec![
                json,
                device.to_owned(),
                text(&target),
                sizes.new.to_string(),
                sizes.old.to_string(),
            ];
            let status = self.ask(
                Part::Kubelet,
                node,
                "expandfs",
                volume,
                arguments,
                &format!("{} GiB", sizes.new >> 30),
            )?;
            status.map(drop).ok_or_else(|| left_to_kubelet("expandfs"))
        })
    }

    /// Everything from the new PersistentVolume to the running pod. Returns the device and where
    /// the pod finds the volume.
    ///
    /// # Errors
    /// The first step that failed for good.
    pub fn start_pod(
        &self,
        volume: &FlexVolume,
        manager: &FlexNode,
        node: &FlexNode,
        pod: &str,
    ) -> Result<(String, PathBuf), PlayError> {
        let device = self.attach(volume, manager, node)?;
        let device = self.wait_for_attach(volume, node, &device)?;
        self.mount_device(volume, node, &device)?;
        let target = self.mount(volume, node, pod)?;
        Ok((device, target))
    }

    /// The way back, to the detached volume.
    ///
    /// # Errors
    /// The first step that failed for good.
    pub fn end_pod(
        &self,
        volume: &FlexVolume,
        manager: &FlexNode,
        node: &FlexNode,
        pod: &str,
    ) -> Result<(), PlayError> {
        self.unmount(volume, node, pod)?;
        self.unmount_device(volume, node)?;
        self.detach(volume, manager, node)
    }

    /// `getvolumename`: the name is ignored, a failure is not.
    fn volume_name(
        &self,
        part: Part,
        node: &FlexNode,
        volume: &FlexVolume,
        json: &str,
    ) -> Result<(), PlayError> {
        self.ask(part, node, "getvolumename", volume, vec![json.to_owned()], "").map(drop)
    }

    /// `prepareForMount`: makes the directory, and says whether something is mounted there already.
    fn prepare(
        &self,
        part: Part,
        node: &FlexNode,
        call: &str,
        volume: &FlexVolume,
        directory: &Path,
    ) -> Result<bool, PlayError> {
        if !directory.exists() {
            paths::make_directory(directory)?;
            return Ok(false);
        }
        let mounted = paths::is_likely_mounted(directory);
        if mounted {
            let why = "something is mounted there already".to_owned();
            self.say(part, node, call, &volume.name, Happening::Skipped { why });
        }
        Ok(mounted)
    }

    /// One call-out, unless the driver once said "Not supported" to it: then, and now, nothing
    /// comes back.
    fn ask(
        &self,
        part: Part,
        node: &FlexNode,
        call: &str,
        volume: &FlexVolume,
        arguments: Vec<String>,
        with: &str,
    ) -> Result<Option<DriverStatus>, PlayError> {
        self.probe(part, node)?;
        if node.plugin.lock().unwrap_or_else(PoisonError::into_inner).unsupported.contains(call) {
            return Ok(None);
        }
        let ask = Ask { part, node, volume: &volume.name, call, arguments, with: with.to_owned() };
        match self.once(&ask, self.disturb.as_ref()) {
            Ok(status) => Ok(Some(status)),
            Err(PlayError::LeftToKubelet { .. }) => {
                node.plugin
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .unsupported
                    .insert(call.to_owned());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn once(
        &self,
        ask: &Ask<'_>,
        disturb: Option<&Disturbance>,
    ) -> Result<DriverStatus, PlayError> {
        self.say(
            ask.part,
            ask.node,
            ask.call,
            ask.volume,
            Happening::Asked { with: ask.with.clone() },
        );
        let begun = Instant::now();
        let executed = execute(&self.executable(ask.node), ask.call, &ask.arguments, disturb);
        let result = judge(ask.call, &executed);
        let took = begun.elapsed();
        let happening = match &result {
            Ok(status) => Happening::Answered { with: status.device.clone(), took },
            Err(error) => Happening::Failed { why: error.to_string(), is_final: true, took },
        };
        self.say(ask.part, ask.node, ask.call, ask.volume, happening);
        result
    }

    fn say(&self, part: Part, node: &FlexNode, call: &str, volume: &str, happening: Happening) {
        (self.audience)(&Event {
            part,
            node: node.name.clone(),
            call: call.to_owned(),
            volume: volume.to_owned(),
            happening,
        });
    }

    fn repeat<T>(
        &self,
        part: Part,
        node: &FlexNode,
        call: &str,
        volume: &FlexVolume,
        attempt: impl FnMut() -> Result<T, PlayError>,
    ) -> Result<T, PlayError> {
        self.retry.run(attempt, PlayError::is_final, |after| {
            self.say(part, node, call, &volume.name, Happening::Again { after });
            std::thread::sleep(after);
        })
    }
}

/// What `expandfs` is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes that the claim asks for now.
    pub new: u64,
    /// Bytes that it had.
    pub old: u64,
}

/// `driverCall.Run`: what an exit code and an output mean together.
fn judge(call: &str, executed: &Executed) -> Result<DriverStatus, PlayError> {
    let unreadable = |what: String| PlayError::Unreadable { call: call.to_owned(), what };
    match read_status(&executed.output) {
        Verdict::NotSupported => Err(PlayError::LeftToKubelet { call: call.to_owned() }),
        Verdict::Success(_) if !executed.succeeded => {
            Err(unreadable("success with an exit code that says otherwise".to_owned()))
        }
        Verdict::Success(status) => Ok(status),
        Verdict::Failure { status, message } => {
            Err(PlayError::Refused { call: call.to_owned(), code: status, message, is_final: true })
        }
        Verdict::Unreadable(why) => {
            Err(unreadable(format!("{why}: {:?}", String::from_utf8_lossy(&executed.output))))
        }
    }
}

fn left_to_kubelet(call: &str) -> PlayError {
    PlayError::LeftToKubelet { call: call.to_owned() }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
