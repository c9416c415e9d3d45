//! Definitions of tools: which one counts.
//!
//! The first definition that a permit was given under is the one; another takes its place only when
//! somebody approves it. So a server cannot change what a tool says it is after it was looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use placet_evidence::DefinitionApproved;
use placet_types::{Digest, Index, ResourceRef};

use crate::apply::digest_of;

/// Definitions that are remembered. Beyond it nothing new is permitted.
pub const DEFINITIONS_MAX: usize = 16_384;

/// The definitions that count, by what they define.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions(BTreeMap<Digest, Definition>);

/// The definition that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Digest of the canonical definition.
    pub digest: Digest,
    /// Name of what it defines.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The record that made it count: the first permit, or an approval.
    pub since: Index,
}

/// How what is offered stands to what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is what counts, or the first of its name.
    Fits,
    /// Another one counts.
    Differs,
    /// It is new, and there is no room to remember it.
    NoRoom,
}

impl Definitions {
    /// How the definition that an intent names stands to the one that counts.
    #[must_use]
    pub fn standing(&self, resource: &ResourceRef) -> Standing {
        let Some(digest) = resource.digest.filter(|_| resource.is_defined()) else {
            return Standing::Fits;
        };
        match self.0.get(&digest_of(&resource.kind, &resource.id)) {
            Some(definition) if definition.digest == digest => Standing::Fits,
            Some(_) => Standing::Differs,
            None if self.0.len() < DEFINITIONS_MAX => Standing::Fits,
            None => Standing::NoRoom,
        }
    }

    /// Every definition that counts.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.0.values()
    }

    /// A permit was given: the first one decides.
    pub(crate) fn permitted(&mut self, resource: &ResourceRef, at: Index) {
        if let Some(digest) = resource.digest.filter(|_| resource.is_defined())
            && self.0.len() < DEFINITIONS_MAX
        {
            let key = digest_of(&resource.kind, &resource.id);
            self.0.entry(key).or_insert_with(|| Definition {
                digest,
                id: resource.id.clone(),
                kind: resource.kind.clone(),
                since: at,
            });
        }
    }

    pub(crate) fn approved(&mut self, record: &DefinitionApproved, at: Index) {
        let key = digest_of(&record.kind, &record.id);
        if self.0.len() < DEFINITIONS_MAX || self.0.contains_key(&key) {
            let definition = Definition {
                digest: record.digest,
                id: record.id.clone(),
                kind: record.kind.clone(),
                since: at,
            };
            self.0.insert(key, definition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_types::{Millis, PrincipalId};

    fn tool(digest: Option<Digest>) -> ResourceRef {
        ResourceRef {
            digest,
            id: "files/read".into(),
            kind: "McpTool".into(),
        }
    }

    #[test]
    fn the_first_permitted_definition_counts_until_another_is_approved() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let mut definitions = Definitions::default();
        assert_eq!(definitions.standing(&tool(Some(old))), Standing::Fits);
        definitions.permitted(&tool(Some(old)), Index::new(7));
        definitions.permitted(&tool(Some(new)), Index::new(8));
        assert_eq!(definitions.standing(&tool(Some(new))), Standing::Differs);
        assert_eq!(definitions.standing(&tool(Some(old))), Standing::Fits);
        let approved = DefinitionApproved {
            by: PrincipalId::parse("user:op").unwrap(),
            decided_by: None,
            digest: new,
            id: "files/read".into(),
            kind: "McpTool".into(),
            reason: String::new(),
            time: Millis::new(9),
        };
        definitions.approved(&approved, Index::new(9));
        assert_eq!(definitions.standing(&tool(Some(new))), Standing::Fits);
        assert_eq!(definitions.standing(&tool(Some(old))), Standing::Differs);
    }

    #[test]
    fn what_is_no_tool_has_no_definition() {
        let mut definitions = Definitions::default();
        let program = ResourceRef {
            kind: "Program".into(),
            ..tool(Some(Digest::of(b"a")))
        };
        definitions.permitted(&program, Index::new(1));
        definitions.permitted(&tool(None), Index::new(2));
        assert_eq!(definitions.iter().count(), 0);
    }

    #[test]
    fn what_there_is_no_room_for_is_not_taken() {
        let mut definitions = Definitions::default();
        for number in 0..DEFINITIONS_MAX {
            let one = ResourceRef {
                id: number.to_string(),
                ..tool(Some(Digest::of(b"a")))
            };
            definitions.permitted(&one, Index::new(1));
        }
        assert_eq!(
            definitions.standing(&tool(Some(Digest::of(b"a")))),
            Standing::NoRoom
        );
    }
}
