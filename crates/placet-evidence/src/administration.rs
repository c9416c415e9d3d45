//! Acts of administration that a bundle can govern: what such an act is called, and what of its record
//! an approval and a permit are bound to.
//!
//! Acts that only take trust away (`revoked`, `halted`) are none of these, and neither is an approver's
//! own word.

use placet_types::{Digest, ExecutionId, Millis, PrincipalId, canonical};

use crate::record::{PolicyActivated, Record};
use crate::{DefinitionApproved, Erased, PrincipalRecord, Resumed, SecretChange, SecretRecord};

/// What the names of these actions begin with. Nobody else may ask for one, or declare one.
pub const PREFIX: &str = "admin:";
/// The gateway that carries them out: the node itself.
pub const GATEWAY: &str = "administration";
/// Kind of their resource, which is named like the domain.
pub const DOMAIN_KIND: &str = "Domain";

/// An act of administration, as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdministrativeAct {
    /// Name of the action that policies decide.
    pub action: &'static str,
    /// Who acts.
    pub by: PrincipalId,
    /// The decision that the record names.
    pub decided_by: Option<ExecutionId>,
    /// Of everything that the record says, apart from when, and by which decision.
    pub digest: Digest,
}

impl AdministrativeAct {
    /// The act that a record is of, if it is one that can be governed.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        let (action, by, decided_by) = named(record)?;
        let (by, decided_by) = (by.clone(), decided_by);
        let digest = Digest::of(&plain(record)?);
        Some(Self {
            action,
            by,
            decided_by,
            digest,
        })
    }
}

impl Record {
    /// The decision that allowed it, where it names one: an act of administration under a bundle that
    /// governs these.
    #[must_use]
    pub fn decided_by(&self) -> Option<ExecutionId> {
        named(self).and_then(|(_, _, decided_by)| decided_by)
    }
}

fn named(record: &Record) -> Option<(&'static str, &PrincipalId, Option<ExecutionId>)> {
    Some(match record {
        Record::Policy(it) => ("admin:activate", &it.by, it.decided_by),
        Record::Principal(it) => ("admin:principal", &it.by, it.decided_by),
        Record::Resumed(it) => ("admin:resume", &it.by, it.decided_by),
        Record::Erased(it) => ("admin:erase", &it.by, it.decided_by),
        Record::Definition(it) => ("admin:definition", &it.by, it.decided_by),
        // Its own permit allowed that, not an administrator's.
        Record::Secret(SecretRecord {
            change: SecretChange::Renewed { .. },
            ..
        }) => return None,
        Record::Secret(it) => ("admin:secret", &it.by, it.decided_by),
        Record::Genesis(_)
        | Record::Decided(_)
        | Record::Approval(_)
        | Record::Answered(_)
        | Record::Refused(_)
        | Record::Started(_)
        | Record::Signal(_)
        | Record::Connections(_)
        | Record::Born(_)
        | Record::Ended(_)
        | Record::Revoked(_)
        | Record::Halted(_)
        | Record::Changes(_)
        | Record::Shadow(_) => return None,
    })
}

/// Canonical bytes of the record without what is not known when it is asked for.
fn plain(record: &Record) -> Option<Vec<u8>> {
    let (time, decided_by) = (Millis::default(), None);
    let bytes = match record.clone() {
        Record::Policy(it) => canonical::to_bytes(&PolicyActivated {
            time,
            decided_by,
            ..it
        }),
        Record::Principal(it) => canonical::to_bytes(&PrincipalRecord {
            time,
            decided_by,
            ..it
        }),
        Record::Resumed(it) => canonical::to_bytes(&Resumed {
            time,
            decided_by,
            ..it
        }),
        Record::Erased(it) => canonical::to_bytes(&Erased {
            time,
            decided_by,
            ..it
        }),
        Record::Definition(it) => canonical::to_bytes(&DefinitionApproved {
            time,
            decided_by,
            ..it
        }),
        Record::Secret(it) => canonical::to_bytes(&SecretRecord {
            time,
            decided_by,
            // Another secret may change while this one waits.
            version: 0,
            ..it
        }),
        Record::Genesis(_)
        | Record::Decided(_)
        | Record::Approval(_)
        | Record::Answered(_)
        | Record::Refused(_)
        | Record::Started(_)
        | Record::Signal(_)
        | Record::Connections(_)
        | Record::Born(_)
        | Record::Ended(_)
        | Record::Revoked(_)
        | Record::Halted(_)
        | Record::Changes(_)
        | Record::Shadow(_) => return None,
    };
    bytes.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Halt;

    fn resumed(by: &str, reason: &str) -> Resumed {
        Resumed {
            by: PrincipalId::parse(by).unwrap(),
            decided_by: None,
            node: None,
            reason: reason.to_owned(),
            time: Millis::new(7),
        }
    }

    fn digest(record: Resumed) -> Digest {
        AdministrativeAct::of(&Record::Resumed(record))
            .unwrap()
            .digest
    }

    #[test]
    fn an_act_is_the_same_whenever_and_by_whatever_decision() {
        let act = resumed("user:a", "r");
        let decided_by = Some(ExecutionId::new([1; 16]));
        let later = Resumed {
            time: Millis::new(8),
            decided_by,
            ..act.clone()
        };
        assert_eq!(digest(act.clone()), digest(later));
        assert_ne!(digest(act.clone()), digest(resumed("user:b", "r")));
        assert_ne!(digest(act), digest(resumed("user:a", "s")));
    }

    #[test]
    fn what_only_takes_trust_away_is_no_act_of_administration() {
        let halted = Record::Halted(Halt {
            by: PrincipalId::parse("user:a").unwrap(),
            reason: String::new(),
            time: Millis::new(7),
        });
        assert_eq!(AdministrativeAct::of(&halted), None);
    }
}
