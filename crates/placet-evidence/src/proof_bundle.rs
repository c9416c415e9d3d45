//! Proof bundles: one file that shows a stranger what was decided, and that it is in the log.
//!
//! A bundle is JSON: the record and its C2SP proof, the genesis record and its proof (the domain's
//! keys by role follow from it), further records about the same execution, the artifact, and,
//! where its owner discloses them, the parameters with their salt. The only thing trusted is the
//! domain's public policy file, which the verifier has from elsewhere: the copy in a bundle is for
//! reading.
//!
//! Verification is offline, reads no clock, and names every step. It tells three things apart: all
//! holds, a step fails, and what cannot be told from this bundle.

mod verify;

use serde::{Deserialize, Serialize};

use placet_types::Salt;
use placet_types::canonical::{self, Bounds, Malformed};

pub use verify::{Report, Step, StepOutcome, verify};

/// What a bundle calls itself.
pub const FORMAT: &str = "placet-proof-bundle/v1";
/// Longest bundle, in bytes.
pub const BYTES_MAX: usize = 8 << 20;

/// A proof bundle. Plain data: nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofBundle {
    /// The artifact, for a permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Parameters of the intent, where they are disclosed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclosed: Option<Disclosed>,
    /// [`FORMAT`].
    pub format: String,
    /// The first record of the log.
    pub genesis: Proven,
    /// The domain's policy file, for reading.
    pub policy: String,
    /// The record that the bundle is about.
    pub record: Proven,
    /// Further records about the same execution: its start, its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Proven>,
}

/// An entry of the log with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// The entry, to the byte: it is text.
    pub entry: String,
    /// The C2SP tlog-proof file.
    pub proof: String,
}

/// A private payload that its owner discloses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosed {
    /// Canonical JSON of the parameters.
    pub params: String,
    /// What hid them.
    pub salt: Salt,
}

impl ProofBundle {
    /// Reads a bundle. It need not be in canonical form: it is a container.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the rule that is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bounds = Bounds {
            bytes_max: BYTES_MAX,
            depth_max: 16,
        };
        let (bundle, _): (Self, _) = canonical::canonicalize(bytes, bounds)?;
        if bundle.format == FORMAT {
            Ok(bundle)
        } else {
            Err(Malformed::Shape(format!("the format is not {FORMAT}")))
        }
    }

    /// The canonical bytes.
    ///
    /// # Errors
    ///
    /// Never in practice: every field is JSON.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        canonical::to_bytes(self)
    }
}
