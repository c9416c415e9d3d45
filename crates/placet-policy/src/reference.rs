//! `reference.toml`: what a machine must be like (RFC 9334: reference values, appraisal).
//!
//! A claim is appraised by the lists that name it: in a list it is affirmed, in the list of the same name below
//! `[warning]` it is accepted with a warning, in neither it is ruled out, and without a list nothing is said of it.
//! What is ruled out is never permitted. How far the rest is trusted is for policies to ask.

use std::collections::BTreeSet;

use placet_evidence::{Appraisal, AppraisalStatus, Attestation, Claim, Environment};
use placet_types::{Digest, Millis, PlaceName, Tier, tier};
use serde::Deserialize;

use crate::pattern::Pattern;
use crate::strict::Duration;

pub(crate) const FILE: &str = "reference.toml";

/// How old an attestation may be where the bundle does not say.
const AGE_MAX_SECS: u64 = 600;

/// Reference values. A list that is absent says nothing of its claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct References {
    /// Machine architectures.
    pub architectures: Option<Vec<Pattern>>,
    /// What is demanded of attestations.
    #[serde(default)]
    pub attestation: Demands,
    /// Digests of the images of containers that gateways run in.
    pub containers: Option<Vec<Digest>>,
    /// Distributions and their versions.
    pub distributions: Option<Vec<Pattern>>,
    /// Digests of programs that may run.
    pub executables: Option<Vec<Digest>>,
    /// Digests of gateways' own programs.
    pub gateway_digests: Option<Vec<Digest>>,
    /// Versions of the gateway.
    pub gateways: Option<Vec<Pattern>>,
    /// Kernel releases.
    pub kernels: Option<Vec<Pattern>>,
    /// Lowest Landlock ABI.
    pub landlock_abi_min: u32,
    /// Machines, as [`Environment::machine`] names them.
    pub machines: Option<Vec<Digest>>,
    /// Regions.
    pub regions: Option<Vec<Pattern>>,
    /// Enforcement tiers. Each stands for itself and every higher one.
    pub tiers: Vec<Tier>,
    /// What is accepted with a warning.
    #[serde(default)]
    pub warning: Warned,
    /// Zones.
    pub zones: Option<Vec<Pattern>>,
}

/// `[warning]`: values beside those of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Warned {
    /// Machine architectures.
    pub architectures: Vec<Pattern>,
    /// Images of containers.
    pub containers: Vec<Digest>,
    /// Distributions and their versions.
    pub distributions: Vec<Pattern>,
    /// Programs that may run.
    pub executables: Vec<Digest>,
    /// Gateways' own programs.
    pub gateway_digests: Vec<Digest>,
    /// Versions of the gateway.
    pub gateways: Vec<Pattern>,
    /// Kernel releases.
    pub kernels: Vec<Pattern>,
    /// Machines.
    pub machines: Vec<Digest>,
    /// Regions.
    pub regions: Vec<Pattern>,
    /// Zones.
    pub zones: Vec<Pattern>,
}

/// `[attestation]`: what is demanded of every attestation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Demands {
    /// How old one may be; ten minutes where it is absent.
    pub(crate) age_max: Option<Duration>,
    /// What every execution needs at least; absent where only some policies demand something.
    pub required: Option<Demand>,
}

/// How far an environment must be trusted: the two tiers that can be demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// Attested and accepted, be it with a warning.
    Warning,
    /// Attested and affirmed.
    Affirming,
}

/// An environment as it was presented.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// What the gateway signed, if it did. It is verified.
    pub attestation: Option<&'a Attestation>,
    /// The claims.
    pub environment: &'a Environment,
    /// The program that is to run, where one is.
    pub executable: Option<&'a Digest>,
    /// When, by the node's clock.
    pub time: Millis,
}

/// Whether an environment is as the reference values want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraised {
    /// The result, as policies see it.
    pub appraisal: Appraisal,
    /// What does not hold, in words.
    pub reasons: Vec<String>,
    /// Whether anything may be permitted here at all.
    pub trusted: bool,
}

