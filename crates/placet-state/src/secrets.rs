//! Which secrets the domain holds, from their records. Values are not in the log.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use placet_evidence::{SecretChange, SecretRecord};
use placet_types::{Millis, SecretName};

use crate::FoldError;

/// The secrets of a domain, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    version: u64,
    held: BTreeMap<SecretName, HeldSecret>,
}

/// What the log says of one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSecret {
    /// When it got its present value.
    pub set: Millis,
    /// When an execution last got it.
    pub used: Option<Millis>,
}

impl Secrets {
    /// Number of the store's state: how often it was changed. A store of another number is not the
    /// one that the log speaks of.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether there is a secret of this name.
    #[must_use]
    pub fn contains(&self, name: &SecretName) -> bool {
        self.held.contains_key(name)
    }

    /// Every secret, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&SecretName, &HeldSecret)> {
        self.held.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn apply(&mut self, record: &SecretRecord) -> Result<(), FoldError> {
        let error = FoldError::Secrets {
            before: self.version,
            found: record.version,
        };
        if Some(record.version) != self.version.checked_add(1) {
            return Err(error);
        }
        match &record.change {
            SecretChange::Set(name) | SecretChange::Renewed { name, .. } => {
                let is_held = self.held.contains_key(name);
                if matches!(record.change, SecretChange::Renewed { .. }) && !is_held {
                    return Err(error);
                }
                let used = self.held.get(name).and_then(|held| held.used);
                let set = record.time;
                self.held.insert(name.clone(), HeldSecret { set, used });
            }
            SecretChange::Removed(name) => {
                self.held.remove(name).ok_or(error)?;
            }
            SecretChange::Rekeyed => {}
        }
        self.version = record.version;
        Ok(())
    }

    pub(crate) fn used(&mut self, names: &BTreeSet<SecretName>, time: Millis) {
        for name in names {
            if let Some(held) = self.held.get_mut(name) {
                held.used = Some(time);
            }
        }
    }
}
