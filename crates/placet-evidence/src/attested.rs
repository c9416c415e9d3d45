//! What a decision says of the machine that it is about, checked without the bundle that it was appraised by.
//!
//! The signature stands for itself; and what the record says was made of it must follow from itself: its age from the nonce, its
//! status from the claims. Whether the claims were judged as the reference values have it, only who has the bundle can tell.

use placet_types::DomainName;

use crate::{Appraisal, AppraisalStatus, Attestation, Decided, Outcome};

impl Decided {
    /// Checks what was attested; gives in words what was found, or nothing where nobody attested.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn check_attested(&self, domain: &DomainName) -> Result<Option<String>, String> {
        let Some(attestation) = &self.facts.attestation else {
            return match &self.appraisal {
                None => Ok(None),
                Some(_) => Err("an appraisal of what nobody attested".to_owned()),
            };
        };
        attestation
            .verify(domain, &self.facts.environment, &self.facts.holder)
            .map_err(|error| error.to_string())?;
        let holder = &self.facts.holder;
        match &self.appraisal {
            None if self.outcome == Outcome::Deny => Ok(Some(format!(
                "signed by {holder}; denied before it was appraised"
            ))),
            None => Err("an attestation that was not appraised".to_owned()),
            Some(appraisal) => {
                self.check_appraisal(appraisal, attestation)?;
                let status = appraisal.status.as_str();
                Ok(Some(format!("signed by {holder}, appraised as {status}")))
            }
        }
    }

    fn check_appraisal(
        &self,
        appraisal: &Appraisal,
        attestation: &Attestation,
    ) -> Result<(), String> {
        let age = self.facts.time.since(attestation.nonce.time()) / 1000;
        if appraisal.age_secs != Some(age) {
            return Err("the appraisal names another age than the nonce".to_owned());
        }
        let twice = |a: &std::collections::BTreeSet<_>, b: &std::collections::BTreeSet<_>| {
            a.intersection(b).next().is_some()
        };
        let (good, warned, bad) = (
            &appraisal.affirming,
            &appraisal.warning,
            &appraisal.contraindicated,
        );
        if twice(good, warned) || twice(good, bad) || twice(warned, bad) {
            return Err("the appraisal judges one claim in two ways".to_owned());
        }
        let follows = match appraisal.status {
            AppraisalStatus::Contraindicated => !bad.is_empty() && self.outcome == Outcome::Deny,
            AppraisalStatus::None => bad.is_empty(),
            AppraisalStatus::Warning => bad.is_empty() && !warned.is_empty(),
            AppraisalStatus::Affirming => bad.is_empty() && warned.is_empty(),
        };
        if follows {
            return Ok(());
        }
        Err("the status of the appraisal does not follow from its claims".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use placet_types::{Digest, SigningKey};
    use serde_json::{Value, json};
    use zeroize::Zeroizing;

    use super::*;
    use crate::{AttestationStatement, Backing, Environment, Nonce};

    fn domain() -> DomainName {
        DomainName::parse("a.example/d").unwrap()
    }

    /// A denial that was attested 90 seconds before.
    fn decided() -> Value {
        let (key, digest) = (
            SigningKey::from_seed(&Zeroizing::new([7; 32])),
            Digest::of(b"x"),
        );
        let environment = json!({
            "arch": "x86_64", "boot": "b", "distribution": "debian 12", "gateway": "0.1.0", "kernel": "6.18",
            "landlock_abi": 7, "machine": digest, "tier": "U1",
        });
        let fixed: Environment = serde_json::from_value(environment.clone()).unwrap();
        let statement = AttestationStatement {
            backing: Backing::SelfReported,
            domain: domain(),
            environment: placet_types::Fixed::new(fixed).unwrap(),
            issued: placet_types::Millis::new(10_000),
            nonce: Nonce::new(placet_types::Millis::new(10_000), [1; 16], [2; 16]),
        };
        json!({
            "appraisal": {
                "affirming": ["tier"], "age_secs": 90, "contraindicated": [], "status": "warning",
                "warning": ["kernel"],
            },
            "denial": { "check": 8, "code": "no_permit", "reason": "no" },
            "facts": {
                "attestation": statement.sign(&key).unwrap(),
                "caller": { "unix": 1 }, "environment": environment,
                "exec": format!("exec_{}", "1".repeat(32)),
                "holder": key.public().thumbprint(), "time": 100_500,
            },
            "intent": {
                "action": "process:run", "gateway": "process", "params": "A".repeat(43),
                "principal": "agent:a", "resource": { "digest": digest, "id": "/bin/a", "kind": "Program" },
            },
            "outcome": "deny",
            "policy": { "bundle": digest, "determining": [] },
            "risk": { "factors": [], "score": 0 },
        })
    }

    fn checked(change: impl FnOnce(&mut Value)) -> Result<Option<String>, String> {
        let mut value = decided();
        change(&mut value);
        let decided: Decided = serde_json::from_value(value).unwrap();
        decided.check_attested(&domain())
    }

    #[test]
    fn an_appraisal_follows_from_itself() {
        let found = checked(|_| {}).unwrap().unwrap();
        assert!(found.ends_with("appraised as warning"), "{found}");
        let old = |it: &mut Value| it["appraisal"]["status"] = json!("none");
        assert!(checked(old).is_ok());
        for (why, change) in [
            ("another age", ("/appraisal/age_secs", json!(89))),
            ("another status", ("/appraisal/status", json!("affirming"))),
            (
                "ruled out and nothing is",
                ("/appraisal/status", json!("contraindicated")),
            ),
            ("a claim twice", ("/appraisal/affirming", json!(["kernel"]))),
            (
                "ruled out and a warning",
                ("/appraisal/contraindicated", json!(["tier"])),
            ),
            (
                "another environment",
                ("/facts/environment/kernel", json!("6.19")),
            ),
            ("another key", ("/facts/holder", json!("x"))),
            ("unattested", ("/facts/attestation", Value::Null)),
        ] {
            let (at, value) = change;
            let changed = checked(|it| *it.pointer_mut(at).unwrap() = value);
            assert!(changed.is_err(), "{why}: {changed:?}");
        }
        let neither = |it: &mut Value| {
            it["appraisal"] = Value::Null;
            it["facts"]["attestation"] = Value::Null;
        };
        assert_eq!(checked(neither), Ok(None));
        // Denied before anybody looked at the machine; but not permitted.
        assert!(checked(|it| it["appraisal"] = Value::Null).is_ok());
        let permitted = |it: &mut Value| {
            it["appraisal"] = Value::Null;
            it["outcome"] = json!("permit");
        };
        assert!(checked(permitted).is_err());
    }
}
