//! From an artifact to a permit.

use placet_artifact::holder::Holder;
use placet_artifact::receipt::Receipt;
use placet_artifact::verify::{
    ActualParams, Expected, PinError, Pins, Presented, Refusal, Skew, Standing, Verified, Verifier,
};
use placet_artifact::{Claims, MemoryGuard, OrderGuard, ReplayGuard};
use placet_evidence::{Attestation, AttestationStatement, Backing, Environment, Nonce};
use placet_types::canonical::Malformed;
use placet_types::{
    Digest, DomainName, ExecutionId, Fixed, GatewayName, Intent, Millis, PublicKey, Salt, Scope,
    SigningKey,
};

/// Artifacts that one gateway remembers as used.
const REMEMBERED_MAX: usize = 4096;

/// The policy enforcement point of one gateway.
#[derive(Debug)]
pub struct Pep {
    verifier: Verifier,
    gateway: GatewayName,
    holder: SigningKey,
    used: Used,
    attested: Option<(Digest, Attestation)>,
}

/// What has been used.
#[derive(Debug)]
enum Used {
    Remembered(MemoryGuard),
    InOrder(OrderGuard),
}

/// The call that is about to happen, and the world as the gateway sees it now.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The intent that the call amounts to.
    pub intent: &'a Intent,
    /// Canonical bytes of the parameters that will be used.
    pub params: &'a [u8],
    /// Salt of their commitment.
    pub salt: &'a Salt,
    /// Digest of the environment.
    pub environment: &'a Digest,
    /// The bundle that is in force.
    pub policy: &'a Digest,
    /// Time.
    pub now: Millis,
}

/// The right to one effect, once. In-process, made by [`Pep::admit`] and by nothing else.
///
/// ```compile_fail
/// fn twice(permit: placet_enforce::Permit) {
///     let copy = permit.clone();
/// }
/// ```
#[derive(Debug)]
#[must_use = "an unused permit is an effect that never happened"]
pub struct Permit {
    verified: Verified,
}

impl Pep {
    /// A gateway that trusts these pins and holds this key.
    ///
    /// # Errors
    ///
    /// [`PinError`] when the pins contradict each other.
    pub fn new(pins: Pins, gateway: GatewayName, holder: SigningKey) -> Result<Self, PinError> {
        let used = Used::Remembered(MemoryGuard::new(REMEMBERED_MAX));
        Ok(Self {
            verifier: Verifier::new(pins)?,
            gateway,
            holder,
            used,
            attested: None,
        })
    }

    /// As well, where permits come one after the other, each decided after the one before: then that a permit is newer
    /// than all before shows that it was not used, and nothing has to be remembered.
    #[must_use]
    pub fn in_log_order(self) -> Self {
        Self {
            used: Used::InOrder(OrderGuard::default()),
            ..self
        }
    }

    /// The key that artifacts for this gateway are bound to.
    #[must_use]
    pub fn holder(&self) -> PublicKey {
        self.holder.public()
    }

    /// Attests the environment, with the key that artifacts are bound to, for a node that gave out this nonce. The
    /// same is signed once.
    ///
    /// # Errors
    ///
    /// Never in practice: every field is JSON.
    pub fn attest(
        &mut self,
        domain: &DomainName,
        environment: &Fixed<Environment>,
        nonce: Nonce,
        now: Millis,
    ) -> Result<Attestation, Malformed> {
        let digest = environment.digest();
        if let Some((of, attested)) = &self.attested
            && (*of, attested.nonce) == (digest, nonce)
        {
            return Ok(attested.clone());
        }
        let statement = AttestationStatement {
            backing: Backing::SelfReported,
            domain: domain.clone(),
            environment: environment.clone(),
            issued: now,
            nonce,
        };
        let attested = statement.sign(&self.holder)?;
        self.attested = Some((digest, attested.clone()));
        Ok(attested)
    }

    /// Name of the gateway.
    #[must_use]
    pub fn gateway(&self) -> &GatewayName {
        &self.gateway
    }

    /// Verifies what was presented against the call, and uses it up.
    ///
    /// # Errors
    ///
    /// [`Refusal`] names the first step that failed. Nothing may happen then.
    pub fn admit(
        &mut self,
        artifact: &str,
        receipt: &Receipt,
        call: &Call<'_>,
    ) -> Result<Permit, Refusal> {
        let live = |_: &Claims| Standing::Live;
        let expected = Expected {
            gateway: &self.gateway,
            intent: call.intent,
            params: ActualParams::Opening {
                payload: call.params,
                salt: call.salt,
            },
            environment: call.environment,
            policy: call.policy,
            // A revocation since the decision is found when the start is recorded: the log puts
            // one before the other.
            revocations: &live,
            challenge: call.intent.params.as_bytes(),
            now: call.now,
            skew: Skew::NONE,
        };
        let presented = Presented {
            artifact,
            receipt,
            // The holder is this process: that the artifact is bound to its key shows that it was
            // issued to it.
            holder: Holder::Itself(&self.holder),
        };
        let used: &mut dyn ReplayGuard = match &mut self.used {
            Used::Remembered(guard) => guard,
            Used::InOrder(guard) => guard,
        };
        let verified = self.verifier.verify(&presented, &expected, used)?;
        Ok(Permit { verified })
    }
}

impl Permit {
    /// The execution that may happen.
    #[must_use]
    pub fn exec(&self) -> ExecutionId {
        self.verified.claims().exec
    }

    /// What it may touch. The enforcement is computed from this and from nothing else.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.verified.claims().detail().scope
    }

    /// What was authorized, in full.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        self.verified.claims()
    }

    /// Digest of the artifact.
    #[must_use]
    pub fn artifact(&self) -> Digest {
        *self.verified.digest()
    }
}
