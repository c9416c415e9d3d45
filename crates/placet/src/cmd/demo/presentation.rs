//! An artifact as it is presented at an enforcement point, in this process, by the code that every
//! gateway uses. Each part of it can be replaced, to see what is refused.

use std::collections::BTreeMap;

use placet_artifact::claims::Claims;
use placet_artifact::jws::{Compact, Header};
use placet_artifact::verify::{Pins, Refusal};
use placet_artifact::{Receipt, assemble};
use placet_authority::clock::Clock;
use placet_authority::init::public_policy;
use placet_authority::node::Connection;
use placet_authority::node::wire::{PermittedBody, Request, Response, SubmitBody};
use placet_enforce::{Call as Admitted, Pep, Permit};
use placet_process::attest::{self, OwnProgram};
use placet_process::{Call, Command, Waits};
use placet_types::{
    Digest, ExecutionId, GatewayName, Intent, Millis, PrincipalId, Salt, SigningKey,
};

use super::ground::{AGENT, Ground};
use crate::exit::Failure;

/// Everything that an enforcement point looks at.
pub(super) struct Presentation {
    pub(super) pins: Pins,
    pub(super) gateway: GatewayName,
    pub(super) holder: SigningKey,
    pub(super) artifact: String,
    pub(super) receipt: Receipt,
    pub(super) intent: Intent,
    pub(super) params: Vec<u8>,
    pub(super) salt: Salt,
    pub(super) environment: Digest,
    pub(super) policy: Digest,
    pub(super) now: Millis,
    pub(super) exec: ExecutionId,
}

impl Presentation {
    /// Has a command decided, as a gateway does, and does not use the permit.
    pub(super) fn obtain(
        ground: &Ground,
        link: &mut Connection,
        clock: &dyn Clock,
        argv: &[&str],
    ) -> Result<Self, Failure> {
        let pins = placet_process::pins(&public_policy(&ground.domain()?.dir)?, link.welcome());
        let pins = pins.map_err(Failure::unverified)?;
        let offered = link.welcome().env.iter().cloned().collect();
        let call = Call::new(&command(ground, argv)?, &offered, None).map_err(Failure::new)?;
        let environment = attest::environment(&link.welcome().domain, OwnProgram::Unmeasured)
            .map_err(Failure::new)?;
        let digest = environment.digest();
        let holder = key()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let body = SubmitBody {
            bearer: None,
            attestation: None,
            door: None,
            environment,
            holder: holder.public(),
            intent: text(&call.intent.to_canonical().map_err(Failure::new)?),
            params: text(&call.params_bytes),
            salt: call.salt.clone(),
        };
        let Response::Permitted(body) = link.ask(&Request::Submit(Box::new(body)))? else {
            return Err(Failure::new(format!(
                "{} was not permitted",
                argv.join(" ")
            )));
        };
        let PermittedBody {
            active,
            artifact,
            entry,
            exec,
            proof,
            ..
        } = *body;
        Ok(Self {
            pins,
            gateway: call.intent.gateway.clone(),
            holder,
            artifact,
            receipt: Receipt {
                entry: entry.into_bytes(),
                proof: proof.into_bytes(),
            },
            intent: call.intent,
            params: call.params_bytes,
            salt: call.salt,
            environment: digest,
            policy: active,
            now: clock.wall(),
            exec,
        })
    }

    /// The same again.
    pub(super) fn copy(&self) -> Self {
        Self {
            pins: self.pins.clone(),
            gateway: self.gateway.clone(),
            holder: SigningKey::from_seed(&self.holder.seed()),
            artifact: self.artifact.clone(),
            receipt: self.receipt.clone(),
            intent: self.intent.clone(),
            params: self.params.clone(),
            salt: self.salt.clone(),
            environment: self.environment,
            policy: self.policy,
            now: self.now,
            exec: self.exec,
        }
    }

    /// An enforcement point that has seen nothing yet.
    pub(super) fn pep(&self) -> Result<Pep, Failure> {
        let holder = SigningKey::from_seed(&self.holder.seed());
        Pep::new(self.pins.clone(), self.gateway.clone(), holder).map_err(Failure::new)
    }

    /// Presents it.
    pub(super) fn present_at(&self, pep: &mut Pep) -> Result<Permit, Refusal> {
        let call = Admitted {
            intent: &self.intent,
            params: &self.params,
            salt: &self.salt,
            environment: &self.environment,
            policy: &self.policy,
            now: self.now,
        };
        pep.admit(&self.artifact, &self.receipt, &call)
    }

    /// What the artifact says.
    pub(super) fn claims(&self) -> Result<Claims, Failure> {
        let compact = Compact::parse(&self.artifact).map_err(Failure::new)?;
        Claims::decode(compact.payload()).map_err(Failure::new)
    }

    /// Puts other claims under the header and the signature that are there.
    pub(super) fn replace_claims(&mut self, claims: &Claims) -> Result<(), Failure> {
        let compact = Compact::parse(&self.artifact).map_err(Failure::new)?;
        let header = Header::decode(compact.header()).map_err(Failure::new)?;
        let altered = assemble(claims, &header, compact.signature()).map_err(Failure::new)?;
        self.artifact = altered.as_str().to_owned();
        Ok(())
    }
}

/// A command of the agent.
fn command(ground: &Ground, argv: &[&str]) -> Result<Command, Failure> {
    let env: BTreeMap<String, String> = ground
        .environment()
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.into_string().ok()?)))
        .collect();
    Ok(Command {
        argv: argv.iter().map(|text| (*text).to_owned()).collect(),
        env,
        cwd: ground.project(),
        principal: PrincipalId::parse(AGENT).map_err(Failure::new)?,
        purpose: None,
        profile: None,
        lifetime: None,
        parent: None,
        door: None,
        waits: Waits::No,
        decide: false,
        announce: false,
    })
}

/// A key that nobody knows.
pub(super) fn key() -> Result<SigningKey, Failure> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(Failure::new)?;
    Ok(SigningKey::from_seed(&seed))
}
