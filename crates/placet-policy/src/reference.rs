//! `reference.toml`: what a machine must be like (RFC 9334: reference values, appraisal).

use placet_evidence::Environment;
use placet_types::{Digest, Tier, tier};
use serde::Deserialize;

use crate::glob;

pub(crate) const FILE: &str = "reference.toml";

/// Reference values. A list that is absent accepts everything; `*` in a text is any run of
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct References {
    /// Machine architectures.
    pub architectures: Option<Vec<String>>,
    /// Distributions and their versions.
    pub distributions: Option<Vec<String>>,
    /// Versions of the gateway.
    pub gateways: Option<Vec<String>>,
    /// Kernel releases.
    pub kernels: Option<Vec<String>>,
    /// Lowest Landlock ABI.
    pub landlock_abi_min: u32,
    /// Machines, as [`Environment::machine`] names them.
    pub machines: Option<Vec<Digest>>,
    /// Enforcement tiers. Each stands for itself and every higher one.
    pub tiers: Vec<Tier>,
}

/// Whether an environment is as the reference values want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    /// Whether every reference value holds.
    pub trusted: bool,
    /// What does not hold, in words.
    pub reasons: Vec<String>,
}

impl References {
    /// Appraises an environment.
    #[must_use]
    pub fn appraise(&self, environment: &Environment) -> Appraisal {
        let mut reasons: Vec<String> = [
            self.tier_mismatch(environment.tier),
            mismatch(
                "architecture",
                &environment.arch,
                self.architectures.as_ref(),
            ),
            mismatch(
                "distribution",
                &environment.distribution,
                self.distributions.as_ref(),
            ),
            mismatch("kernel", &environment.kernel, self.kernels.as_ref()),
            mismatch(
                "gateway version",
                &environment.gateway,
                self.gateways.as_ref(),
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        if environment.landlock_abi < self.landlock_abi_min {
            reasons.push(format!(
                "Landlock ABI {} is below the {} that is required",
                environment.landlock_abi, self.landlock_abi_min
            ));
        }
        if self
            .machines
            .as_ref()
            .is_some_and(|known| !known.contains(&environment.machine))
        {
            reasons.push(format!(
                "machine {} is not among the known ones",
                environment.machine
            ));
        }
        Appraisal {
            trusted: reasons.is_empty(),
            reasons,
        }
    }
}

impl References {
    fn tier_mismatch(&self, reached: Option<Tier>) -> Option<String> {
        if self.tiers.iter().any(|tier| reached >= Some(*tier)) {
            return None;
        }
        let accepted: Vec<&str> = self.tiers.iter().map(|tier| tier.name()).collect();
        Some(format!(
            "enforcement tier `{}` is below those accepted ({}); `placet doctor` says what would raise it",
            tier::name(reached),
            accepted.join(", ")
        ))
    }
}

fn mismatch(what: &str, value: &str, accepted: Option<&Vec<String>>) -> Option<String> {
    let accepted = accepted?;
    if accepted.iter().any(|pattern| glob::matches(pattern, value)) {
        return None;
    }
    Some(format!(
        "{what} `{value}` is not among those accepted ({})",
        accepted.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            arch: "x86_64".into(),
            boot: "b".into(),
            distribution: "debian 12".into(),
            gateway: "0.1.0".into(),
            kernel: "6.18.5-amd64".into(),
            landlock_abi: 7,
            machine: Digest::of(b"m"),
            tier: Some(placet_types::Tier::U1),
            weaker: Default::default(),
        }
    }

    fn references(text: &str) -> References {
        crate::strict::read(FILE, text).unwrap()
    }

    #[test]
    fn a_tier_accepts_every_higher_one() {
        let reached = [None, Some(Tier::U0), Some(Tier::U1), Some(Tier::P)];
        for (accepted, trusted) in [
            ("\"U0\"", [false, true, true, true]),
            ("\"U1\"", [false, false, true, true]),
            ("\"P\"", [false, false, false, true]),
            ("\"P\", \"U1\"", [false, false, true, true]),
            ("", [false; 4]),
        ] {
            let references = references(&format!("tiers = [{accepted}]\nlandlock_abi_min = 3\n"));
            let found = reached.map(|tier| {
                let environment = Environment {
                    tier,
                    ..environment()
                };
                references.appraise(&environment).trusted
            });
            assert_eq!(found, trusted, "{accepted}");
        }
    }

    #[test]
    fn a_tier_that_there_is_not_is_refused() {
        for tier in ["none", "u1", "*"] {
            let text = format!("tiers = [\"{tier}\"]\nlandlock_abi_min = 3\n");
            assert!(crate::strict::read::<References>(FILE, &text).is_err());
        }
    }

    #[test]
    fn every_reference_value_counts() {
        let base = "tiers = [\"U1\"]\nlandlock_abi_min = 4\n";
        assert!(references(base).appraise(&environment()).trusted);
        let full = format!(
            "{base}kernels = [\"6.*\"]\ndistributions = [\"debian *\"]\narchitectures = [\"x86_64\"]\n\
             gateways = [\"0.1.*\"]\nmachines = [\"{}\"]",
            Digest::of(b"m")
        );
        assert!(references(&full).appraise(&environment()).trusted);
        for (from, to, word) in [
            ("U1", "P", "tier"),
            ("min = 4", "min = 8", "Landlock"),
            ("6.*", "5.*", "kernel"),
            ("debian *", "ubuntu *", "distribution"),
            ("x86_64", "aarch64", "architecture"),
            ("0.1.*", "0.2.*", "gateway"),
        ] {
            let appraisal = references(&full.replacen(from, to, 1)).appraise(&environment());
            assert!(!appraisal.trusted);
            assert!(
                appraisal.reasons.iter().any(|r| r.contains(word)),
                "{appraisal:?}"
            );
        }
        let other = Environment {
            machine: Digest::of(b"other"),
            ..environment()
        };
        assert!(!references(&full).appraise(&other).trusted);
    }
}