impl Demand {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Affirming => "affirming",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Warning, Self::Affirming]
            .into_iter()
            .find(|one| one.as_str() == text)
    }

    /// Whether this is enough.
    #[must_use]
    pub fn is_met_by(self, status: AppraisalStatus) -> bool {
        match status {
            AppraisalStatus::None | AppraisalStatus::Contraindicated => false,
            AppraisalStatus::Warning => self == Self::Warning,
            AppraisalStatus::Affirming => true,
        }
    }
}

impl References {
    /// Seconds after which an attestation says nothing any more.
    #[must_use]
    pub fn age_max_secs(&self) -> u64 {
        self.attestation.age_max.map_or(AGE_MAX_SECS, |it| it.0)
    }

    /// Appraises an environment.
    #[must_use]
    pub fn appraise(&self, presented: &Presented<'_>) -> Appraised {
        let mut found = Findings::default();
        self.appraise_claims(presented, &mut found);
        let age = presented
            .attestation
            .map(|it| presented.time.since(it.nonce.time()) / 1000);
        let fresh = age.is_some_and(|age| age <= self.age_max_secs());
        let status = if !found.contraindicated.is_empty() {
            AppraisalStatus::Contraindicated
        } else if !fresh {
            AppraisalStatus::None
        } else if found.warning.is_empty() {
            AppraisalStatus::Affirming
        } else {
            AppraisalStatus::Warning
        };
        let mut appraised = Appraised {
            trusted: found.contraindicated.is_empty(),
            reasons: found.reasons,
            appraisal: Appraisal {
                affirming: found.affirming,
                age_secs: age,
                contraindicated: found.contraindicated,
                status,
                warning: found.warning,
            },
        };
        if let Some(required) = self.attestation.required
            && appraised.trusted
            && !required.is_met_by(status)
        {
            appraised.trusted = false;
            let reason = self.unmet(required, &appraised.appraisal);
            appraised
                .reasons
                .push(format!("the bundle demands {reason}"));
        }
        appraised
    }

    /// What is demanded and why it is not so, in words.
    #[must_use]
    pub fn unmet(&self, demand: Demand, found: &Appraisal) -> String {
        let words = |claims: &BTreeSet<Claim>| {
            let words: Vec<&str> = claims.iter().map(|claim| claim.in_words()).collect();
            words.join(", ")
        };
        let why = match (found.status, found.age_secs) {
            (AppraisalStatus::None, None) => {
                "the gateway did not attest; one of this version does".to_owned()
            }
            (AppraisalStatus::None, Some(age)) => format!(
                "the attestation is {age} s old, of which {} count; attest again",
                self.age_max_secs()
            ),
            (AppraisalStatus::Contraindicated, _) => {
                format!(
                    "these claims are ruled out: {}",
                    words(&found.contraindicated)
                )
            }
            (AppraisalStatus::Warning | AppraisalStatus::Affirming, _) => {
                format!(
                    "these claims are accepted with a warning only: {}",
                    words(&found.warning)
                )
            }
        };
        format!(
            "an environment that is appraised as `{}`, and this one is `{}`: {why} (`placet environment` shows it)",
            demand.as_str(),
            found.status.as_str()
        )
    }

