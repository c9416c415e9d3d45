//! What the gateway believes: the keys that it pins, and a permit only once it is verified against the call.

use placet_artifact::receipt::Receipt;
use placet_artifact::verify::{PinError, Pins, Refusal};
use placet_authority::node::Connection;
use placet_authority::node::wire::{BegunBody, PermittedBody, Welcome};
use placet_enforce::{Call as AdmittedCall, Pep, Permit};
use placet_evidence::{Entry, Environment, Record};
use placet_tlog::Policy as LogPolicy;
use placet_types::{Digest, Fixed, GatewayName, SigningKey};
use zeroize::Zeroizing;

use super::Gateway;
use crate::call::{Asking, CallError, GATEWAY};
use crate::outcome::RunError;

/// What the node released: not believed before it is verified.
pub(crate) struct Released<'a> {
    active: &'a Digest,
    artifact: &'a str,
    entry: &'a str,
    proof: &'a str,
}

impl<'a> From<&'a PermittedBody> for Released<'a> {
    fn from(body: &'a PermittedBody) -> Self {
        Self {
            active: &body.active,
            artifact: &body.artifact,
            entry: &body.entry,
            proof: &body.proof,
        }
    }
}

impl<'a> From<&'a BegunBody> for Released<'a> {
    fn from(body: &'a BegunBody) -> Self {
        Self {
            active: &body.active,
            artifact: &body.artifact,
            entry: &body.entry,
            proof: &body.proof,
        }
    }
}

impl Gateway {
    pub(crate) fn pep(&self, link: &Connection) -> Result<Pep, RunError> {
        let welcome = link.welcome();
        let pins = match self.kept.pins_of(&welcome.genesis) {
            Some(pins) => pins,
            None => {
                let pins = pins(&self.policy, welcome)?;
                self.kept.keep_pins(&welcome.genesis, &pins);
                pins
            }
        };
        let keys = |error: String| RunError::Keys(error);
        let gateway = GatewayName::parse(GATEWAY).map_err(|error| keys(error.to_string()))?;
        Pep::new(pins, gateway, holder()?).map_err(|error: PinError| keys(error.to_string()))
    }

    /// Verifies what the node released against the call; reports nothing.
    pub(crate) fn admit(
        &self,
        pep: &mut Pep,
        call: &Asking<'_>,
        environment: &Fixed<Environment>,
        released: &Released<'_>,
    ) -> Result<Permit, Refusal> {
        let receipt = Receipt {
            entry: released.entry.as_bytes().to_vec(),
            proof: released.proof.as_bytes().to_vec(),
        };
        pep.admit(
            released.artifact,
            &receipt,
            &AdmittedCall {
                intent: call.intent,
                params: call.params,
                salt: call.salt,
                environment: &environment.digest(),
                policy: released.active,
                now: self.clock.wall(),
            },
        )
    }
}

/// What an enforcement point trusts: the domain's log by its public policy file, and the other
/// keys by the genesis record that the log begins with.
///
/// # Errors
///
/// [`RunError::Keys`] when the genesis record that the node shows does not fit the policy.
pub fn pins(policy: &LogPolicy, welcome: &Welcome) -> Result<Pins, RunError> {
    let keys = |reason: String| RunError::Keys(reason);
    let entry = Entry::from_bytes(welcome.genesis.clone().into_bytes());
    let Record::Genesis(genesis) = entry.read().map_err(|error| keys(error.to_string()))? else {
        return Err(keys("the first record is no genesis record".into()));
    };
    entry
        .open(&genesis.keys.record)
        .map_err(|error| keys(error.to_string()))?;
    if !policy
        .logs()
        .iter()
        .any(|log| *log.key().public_key() == genesis.keys.log)
    {
        return Err(keys("the genesis record names another log key".into()));
    }
    Ok(Pins {
        domain: genesis.domain,
        artifact_key: genesis.keys.artifact,
        record_key: genesis.keys.record,
        log: policy.clone(),
    })
}

fn holder() -> Result<SigningKey, RunError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| CallError::Random)?;
    Ok(SigningKey::from_seed(&seed))
}
