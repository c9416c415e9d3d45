//! The verifier of attestations: it gives out nonces, knows its own again, and checks what was signed.
//!
//! A nonce costs no memory: its mark is made with a key that this node drew when it opened. So what was attested to a node
//! before it went away counts nothing with the next one. What was verified is remembered, since a gateway presents the same
//! attestation with many intents.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use placet_evidence::{Attestation, Environment, Nonce};
use placet_types::{Commitment, Denial, DenialCode, Digest, DomainName, Fixed, Millis, Salt};
use subtle::ConstantTimeEq as _;

use crate::random::{self, NoRandomness};

/// What the mark of a nonce is made over, beside its time and its random bytes.
const LABEL: &str = "placet-attestation-nonce-v1";
/// How far the clocks of attester and node may be apart.
const SKEW_MS: u64 = 300_000;
/// Attestations that are remembered.
const KNOWN_MAX: usize = 1024;

/// The node's part in attestations.
pub(crate) struct Verifier {
    key: Salt,
    known: Mutex<BTreeMap<[u8; 64], Known>>,
}

/// An attestation that was verified, and what it was said of.
#[derive(PartialEq, Eq)]
struct Known {
    attestation: Attestation,
    environment: Digest,
    holder: String,
}

impl Verifier {
    pub(crate) fn draw() -> Result<Self, NoRandomness> {
        Ok(Self {
            key: random::salt()?,
            known: Mutex::default(),
        })
    }

    /// Something to be signed now.
    pub(crate) fn nonce(&self, now: Millis) -> Result<Nonce, NoRandomness> {
        let random = random::nonce()?;
        let unmarked = Nonce::new(now, random, [0; 16]);
        Ok(Nonce::new(now, random, self.mark(&unmarked)))
    }

    /// Checks an attestation for an intent that is about to be decided.
    pub(crate) fn verify(
        &self,
        attestation: &Attestation,
        domain: &DomainName,
        environment: &Fixed<Environment>,
        holder: &str,
        now: Millis,
    ) -> Result<(), Denial> {
        let refused = |why: String| Denial::new(DenialCode::EnvironmentUntrusted, why);
        if !bool::from(
            self.mark(&attestation.nonce)
                .ct_eq(&attestation.nonce.mark()),
        ) {
            let why = "the nonce of the attestation is not one of this node, as it runs now; ask for one and attest again";
            return Err(refused(why.to_owned()));
        }
        let given = attestation.nonce.time();
        let apart = |one: Millis, other: Millis| one.since(other).max(other.since(one));
        if given.since(now) > SKEW_MS {
            return Err(refused("the node gave out the nonce at a time that is still to come: its clock went back; ask for another one".to_owned()));
        }
        if attestation.issued < given && apart(given, attestation.issued) > SKEW_MS
            || attestation.issued.since(now) > SKEW_MS
        {
            return Err(refused("the attestation says that it was made at another time than the node asked for it: set the clock of the gateway's machine".to_owned()));
        }
        let known = Known {
            attestation: attestation.clone(),
            environment: environment.digest(),
            holder: holder.to_owned(),
        };
        let id = *attestation.signature.as_bytes();
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().get(&id) == Some(&known) {
            return Ok(());
        }
        attestation
            .verify(domain, environment, holder)
            .map_err(|error| refused(error.to_string()))?;
        let mut all = lock();
        if all.len() >= KNOWN_MAX {
            all.clear();
        }
        all.insert(id, known);
        Ok(())
    }

    fn mark(&self, nonce: &Nonce) -> [u8; 16] {
        let mark = Commitment::to(LABEL, nonce.marked(), &self.key);
        mark.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use placet_evidence::{AttestationStatement, Backing};
    use placet_types::SigningKey;

    use super::*;

    const NOW: Millis = Millis::new(1_795_262_400_000);

    fn environment() -> Fixed<Environment> {
        Fixed::new(Environment {
            arch: "x86_64".into(),
            boot: "b".into(),
            container: None,
            distribution: "debian 12".into(),
            gateway: "0.1.0".into(),
            gateway_digest: None,
            kernel: "6.18".into(),
            landlock_abi: 7,
            machine: Digest::of(b"m"),
            region: None,
            tier: None,
            weaker: BTreeSet::new(),
            zone: None,
        })
        .unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32].into())
    }

    fn domain() -> DomainName {
        DomainName::parse("a.example/d").unwrap()
    }

    fn attested(nonce: Nonce, issued: Millis) -> Attestation {
        let statement = AttestationStatement {
            backing: Backing::SelfReported,
            domain: domain(),
            environment: environment(),
            issued,
            nonce,
        };
        statement.sign(&key()).unwrap()
    }

    fn later(secs: u64) -> Millis {
        Millis::new(NOW.get() + secs * 1000)
    }

    #[test]
    fn only_a_nonce_of_this_node_as_it_runs_now_counts() {
        let (node, other) = (Verifier::draw().unwrap(), Verifier::draw().unwrap());
        let holder = key().public().thumbprint();
        let check = |node: &Verifier, said: &Attestation, now| {
            node.verify(said, &domain(), &environment(), &holder, now)
        };
        let nonce = node.nonce(NOW).unwrap();
        let said = attested(nonce, NOW);
        // The second time it is remembered; how old it is, the bundle judges.
        check(&node, &said, NOW).unwrap();
        check(&node, &said, later(86_400)).unwrap();
        let denial = check(&other, &said, NOW).unwrap_err();
        assert_eq!(denial.code, DenialCode::EnvironmentUntrusted);
        assert!(denial.reason.contains("ask for one and attest again"));
        // A nonce that somebody made younger.
        let mut random = [0; 16];
        random.copy_from_slice(&nonce.marked()[8..]);
        let younger = Nonce::new(later(600), random, nonce.mark());
        check(&node, &attested(younger, later(600)), later(600)).unwrap_err();
        // A node whose clock went back.
        assert!(check(&node, &said, Millis::new(NOW.get() - 301_000)).is_err());
    }

    #[test]
    fn what_is_remembered_is_what_was_verified_and_nothing_beside_it() {
        let node = Verifier::draw().unwrap();
        let holder = key().public().thumbprint();
        let said = attested(node.nonce(NOW).unwrap(), NOW);
        let check = |said: &Attestation, environment: &Fixed<Environment>, holder: &str| {
            node.verify(said, &domain(), environment, holder, NOW)
        };
        check(&said, &environment(), &holder).unwrap();
        let other = environment()
            .changed(|it| it.kernel = "6.19".into())
            .unwrap();
        check(&said, &other, &holder).unwrap_err();
        check(&said, &environment(), "another").unwrap_err();
        let altered = Attestation {
            issued: later(1),
            ..said.clone()
        };
        check(&altered, &environment(), &holder).unwrap_err();
        check(&said, &environment(), &holder).unwrap();
    }

    #[test]
    fn a_clock_that_is_far_off_is_told() {
        let node = Verifier::draw().unwrap();
        let holder = key().public().thumbprint();
        for (issued, now, counts) in [
            (later(0), later(1), true),
            (Millis::new(NOW.get() - 299_000), later(0), true),
            (Millis::new(NOW.get() - 301_000), later(0), false),
            (later(299), later(0), true),
            (later(301), later(0), false),
            // Long after it was asked for.
            (later(4000), later(4001), true),
        ] {
            let said = attested(node.nonce(NOW).unwrap(), issued);
            let checked = node.verify(&said, &domain(), &environment(), &holder, now);
            assert_eq!(checked.is_ok(), counts, "{issued} {checked:?}");
        }
    }
}
