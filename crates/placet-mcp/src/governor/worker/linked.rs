//! Connections of the worker to a node, and what is attested over them.

use std::sync::Arc;
use std::time::Duration;

use placet_authority::node::wire::{AppraiseBody, Request, Response};
use placet_enforce::Pep;
use placet_evidence::{Attestation, Environment};
use placet_types::{Denial, DenialCode, Fixed, GatewayName, SigningKey};
use zeroize::Zeroizing;

use super::{Failed, Linked, Worker, hears, unexpected};
use crate::subject::GATEWAY;

/// When another environment than the attested one is believed: what was tried counts for five seconds.
const BELIEVED_AFTER: Duration = Duration::from_secs(11);

impl Worker {
    fn holder(&mut self) -> Result<SigningKey, getrandom::Error> {
        if let Some(seed) = &self.seed {
            return Ok(SigningKey::from_seed(seed));
        }
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())?;
        Ok(SigningKey::from_seed(self.seed.insert(seed)))
    }

    /// What is said of the machine, attested not long ago: measured again whenever the node has to be asked for a nonce.
    pub(super) fn attested(&mut self) -> Result<(Attestation, Fixed<Environment>), Failed> {
        let setting = Arc::clone(&self.setting);
        let now = setting.clock.wall();
        let untrusted =
            |reason: String| Failed::Denied(Denial::new(DenialCode::EvidenceUnavailable, reason));
        let link = self.link()?;
        let before = link.node.nonce_at_hand();
        let nonce = link.node.nonce(now)?;
        if nonce != before {
            link.environment = (setting.environment)(link.node.welcome()).map_err(untrusted)?;
        }
        let domain = &link.node.welcome().domain;
        let attested = link.pep.attest(domain, &link.environment, nonce, now);
        let attested = attested.map_err(|error| untrusted(error.to_string()))?;
        Ok((attested, link.environment.clone()))
    }

    /// Attests again what the node asks for: the machine as it is now. What was decided for another one ends.
    pub(super) fn attest_again(&mut self) -> Result<(), Failed> {
        let setting = Arc::clone(&self.setting);
        let (now, monotonic) = (setting.clock.wall(), setting.clock.monotonic());
        let untrusted =
            |reason: String| Failed::Denied(Denial::new(DenialCode::EvidenceUnavailable, reason));
        let link = self.link()?;
        let nonce = link.node.new_nonce()?;
        let measured = (setting.environment)(link.node.welcome()).map_err(untrusted)?;
        if measured != link.environment {
            // What can be enforced is tried by a process, and that can fail for want of one: believed once it was tried again.
            let since = *link.differs.get_or_insert(monotonic);
            if monotonic.saturating_sub(since) < BELIEVED_AFTER {
                return Ok(());
            }
        }
        link.differs = None;
        link.environment = measured;
        let domain = &link.node.welcome().domain;
        let attested = link.pep.attest(domain, &link.environment, nonce, now);
        let body = AppraiseBody {
            attestation: Some(attested.map_err(|error| untrusted(error.to_string()))?),
            environment: link.environment.clone(),
        };
        match link.node.ask(&Request::Attest(Box::new(body)))? {
            Response::Appraised(_) | Response::Error(_) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    pub(super) fn connect(&mut self) -> Result<Linked, Failed> {
        let holder = self.holder();
        let setting = Arc::clone(&self.setting);
        let node = (setting.connect)().map_err(|error| Failed::Link(error.to_string()))?;
        let untrusted =
            |reason: String| Failed::Denied(Denial::new(DenialCode::EvidenceUnavailable, reason));
        let pins = (setting.pins)(node.welcome()).map_err(untrusted)?;
        let environment = (setting.environment)(node.welcome()).map_err(untrusted)?;
        let holder = holder.map_err(|error| untrusted(error.to_string()))?;
        let gateway = GatewayName::parse(GATEWAY).map_err(|error| untrusted(error.to_string()))?;
        let pep = Pep::new(pins, gateway, holder);
        hears(&self.events, &node, true, true);
        Ok(Linked {
            said: None,
            node,
            pep: pep
                .map_err(|error| untrusted(error.to_string()))?
                .in_log_order(),
            environment,
            differs: None,
        })
    }
}
