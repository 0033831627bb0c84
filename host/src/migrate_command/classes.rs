//! StorageClasses, VolumeSnapshotClasses and CSIDrivers.

use serde_json::json;
use wharf_core::types::Parameters;

use super::hidden::Hidden;
use super::judge::{Class, Judge};
use super::objects::{Object, is_name, texts};
use super::report::{Item, Step, Verdict};
use super::volumes::refused;

/// Parameters that the external-provisioner keeps for itself begin like this.
const OF_THE_PROVISIONER: &str = "csi.storage.k8s.io/";

/// What becomes of a StorageClass; `None`: it is of a provisioner that has no driver here.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn storage_class(judges: &[Judge<'_>], object: &Object) -> Result<Option<Item>, String> {
    let provisioner = object.text("provisioner")?.unwrap_or_default();
    let is_csi = |judge: &&Judge<'_>| judge.driver == provisioner;
    let is_flexvolume = |judge: &&Judge<'_>| judge.is_flexvolume(provisioner);
    if let Some(judge) = judges.iter().find(is_csi) {
        return of_csi(judge, object).map(Some);
    }
    judges.iter().find(is_flexvolume).map(|judge| of_flexvolume(judge, object)).transpose()
}

fn of_csi(judge: &Judge<'_>, object: &Object) -> Result<Item, String> {
    let (class, hidden) = class(object)?;
    let mut item = Item::unchanged(object, judge.driver);
    match judge.class(&class) {
        Ok(()) => {
            item.says.push("volumes are made by it as before; nothing has to be applied".into());
            item.says.extend(remarks(judge, &class, &hidden));
        }
        Err(error) => {
            item.verdict = Verdict::Person;
            item.says.extend(refused(&hidden, &error));
            item.says.push(
                "parameters of a class cannot be changed: make another class, and have new claims \
                 name that; claims and volumes that are there do not depend on this one"
                    .to_owned(),
            );
        }
    }
    let grows = object.flag("allowVolumeExpansion")?.unwrap_or(false);
    if grows && judge.description().is_ok_and(|description| !description.can("expand")) {
        item.says.push("it allows expansion, which this driver does not offer".to_owned());
    }
    Ok(item)
}

fn remarks<'a>(
    judge: &Judge<'_>,
    class: &Class,
    hidden: &'a Hidden,
) -> impl Iterator<Item = String> + 'a {
    judge.remarks_of_class(class).into_iter().map(|remark| hidden.out_of(&remark))
}

/// Its provisioner is a program of its own, which makes volumes of FlexVolume.
fn of_flexvolume(judge: &Judge<'_>, object: &Object) -> Result<Item, String> {
    let (class, hidden) = class(object)?;
    let mut item = Item::unchanged(object, object.text("provisioner")?.unwrap_or_default());
    let driver = judge.driver;
    item.says.push(
        "its provisioner is a program of its own: while that runs, the volumes that it makes go on \
         through FlexVolume; Wharf does not provision those"
            .to_owned(),
    );
    match judge.class(&class) {
        Ok(()) if hidden.is_empty() => {
            item.verdict = Verdict::Changes;
            item.says.push(format!("new claims can have volumes of {driver} from another class"));
            item.says.extend(remarks(judge, &class, &hidden));
            item.steps.push(new_class(judge, object, &class)?);
        }
        Ok(()) => {
            item.verdict = Verdict::Person;
            item.says.push("keys stand among its parameters; no class is written with them".into());
        }
        Err(error) => {
            item.verdict = Verdict::Person;
            item.says.push(format!("its parameters are none of {driver}'s:"));
            item.says.extend(refused(&hidden, &error));
            item.says.push(format!(
                "write a class with `provisioner: {driver}` and that driver's parameters for new \
                 claims"
            ));
        }
    }
    Ok(item)
}

