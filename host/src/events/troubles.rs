//! What a person has to see to, and how long it has to last before it is reported: much goes away
//! by itself within a minute or two, and is nobody's business then.

use std::collections::HashMap;

use wharf_modules::{BEING_LOADED, NOT_NEEDED_YET, Serving};
use wharf_node::supervisor::{Condition, Status};
use wharf_runtime::PaceOfSite;

use super::sources::Seen;
use crate::renewal::{is_overdue, unix_millis};
use crate::status::Report;

/// A helper that ends so often within [`WINDOW`] does not become useful.
const ENDINGS: u64 = 5;
/// Ten minutes, of two rounds each.
const WINDOW: u32 = 20;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One of few words, as Events have them.
    pub reason: &'static str,
    /// What has it: this distinguishes two troubles of one reason.
    pub object: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// In so many rounds, one after the other, it has to be seen.
    pub rounds: u32,
}

impl Trouble {
    /// What distinguishes it from others.
    pub fn key(&self) -> (&'static str, String) {
        (self.reason, self.object.clone())
    }
}

/// What was seen in the rounds before.
#[derive(Default)]
pub struct Troubles {
    lasting: HashMap<(&'static str, String), u32>,
    backoffs: HashMap<String, u64>,
    /// How often each helper had been started again when its window began, and the rounds since.
    restarts: HashMap<String, (u64, u32)>,
}

impl Troubles {
    /// Those that last. Remembers as many as there are now.
    pub fn lasting(&mut self, seen: Seen) -> Vec<Trouble> {
        let mut now = Vec::new();
        if let Some(report) = &seen.report {
            now.extend(of_report(report));
        }
        now.extend(self.of_pace(&seen.pace));
        now.extend(seen.refused.into_iter().map(|(driver, why)| Trouble {
            reason: "RegistrationRefused",
            message: format!(
                "kubelet does not take driver {driver}: {why}; no pod of this node gets its volumes"
            ),
            object: driver,
            rounds: 4,
        }));
        now.extend(seen.dead.into_iter().map(|(driver, count)| Trouble {
            reason: "MountDead",
            message: format!(
                "{count} mounts of driver {driver} lie on a device that is gone; `wharf doctor \
                 --only mounts` names them; end their pods"
            ),
            object: driver,
            rounds: 4,
        }));
        now.extend(self.of_helpers(&seen.mounts));
        let before = std::mem::take(&mut self.lasting);
        for trouble in &now {
            let rounds = before.get(&trouble.key()).map_or(1, |rounds| rounds.saturating_add(1));
            self.lasting.insert(trouble.key(), rounds);
        }
        now.retain(|trouble| {
            self.lasting.get(&trouble.key()).is_some_and(|rounds| *rounds >= trouble.rounds)
        });
        now
    }

    /// Actions that were refused since the last round.
    fn of_pace(&mut self, sites: &[PaceOfSite]) -> Vec<Trouble> {
        let mut now = HashMap::new();
        let mut troubles = Vec::new();
        for site in sites {
            let account = site.account.as_deref().unwrap_or("nobody");
            for (action, count) in &site.backoffs {
                let object = format!("{account} {} {action}", site.endpoint);
                let grew = self.backoffs.get(&object).is_some_and(|before| count > before);
                now.insert(object.clone(), *count);
                if grew {
                    troubles.push(Trouble {
                        reason: "AccountThrottled",
                        message: format!(
                            "endpoint {} refuses {action} of account {account} again and again \
                             because there are too many; calls take longer. See who else uses the \
                             account, and ask the cloud for a higher limit",
                            site.endpoint
                        ),
                        object,
                        // Five minutes. Limits count by the minute.
                        rounds: 10,
                    });
                }
            }
        }
        self.backoffs = now;
        troubles
    }

    fn of_helpers(&mut self, mounts: &[Status]) -> Vec<Trouble> {
        let mut now = HashMap::new();
        let mut troubles = Vec::new();
        for mount in mounts {
            let ending = mount.last_exit.map_or_else(String::new, |how| format!("; last {how}"));
            let target = mount.target.display();
            let kept = self.restarts.get(&mount.name).copied();
            let (base, rounds) =
                kept.filter(|(_, rounds)| *rounds < WINDOW).unwrap_or((mount.restarts, 0));
            now.insert(mount.name.clone(), (base, rounds.saturating_add(1)));
            if mount.restarts.saturating_sub(base) >= ENDINGS {
                troubles.push(Trouble {
                    reason: "HelperEnds",
                    message: format!(
                        "{} of {} at {target} ends again and again{ending}; `wharf mounts logs {}` \
                         says why",
                        mount.helper, mount.source, mount.name
                    ),
                    object: mount.name.clone(),
                    rounds: 1,
                });
            }
            if is_overdue(mount, unix_millis()) {
                troubles.push(Trouble {
                    reason: "KeysNotRenewed",
                    message: format!(
                        "the keys of {} at {target} were not renewed in time, and pods lose it when \
                         they end; `wharf mounts renew` says why",
                        mount.source
                    ),
                    object: mount.name.clone(),
                    rounds: 1,
                });
            }
            if matches!(mount.condition, Condition::Dead | Condition::Partly | Condition::Unproved)
            {
                troubles.push(Trouble {
                    reason: "MountNotHealed",
                    message: format!(
                        "{} at {target} does not come back{ending}; `wharf mounts list` says how it \
                         is",
                        mount.source
                    ),
                    object: mount.name.clone(),
                    rounds: 4,
                });
            }
        }
        self.restarts = now;
        troubles
    }
}

fn of_report(report: &Report) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = report.components.iter().filter_map(of_component).collect();
    if let Some(why) = &report.configuration_refused {
        troubles.push(Trouble {
            reason: "ConfigurationRefused",
            object: String::new(),
            message: format!(
                "the changed configuration is not in force: {why}; `wharf config check`"
            ),
            rounds: 1,
        });
    }
    for driver in &report.drivers {
        if let Some(why) = &driver.trouble {
            troubles.push(Trouble {
                reason: "DriverNotServed",
                object: driver.name.clone(),
                message: format!("driver {} is not served: {why}", driver.name),
                // A predecessor that drains has the socket for half a minute.
                rounds: 4,
            });
        }
    }
    for operation in report.wedged() {
        troubles.push(Trouble {
            reason: "OperationWedged",
            object: format!("{} {} {}", operation.driver, operation.verb, operation.volume),
            message: operation.in_words(),
            rounds: 1,
        });
    }
    troubles
}

