//! Connections of the worker to a node, and what is attested over them.

use std::sync::Arc;

use placet_enforce::Pep;
use placet_evidence::{Attestation, Environment};
use placet_types::{Denial, DenialCode, Fixed, GatewayName, SigningKey};
use zeroize::Zeroizing;

use super::{Failed, Linked, Worker, hears};
use crate::subject::GATEWAY;

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
        })
    }
}
