//! What is submitted of a call, with the environment attested.

use placet_authority::node::Connection;
use placet_authority::node::wire::{AppraiseBody, CallBody, Request, Response, SubmitBody};
use placet_enforce::Pep;
use placet_evidence::{Attestation, Environment};
use placet_types::{ExecutionId, Fixed};

use super::{Gateway, unexpected};
use crate::attest::{self, OwnProgram};
use crate::call::{Asking, CallError};
use crate::outcome::RunError;

impl Gateway {
    pub(super) fn environment(&self, link: &Connection) -> Result<Fixed<Environment>, CallError> {
        let welcome = link.welcome();
        let memory = self.dir.digests();
        let own = OwnProgram::as_asked(welcome, &memory);
        Ok(attest::lately(&welcome.domain, own)?)
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
            bearer: None,
            attestation: Some(self.attestation(environment, link, pep)?),
            door,
            environment: environment.clone(),
            holder: pep.holder(),
            intent: text(call.intent.to_canonical().unwrap_or_default()),
            params: text(call.params.to_vec()),
            salt: call.salt.clone(),
        })
    }

    /// A call as it is asked about where the environment was attested before.
    pub(crate) fn call_body(call: &Asking<'_>) -> CallBody {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        CallBody {
            intent: text(call.intent.to_canonical().unwrap_or_default()),
            params: text(call.params.to_vec()),
            salt: call.salt.clone(),
        }
    }

    /// Attests again what was decided about, as the node asks for it. What is not so any more is not said: it is drift, which
    /// ends the work.
    pub(crate) fn attest_again(
        &self,
        environment: &Fixed<Environment>,
        (link, pep): (&mut Connection, &mut Pep),
    ) -> Result<(), RunError> {
        let domain = link.welcome().domain.clone();
        let drifted = || attest::drifted(environment, &domain, true);
        // A probe can fail for want of a process; one that fails twice in a row is believed.
        if drifted().and_then(|_| drifted()).is_some() {
            return Ok(());
        }
        let nonce = link.new_nonce()?;
        let attested = pep.attest(&domain, environment, nonce, self.clock.wall());
        let body = AppraiseBody {
            attestation: Some(attested.map_err(|error| RunError::Call(error.into()))?),
            environment: environment.clone(),
        };
        match link.ask(&Request::Attest(Box::new(body)))? {
            // One that does not count is asked for again.
            Response::Appraised(_) | Response::Error(_) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn attestation(
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
