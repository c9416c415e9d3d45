//! What is submitted of a call, with the environment attested.

use placet_authority::node::Connection;
use placet_authority::node::wire::SubmitBody;
use placet_enforce::Pep;
use placet_evidence::{Attestation, Environment};
use placet_types::{ExecutionId, Fixed};

use super::Gateway;
use crate::attest::OwnProgram;
use crate::call::{Asking, CallError};
use crate::outcome::RunError;

impl Gateway {
    pub(super) fn environment(&self, link: &Connection) -> Result<Fixed<Environment>, CallError> {
        let welcome = link.welcome();
        let memory = self.dir.digests();
        let own = OwnProgram::as_asked(welcome, &memory);
        Ok(crate::attest::lately(&welcome.domain, own)?)
    }

    /// What is submitted of a call, with the environment attested.
    pub(crate) fn body(
        &self,
        call: &Asking<'_>,
        door: Option<ExecutionId>,
        environment: &Fixed<Environment>,
        (link, pep): (&mut Connection, &mut Pep),
    ) -> Result<SubmitBody, RunError> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(SubmitBody {
            attestation: Some(self.attestation(environment, link, pep)?),
            door,
            environment: environment.clone(),
            holder: pep.holder(),
            intent: text(call.intent.to_canonical().unwrap_or_default()),
            params: text(call.params.to_vec()),
            salt: call.salt.clone(),
        })
    }

    pub(super) fn attestation(
        &self,
        environment: &Fixed<Environment>,
        link: &mut Connection,
        pep: &mut Pep,
    ) -> Result<Attestation, RunError> {
        let now = self.clock.wall();
        let nonce = link.nonce(now)?;
        let domain = &link.welcome().domain;
        let attested = pep.attest(domain, environment, nonce, now);
        attested.map_err(|error| RunError::Call(error.into()))
    }
}
