//! Private parameters, read once.

use placet_types::canonical::{Json, Malformed};
use placet_types::{ProcessParams, Salt};

/// Parameters of an intent: private, opened against the commitment in the intent.
///
/// Reading them costs more than all the checks, so it is done where they come in, which may be
/// many places at once; deciding is one thing after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    bytes: Vec<u8>,
    salt: Salt,
    read: Result<Read, Malformed>,
}

/// Parameters of `process:run`, as types and as what policies look at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) params: ProcessParams,
    pub(crate) json: Json,
}

impl Params {
    /// Takes canonical JSON and the salt that hides it. What does not read is denied by check 1.
    #[must_use]
    pub fn new(bytes: Vec<u8>, salt: Salt) -> Self {
        let read =
            ProcessParams::decode_with_json(&bytes).map(|(params, json)| Read { params, json });
        Self { bytes, salt, read }
    }

    /// The canonical JSON.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What hides it.
    #[must_use]
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    pub(crate) fn read(&self) -> Result<&Read, &Malformed> {
        self.read.as_ref()
    }
}
