//! Private parameters, read once.

use placet_policy::Given;
use placet_types::canonical::{Json, Malformed};
use placet_types::{CallParams, ProcessParams, Salt};

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

/// Parameters as types and as what policies look at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Read {
    /// Of `process:run`.
    Process { params: ProcessParams, json: Json },
    /// Of any other action, which the bundle declares.
    Call(CallParams),
}

impl Params {
    /// Takes canonical JSON and the salt that hides it. What does not read is denied by check 1, and
    /// so is what has the shape of another action's parameters.
    #[must_use]
    pub fn new(bytes: Vec<u8>, salt: Salt) -> Self {
        // Canonical parameters of a process begin with their first member; no others have it.
        let read = if bytes.starts_with(br#"{"argv":"#) {
            ProcessParams::decode_with_json(&bytes)
                .map(|(params, json)| Read::Process { params, json })
        } else {
            CallParams::decode(&bytes).map(Read::Call)
        };
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

    /// What policies are shown of it; `None` of what does not read.
    #[must_use]
    pub fn given(&self) -> Option<Given<'_>> {
        self.read.as_ref().ok().map(Read::given)
    }

    pub(crate) fn read(&self) -> Result<&Read, &Malformed> {
        self.read.as_ref()
    }
}

impl Read {
    /// What policies are shown.
    pub(crate) fn given(&self) -> Given<'_> {
        match self {
            Self::Process { json, .. } => Given::Process(json),
            Self::Call(params) => Given::Call(params),
        }
    }
}
