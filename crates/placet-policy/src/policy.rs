//! A compiled bundle: policies parsed, validated strictly, indexed, ready to evaluate.
//!
//! Immutable but for its caches, which change no answer. Share it in an `Arc`; swap the `Arc` to
//! activate another bundle.

mod annotations;
mod answers;
mod ask;
mod cache;
mod compile;
mod declared;
mod effort;
mod evaluate;
mod index;
mod mentions;
mod scopes;
mod source;
mod vocabulary;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cedar_policy::{Entities, PolicyId, Schema};
use placet_types::{Digest, FixedScope, ProfileName};

use crate::bundle::{Bundle, Validity};
use crate::directory::Directory;
use crate::entities::Entities as BundleEntities;
use crate::identities::Mapping;
use crate::profile::Profile;
use crate::reference::References;

pub use annotations::{Approvals, Obligations, Rule};
pub use ask::{Asked, Who};
pub use evaluate::{Effect, Evaluation, Fault, ShadowMismatch};

pub(crate) use compile::{Sources, describe, parse_sources};
pub(crate) use declared::{Declared, Plain};
pub(crate) use evaluate::Prepared;
pub(crate) use mentions::{Mentions, Parts};
pub use source::source;
pub(crate) use source::split;

use answers::Answers;
use cache::Cache;
use index::{Index, Slice};
use scopes::ScopeKey;

/// A compiled bundle.
pub struct Policy {
    digest: Digest,
    name: String,
    revision: u64,
    validity: Validity,
    default_profile: ProfileName,
    governs: bool,
    profiles: BTreeMap<ProfileName, Profile>,
    references: References,
    bundle_entities: BundleEntities,
    mapping: Mapping,
    directory: Directory,
    declared: Declared,
    /// Every policy by its id: what annotations say, and where it stands.
    rules: BTreeMap<String, Rule>,
    schema: Schema,
    /// Actions, groups and toolsets: what every request needs.
    base: Entities,
    /// Every policy.
    full: Arc<Slice>,
    index: Index,
    slices: Cache<Vec<u32>, Arc<Slice>>,
    prepared: Cache<String, Arc<Prepared>>,
    scopes: Cache<ScopeKey, FixedScope>,
    answers: Answers,
    index_trusted: AtomicBool,
}

impl Policy {
    /// Digest of the bundle that this was compiled from.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Name of the bundle.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Revision of the bundle.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When the bundle counts.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether acts of administration need a decision while this is in force: it speaks the
    /// vocabulary `admin`.
    #[must_use]
    pub fn governs(&self) -> bool {
        self.governs
    }

    /// Profile of a permit that names none.
    #[must_use]
    pub fn default_profile(&self) -> &ProfileName {
        &self.default_profile
    }

    /// A profile by its name.
    #[must_use]
    pub fn profile(&self, name: &ProfileName) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// The profiles, in order of their names.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }

    /// The reference values that environments are appraised against.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.references
    }

    /// Whether a reference value or a policy looks at the digests of gateways' own programs.
    #[must_use]
    pub fn looks_at_gateways(&self) -> bool {
        let warned = &self.references.warning.gateway_digests;
        self.references.gateway_digests.is_some()
            || !warned.is_empty()
            || self.full.mentions.has_part("environment", "gateway_digest")
    }

    /// Which identities act as which principals.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The policies, in order of their ids.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// A policy by its id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.get(id)
    }

    /// From now on every evaluation uses the full set: slower, and independent of the index.
    ///
    /// For whoever saw [`Policy::shadow_check`] fail.
    pub fn distrust_index(&self) {
        self.index_trusted.store(false, Ordering::Relaxed);
    }

    /// Whether a principal of these groups is in one of `wanted`, by the bundle's nesting too.
    #[must_use]
    pub fn stands_in<'a>(
        &'a self,
        groups: impl IntoIterator<Item = &'a String>,
        wanted: &[String],
    ) -> bool
    where
        Self: 'a,
    {
        let groups = groups.into_iter().map(String::as_str);
        self.bundle_entities.stands_in(groups, wanted)
    }

    /// A policy as Cedar has it.
    pub(crate) fn cedar(&self, id: &str) -> Option<&cedar_policy::Policy> {
        self.full.set.policy(&PolicyId::new(id))
    }

    /// What Cedar's validator finds odd, though not wrong.
    pub(crate) fn validator_warnings(&self) -> Vec<crate::Problem> {
        compile::validator_warnings(&self.full.set, &self.schema, &self.rules)
    }

    /// Compiles a bundle: parses its policies, names them by `@id`, validates them strictly.
    ///
    /// # Errors
    ///
    /// Every problem of the bundle.
    pub fn compile(bundle: &Bundle) -> Result<Self, Vec<crate::Problem>> {
        compile::compile(bundle)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("name", &self.name)
            .field("revision", &self.revision)
            .field("digest", &self.digest)
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