fn new_class(judge: &Judge<'_>, object: &Object, class: &Class) -> Result<Step, String> {
    let name = format!("{}-csi", object.name);
    if !is_name(&name) {
        return Err(format!(
            "StorageClass {}: there is no room for `-csi` in its name",
            object.name
        ));
    }
    let description = judge.description().map_err(|error| error.to_string())?;
    let binding = match object.text("volumeBindingMode")? {
        _ if description.can("topology") => "WaitForFirstConsumer",
        Some(binding) => binding,
        None => "Immediate",
    };
    let mut made = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": name },
        "provisioner": judge.driver,
        "parameters": texts(&class.parameters),
        "reclaimPolicy": object.text("reclaimPolicy")?.unwrap_or("Delete"),
        "volumeBindingMode": binding,
        "allowVolumeExpansion": description.can("expand"),
    });
    if let (false, Some(made)) = (class.flags.is_empty(), made.as_object_mut()) {
        made.insert("mountOptions".to_owned(), class.flags.clone().into());
    }
    Ok(Step {
        what: "a class of the CSI driver with the same parameters, for new claims alone."
            .to_owned(),
        apply: Some(made),
        look: vec![format!("kubectl get storageclass {name}")],
        expect: format!("its PROVISIONER is {}", judge.driver),
        back: format!("new claims name {} again", object.name),
        ..Step::default()
    })
}

/// A class, as a provisioner hands it on.
fn class(object: &Object) -> Result<(Class, Hidden), String> {
    let all = object.pairs("parameters")?;
    let flags = object.texts("mountOptions")?;
    let hidden = Hidden::of(&[&all], &flags);
    let is_fs_type = |key: &str| {
        let key = key.strip_prefix(OF_THE_PROVISIONER).unwrap_or(key);
        key.eq_ignore_ascii_case("fstype")
    };
    let fs_type = all.iter().find(|(key, _)| is_fs_type(key));
    let fs_type = fs_type.map(|(_, value)| value.clone()).unwrap_or_default();
    let parameters: Parameters =
        all.into_iter().filter(|(key, _)| !key.starts_with(OF_THE_PROVISIONER)).collect();
    Ok((Class { parameters, fs_type, flags }, hidden))
}

/// What becomes of a VolumeSnapshotClass; `None`: it is of a driver that is not served here.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn snapshot_class(judges: &[Judge<'_>], object: &Object) -> Result<Option<Item>, String> {
    let driver = object.text("driver")?.unwrap_or_default();
    let Some(judge) = judges.iter().find(|judge| judge.driver == driver) else { return Ok(None) };
    let mut item = Item::unchanged(object, driver);
    match judge.description() {
        Ok(description) if description.can("snapshot") => {
            item.says.push("snapshots are taken by it as before".to_owned());
        }
        Ok(_) => {
            item.verdict = Verdict::Person;
            item.says.push(
                "this driver offers no snapshots: none is taken, and none is deleted, while it \
                 serves. Leave the class, the VolumeSnapshots and their contents as they are: the \
                 snapshots themselves stay in the cloud, and volumes are made from them by the \
                 cloud's id"
                    .to_owned(),
            );
        }
        Err(error) => {
            item.verdict = Verdict::Person;
            item.says.push(error.to_string());
        }
    }
    Ok(Some(item))
}

/// What becomes of a CSIDriver; `None`: that driver is not served here.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn csi_driver(judges: &[Judge<'_>], object: &Object) -> Result<Option<Item>, String> {
    let Some(judge) = judges.iter().find(|judge| judge.driver == object.name) else {
        return Ok(None);
    };
    let mut item = Item::unchanged(object, &object.name);
    // Kubernetes' own default.
    let required = object.flag("spec.attachRequired")?.unwrap_or(true);
    let why = match judge.description() {
        Err(error) => Some(error.to_string()),
        Ok(it) if !required && it.attaches() => Some(
            "it says `attachRequired: false`, so nothing would be attached, and nodes would find \
             no device"
                .to_owned(),
        ),
        Ok(it) if required && !it.can("attach") => Some(
            "it says `attachRequired: true`, and this driver attaches nothing: pods would wait for \
             an attachment that nobody makes"
                .to_owned(),
        ),
        Ok(_) => None,
    };
    match why {
        None => item.says.push("kubelet and the attach controller go on as it says".to_owned()),
        Some(why) => {
            item.verdict = Verdict::Person;
            item.says.push(why);
            item.says.push(
                "`attachRequired` cannot be changed in place: it takes a new object of this name, \
                 at a time when no pod uses a volume of the driver (`kubectl get \
                 volumeattachments`, and pods with its claims); examples/kubernetes/migration.md \
                 says how"
                    .to_owned(),
            );
        }
    }
    Ok(Some(item))
}