fn of_component(component: &Serving) -> Option<Trouble> {
    let why = component.why_not.as_deref()?;
    if [NOT_NEEDED_YET, BEING_LOADED].contains(&why) {
        return None;
    }
    let Serving { kind, component: name, .. } = component;
    let serves = match component.generation {
        Some(generation) => format!("generation {generation} goes on"),
        None => "nothing serves in its place".to_owned(),
    };
    Some(Trouble {
        reason: "ComponentRefused",
        object: format!("{kind} {name}"),
        message: format!("{kind} \"{name}\" is not in use as it is installed: {why}; {serves}"),
        rounds: 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::renewal;

    fn rounds(troubles: &mut Troubles, seen: impl Fn(u32) -> Seen, count: u32) -> Vec<String> {
        let messages = (0..count).flat_map(|n| troubles.lasting(seen(n)));
        messages.map(|trouble| trouble.message).collect()
    }

    fn site(backoffs: u64) -> PaceOfSite {
        PaceOfSite {
            account: Some("cloud".into()),
            endpoint: "api".into(),
            under_way: 0,
            at_once: 16,
            waiting: 0,
            slowed: Vec::new(),
            backoffs: vec![("AttachDisk".into(), backoffs)],
        }
    }

    #[test]
    fn an_account_that_is_refused_for_minutes_is_told_and_one_that_was_is_not() {
        let seen = |n: u64| Seen { pace: vec![site(n)], ..Seen::default() };
        let messages = rounds(&mut Troubles::default(), |n| seen(u64::from(n)), 11);
        assert!(
            messages.len() == 1 && messages[0].contains("AttachDisk of account cloud"),
            "{messages:?}"
        );
        let messages = rounds(&mut Troubles::default(), |n| seen(u64::from(n.min(9))), 40);
        assert_eq!(messages, [] as [&str; 0]);
    }

    fn mount(condition: Condition, restarts: u64) -> Seen {
        let mount = Status { condition, restarts, ..renewal::tests::mount(None) };
        Seen { mounts: vec![mount], ..Seen::default() }
    }

    #[test]
    fn a_helper_that_ends_for_ever_is_told_and_one_that_was_healed_is_not() {
        let ends = |n: u32| mount(Condition::Serving, u64::from(n));
        let messages = rounds(&mut Troubles::default(), ends, 7);
        assert!(messages.iter().any(|it| it.contains("ends again and again")), "{messages:?}");
        let healed = |n: u32| mount(Condition::Serving, u64::from(n / 10));
        assert_eq!(rounds(&mut Troubles::default(), healed, 40), [] as [&str; 0]);
        let dead = |_| mount(Condition::Dead, 0);
        assert_eq!(rounds(&mut Troubles::default(), dead, 3), [] as [&str; 0]);
        let messages = rounds(&mut Troubles::default(), dead, 4);
        assert!(messages.len() == 1 && messages[0].contains("does not come back"), "{messages:?}");
        let late = |_| {
            let mut seen = mount(Condition::Serving, 0);
            seen.mounts[0].renew_at_ms = Some(1);
            seen
        };
        let messages = rounds(&mut Troubles::default(), late, 1);
        assert!(messages.len() == 1 && messages[0].contains("not renewed in time"), "{messages:?}");
    }

    #[test]
    fn what_mends_itself_between_two_looks_begins_anew() {
        let dead = |n: u32| Seen {
            dead: if n == 2 { Vec::new() } else { vec![("d".into(), 3)] },
            ..Seen::default()
        };
        assert_eq!(rounds(&mut Troubles::default(), dead, 6), [] as [&str; 0]);
        assert_eq!(rounds(&mut Troubles::default(), dead, 7).len(), 1);
        let refused = |_| Seen { refused: vec![("d".into(), "no".into())], ..Seen::default() };
        assert_eq!(rounds(&mut Troubles::default(), refused, 4).len(), 1);
    }
}
