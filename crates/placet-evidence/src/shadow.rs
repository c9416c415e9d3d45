//! What is recorded when a bundle is decided beside the one in force, or is no longer.

use serde::{Deserialize, Serialize};

use placet_types::{Digest, KeyId, Millis, PrincipalId};

/// From here on this bundle is decided beside the one in force, or none is. It gives no authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// Which one; absent when none is from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<ShadowBundle>,
    /// Who says so.
    pub by: PrincipalId,
    /// Why, in their words. Public.
    pub reason: String,
    /// When.
    pub time: Millis,
}

/// A bundle that is decided beside the one in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowBundle {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its name.
    pub name: String,
    /// Its revision, which need not be above the one in force.
    pub revision: u64,
    /// Operator keys whose signatures were verified.
    pub signers: Vec<KeyId>,
}
