//! The supervisor is killed, and another one goes on.

use std::time::{Duration, Instant};

use crate::bed::{Bed, Container, PATIENCE, holds, kill, sh, until};

#[test]
fn a_new_supervisor_adopts_living_helpers_and_heals_them_like_its_own() {
    let Some(bed) = Bed::new() else { return };
    let specs = ["a", "b"].map(|name| bed.spec(name));
    for spec in &specs {
        bed.mount(spec).unwrap();
    }
    let pids = specs.each_ref().map(|spec| bed.pid(spec));
    bed.kill_supervisor();
    assert!(holds(&specs[0].target.join("file"), "hello"), "nobody is needed for it");
    bed.start();
    assert_eq!(specs.each_ref().map(|spec| bed.pid(spec)), pids);
    kill(pids[0]);
    until("it is healed", || holds(&specs[0].target.join("file"), "hello"));
    assert_eq!(bed.pid(&specs[1]), pids[1]);
    for spec in &specs {
        bed.client().unmount(&spec.target, PATIENCE).unwrap();
    }
    bed.assert_clean();
}

#[test]
fn what_died_while_no_supervisor_ran_is_healed_by_the_next() {
    let Some(bed) = Bed::new() else { return };
    let (dead, gone) = (bed.spec("dead"), bed.spec("gone"));
    bed.mount(&dead).unwrap();
    bed.mount(&gone).unwrap();
    let inside = bed.path("containers");
    let container = Container::new(
        &bed,
        &format!(
            "mount --bind {} {}; umount {}",
            dead.target.display(),
            inside.display(),
            gone.target.display()
        ),
    );
    let pid = bed.pid(&dead);
    bed.kill_supervisor();
    kill(pid);
    sh(&format!("umount {}", gone.target.display()));
    bed.start();
    until("the dead one is healed", || {
        holds(&dead.target.join("file"), "hello")
            && holds(&container.path(&inside).join("file"), "hello")
    });
    until("the other is forgotten", || bed.client().list().unwrap().len() == 1);
    drop(container);
    bed.client().unmount(&dead.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn a_helper_that_its_private_place_alone_still_holds_is_not_waited_for() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let private = bed.path("run").join(bed.status(&spec).name).join("mount");
    bed.kill_supervisor();
    // As when a supervisor is killed in the middle of a repair, and the volume is taken away.
    let target = spec.target.display();
    sh(&format!("mount --bind {target} {}; umount {target}", private.display()));
    let begun = Instant::now();
    bed.start();
    until("it is forgotten", || bed.client().list().unwrap().is_empty());
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    bed.assert_clean();
}

#[test]
fn a_process_with_the_number_of_a_helper_is_not_taken_for_it() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let pid = bed.pid(&spec);
    bed.kill_supervisor();
    kill(pid);
    // As if the kernel had given the number to another process: this one's number and the
    // helper's start time.
    let record = std::fs::read_dir(bed.path("state/mounts")).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(record.path()).unwrap();
    let (old, this) = (format!("\"pid\": {pid}"), format!("\"pid\": {}", std::process::id()));
    assert!(text.contains(&old), "{text}");
    std::fs::write(record.path(), text.replace(&old, &this)).unwrap();
    bed.start();
    until("it is healed", || holds(&spec.target.join("file"), "hello"));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn records_of_an_earlier_life_of_the_machine_are_forgotten() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let pid = bed.pid(&spec);
    bed.kill_supervisor();
    kill(pid);
    sh(&format!("umount {}; umount {}/*/", spec.target.display(), bed.path("run").display()));
    let record = std::fs::read_dir(bed.path("state/mounts")).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(record.path()).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    std::fs::write(record.path(), text.replace(boot.trim(), "another")).unwrap();
    bed.start();
    assert!(bed.client().list().unwrap().is_empty());
    sh(&format!("rmdir {}/*/", bed.path("run").display()));
    bed.assert_clean();
}
