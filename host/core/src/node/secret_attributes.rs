//! Keys that stand among a volume's attributes, where the operator allows that. They are taken out
//! before anything else reads the request, and are the secrets of a call that brings none: so they
//! come to an account and to nothing else, neither a backend nor a record.

use crate::secret::Secret;
use crate::types::{Caller, Parameters};

/// What kubelet hands over for the pod, beside the volume's secret and whether there is one or not.
const OF_THE_POD: &str = "serviceAccount.tokens";

/// The names of such attributes, without regard to case.
#[derive(Debug, Default)]
pub struct SecretAttributes(Vec<String>);

impl SecretAttributes {
    /// By these names.
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Takes them out of a volume's attributes. They are the caller's secrets where it brings none.
    pub fn take(&self, context: &mut Parameters, caller: &mut Caller) {
        let is_named = |key: &str| self.0.iter().any(|name| name.eq_ignore_ascii_case(key.trim()));
        let mut plain = Vec::new();
        context.retain_mut(|(key, value)| {
            let is_secret = is_named(key);
            if is_secret {
                plain.push((key.trim().to_owned(), Secret::new(std::mem::take(value))));
            }
            !is_secret
        });
        // Never half of a pair from one and half from the other.
        if caller.secrets.iter().all(|(name, _)| name == OF_THE_POD) {
            caller.secrets.append(&mut plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(brought: &[(&str, &str)]) -> (Parameters, Vec<(String, String)>) {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let given = [("bucket", "b"), (" AKID ", "id"), ("akSecret", "key"), ("akSecrets", "x")];
        let mut context: Parameters = given.iter().map(text).collect();
        let secrets =
            brought.iter().map(|(name, value)| (text(&(name, "")).0, Secret::new(*value)));
        let mut caller = Caller { secrets: secrets.collect(), workload: None };
        let names = ["akId", "akSecret"].map(str::to_owned).to_vec();
        SecretAttributes::new(names).take(&mut context, &mut caller);
        let secrets = caller.secrets.iter();
        (context, secrets.map(|(name, value)| (name.clone(), value.expose().to_owned())).collect())
    }

    #[test]
    fn keys_among_attributes_are_secrets_of_a_call_that_brings_none() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let left = pairs(&[("bucket", "b"), ("akSecrets", "x")]);
        let keys = [("AKID", "id"), ("akSecret", "key")];
        assert_eq!(taken(&[]), (left.clone(), pairs(&keys)));
        let tokens = (OF_THE_POD, "t");
        assert_eq!(taken(&[tokens]), (left.clone(), pairs(&[tokens, keys[0], keys[1]])));
        let own = [("akId", "other")];
        assert_eq!(taken(&own), (left, pairs(&own)), "the secret's, and no other");
    }
}
