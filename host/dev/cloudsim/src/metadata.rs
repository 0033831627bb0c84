//! The metadata service (IMDS) of one instance. Version 2 asks for a token first; version 1,
//! without, is refused unless turned on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock::{Millis, iso8601};
use crate::identifiers;
use crate::state::Instance;
use crate::sts;
use crate::world::World;

/// How long the instance role's keys live, and how long before their end they are replaced; as on
/// real instances.
const ROLE_SECONDS: u64 = 6 * 3600;
const ROLE_RENEWAL: Millis = 30 * 60 * 1000;

/// Tokens of one instance at most; the one that ends first goes.
const MOST_TOKENS: usize = 1_000;

/// What one instance's service remembers. Not in the state file: after a restart clients get new
/// tokens, as after a real one.
#[derive(Debug, Default)]
pub(crate) struct MetadataService {
    tokens: BTreeMap<String, Millis>,
    /// The access key id of the role's current keys.
    role_keys: Option<String>,
}

/// Status and text.
pub(crate) type MetadataAnswer = (u16, String);

impl MetadataService {
    /// Answers a request to an instance's service. `header` finds a header by its lower-case name.
    pub(crate) fn answer<'a>(
        &mut self,
        world: &mut World,
        instance: usize,
        method: &str,
        path: &str,
        header: impl Fn(&str) -> Option<&'a str>,
    ) -> MetadataAnswer {
        let Some(instance) = world.state.instances.get(instance).cloned() else {
            return not_found();
        };
        let now = world.now();
        match method {
            "PUT" if path == "/latest/api/token" => {
                self.token(now, header("x-aliyun-ecs-metadata-token-ttl-seconds"))
            }
            "GET" => match header("x-aliyun-ecs-metadata-token") {
                Some(token) if self.tokens.get(token).is_some_and(|end| *end > now) => {
                    self.get(world, &instance, path)
                }
                None if world.options.metadata_v1 => self.get(world, &instance, path),
                // Nothing public states the code of a token that has ended or was never given. The
                // cloud's own disk driver asks for a new token after 401 and gives up after 403, so
                // a client that it works for sees 401 here, and 403 where it sends no token.
                Some(_) => (401, "401 - Unauthorized".to_owned()),
                None => (403, "403 - Forbidden".to_owned()),
            },
            _ => (405, "405 - Method Not Allowed".to_owned()),
        }
    }

    fn token(&mut self, now: Millis, ttl: Option<&str>) -> MetadataAnswer {
        let Some(seconds) =
            ttl.and_then(|ttl| ttl.parse::<u64>().ok()).filter(|ttl| (1..=21_600).contains(ttl))
        else {
            return (400, "400 - Bad Request".to_owned());
        };
        let Ok(token) = identifiers::random(56) else { return (500, String::new()) };
        self.tokens.retain(|_, end| *end > now);
        if self.tokens.len() >= MOST_TOKENS
            && let Some(first) =
                self.tokens.iter().min_by_key(|(_, end)| **end).map(|(token, _)| token.clone())
        {
            self.tokens.remove(&first);
        }
        self.tokens.insert(token.clone(), now + seconds * 1000);
        (200, token)
    }

    fn get(&mut self, world: &mut World, instance: &Instance, path: &str) -> MetadataAnswer {
        let role = world.options.instance_role.clone();
        let text = match path.trim_end_matches('/') {
            "/latest/meta-data" => "hostname\ninstance-id\ninstance/\nprivate-ipv4\nram/\\
                                    nregion-id\nzone-id"
                .to_owned(),
            "/latest/meta-data/instance-id" => instance.id.clone(),
            "/latest/meta-data/region-id" => world.options.region.clone(),
            "/latest/meta-data/zone-id" => instance.zone.clone(),
            "/latest/meta-data/instance/instance-type" => world.options.instance_type.clone(),
            "/latest/meta-data/private-ipv4" => instance.private_ip.clone(),
            "/latest/meta-data/hostname" => instance.hostname.clone(),
            "/latest/meta-data/owner-account-id" => world.state.account.clone(),
            "/latest/dynamic/instance-identity/document" => document(world, instance).to_string(),
            other => {
                let Some(wanted) = other.strip_prefix("/latest/meta-data/ram/security-credentials")
                else {
                    return not_found();
                };
                return match (role, wanted.trim_start_matches('/')) {
                    (Some(role), "") => (200, role),
                    (Some(role), wanted) if wanted == role => {
                        self.role_keys(world, instance, &role)
                    }
                    _ => not_found(),
                };
            }
        };
        (200, text)
    }

    fn role_keys(&mut self, world: &mut World, instance: &Instance, role: &str) -> MetadataAnswer {
        let now = world.now();
        let current = self
            .role_keys
            .take()
            .and_then(|id| world.state.sessions.get(&id).cloned().map(|session| (id, session)));
        let current =
            current.filter(|(_, session)| session.expires.saturating_sub(ROLE_RENEWAL) > now);
        let arn = format!("acs:ram::{}:role/{role}", world.state.account);
        let (id, session) = match current {
            Some(current) => current,
            None => match sts::open_session(world, arn, instance.id.clone(), ROLE_SECONDS) {
                Ok(opened) => opened,
                Err(error) => return (error.status, error.message),
            },
        };
        self.role_keys = Some(id.clone());
        let answer = json!({
            "Code": "Success",
            "AccessKeyId": id,
            "AccessKeySecret": session.secret,
            "SecurityToken": session.token,
            "Expiration": iso8601(session.expires),
            "LastUpdated": iso8601(session.expires.saturating_sub(ROLE_SECONDS * 1000)),
        });
        (200, answer.to_string())
    }
}

fn document(world: &World, instance: &Instance) -> Value {
    json!({
        "instance-id": instance.id,
        "region-id": world.options.region,
        "zone-id": instance.zone,
        "instance-type": world.options.instance_type,
        "owner-account-id": world.state.account,
        "private-ipv4": instance.private_ip,
        "serial-number": instance.id.trim_start_matches("i-"),
        "image-id": "aliyun_3_x64_20G_alibase.vhd",
        "mac": "00:16:3e:00:00:01",
    })
}

fn not_found() -> MetadataAnswer {
    (404, "404 - Not Found".to_owned())
}