    fn appraise_claims(&self, presented: &Presented<'_>, to: &mut Findings) {
        let Presented {
            environment: it,
            executable,
            ..
        } = *presented;
        let warned = &self.warning;
        let place = |place: &Option<PlaceName>| {
            place.as_ref().map_or_else(String::new, ToString::to_string)
        };
        let (region, zone) = (place(&it.region), place(&it.zone));
        self.tier(it.tier, to);
        for (claim, value, accepted, warned) in [
            (
                Claim::Architecture,
                &it.arch,
                &self.architectures,
                &warned.architectures,
            ),
            (
                Claim::Distribution,
                &it.distribution,
                &self.distributions,
                &warned.distributions,
            ),
            (Claim::Kernel, &it.kernel, &self.kernels, &warned.kernels),
            (
                Claim::GatewayVersion,
                &it.gateway,
                &self.gateways,
                &warned.gateways,
            ),
            (Claim::Region, &region, &self.regions, &warned.regions),
            (Claim::Zone, &zone, &self.zones, &warned.zones),
        ] {
            to.text(claim, value, (accepted.as_deref(), warned));
        }
        let machine = Some(&it.machine);
        for (claim, value, accepted, warned) in [
            (
                Claim::Gateway,
                it.gateway_digest.as_ref(),
                &self.gateway_digests,
                &warned.gateway_digests,
            ),
            (
                Claim::Container,
                it.container.as_ref(),
                &self.containers,
                &warned.containers,
            ),
            (Claim::Machine, machine, &self.machines, &warned.machines),
        ] {
            to.digest(claim, value, (accepted.as_deref(), warned));
        }
        if executable.is_some() {
            let lists = (self.executables.as_deref(), warned.executables.as_slice());
            to.digest(Claim::Executable, executable, lists);
        }
        if it.landlock_abi < self.landlock_abi_min {
            to.rule_out(
                Claim::Landlock,
                format!(
                    "Landlock ABI {} is below the {} that is required",
                    it.landlock_abi, self.landlock_abi_min
                ),
            );
        } else {
            to.affirming.insert(Claim::Landlock);
        }
    }

    fn tier(&self, reached: Option<Tier>, to: &mut Findings) {
        if self.tiers.iter().any(|tier| reached >= Some(*tier)) {
            to.affirming.insert(Claim::Tier);
            return;
        }
        let accepted: Vec<&str> = self.tiers.iter().map(|tier| tier.name()).collect();
        to.rule_out(
            Claim::Tier,
            format!(
                "enforcement tier `{}` is below those accepted ({}); `placet doctor` says what would raise it",
                tier::name(reached),
                accepted.join(", ")
            ),
        );
    }
}

/// What is accepted, where anything is demanded, and what is with a warning.
type Lists<'a, T> = (Option<&'a [T]>, &'a [T]);

/// What is found, claim by claim.
#[derive(Default)]
struct Findings {
    affirming: BTreeSet<Claim>,
    warning: BTreeSet<Claim>,
    contraindicated: BTreeSet<Claim>,
    reasons: Vec<String>,
}

impl Findings {
    fn text(&mut self, claim: Claim, value: &str, lists: Lists<'_, Pattern>) {
        let fits = |pattern: &Pattern| !value.is_empty() && pattern.matches(value);
        self.judge(claim, lists, fits, || {
            (!value.is_empty()).then(|| value.to_owned())
        });
    }

    fn digest(&mut self, claim: Claim, value: Option<&Digest>, lists: Lists<'_, Digest>) {
        self.judge(
            claim,
            lists,
            |listed| value == Some(listed),
            || value.map(Digest::to_string),
        );
    }

    fn judge<T: ToString>(
        &mut self,
        claim: Claim,
        (accepted, warned): Lists<'_, T>,
        fits: impl Fn(&T) -> bool,
        value: impl Fn() -> Option<String>,
    ) {
        let listed = accepted.unwrap_or_default();
        if listed.iter().any(&fits) {
            self.affirming.insert(claim);
        } else if warned.iter().any(&fits) {
            self.warning.insert(claim);
        } else if accepted.is_some() {
            let what = claim.in_words();
            let names: Vec<String> = listed.iter().map(T::to_string).collect();
            let names = names.join(", ");
            self.rule_out(
                claim,
                match value() {
                    Some(value) => {
                        format!("{what} `{value}` is not among those accepted ({names})")
                    }
                    None => format!("{what} is not attested, and one of these is needed: {names}"),
                },
            );
        }
    }

    fn rule_out(&mut self, claim: Claim, reason: String) {
        self.contraindicated.insert(claim);
        self.reasons.push(reason);
    }
}

#[cfg(test)]
mod tests;
