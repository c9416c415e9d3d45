//! Annotations: what a policy says of itself, and what its permits oblige the enforcer to.
//!
//! Cedar gives annotations no meaning. Here every one is known or refused: an obligation that
//! nobody carries out must not look like one that somebody does.

use cedar_policy::Effect as CedarEffect;
use placet_evidence::Needed;
use placet_types::{ProfileName, Seconds};

use crate::reference::Demand;
use crate::strict::parse_duration;

/// How long an intent waits for approvals where its policy does not say.
const WITHIN_SECS: u64 = 3600;
/// How long it waits at most.
const WITHIN_SECS_MAX: u64 = 7 * 86_400;
/// Most approvers that one policy asks for, and most groups that it names.
const APPROVERS_MAX: u32 = 16;

/// What is known of a policy apart from its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `@id`: the name under which decisions cite it.
    pub id: String,
    /// Whether it permits; otherwise it forbids.
    pub permits: bool,
    /// `@description`: what it is for, in a sentence for people.
    pub description: Option<String>,
    /// `@profile`: the profile that its permits are carried out with.
    pub profile: Option<ProfileName>,
    /// `@reroute`: the profile that its permits are carried out with instead of where they were meant to.
    pub reroute: Option<ProfileName>,
    /// `@lifetime`: how long its permits last at most.
    pub lifetime: Option<Seconds>,
    /// `@approvals`: who must approve before its permits count, and how long it is waited for.
    pub approvals: Option<Approvals>,
    /// `@appraisal`: how far the environment must be trusted for its permits to count.
    pub appraisal: Option<Demand>,
    /// `@severity`: how grave a denial by it is: `low`, `medium`, `high` or `critical`.
    pub severity: Option<String>,
    /// The member of the bundle where it stands.
    pub file: String,
    /// The line where it begins, from 1.
    pub line: u32,
}

/// What `@approvals("2 of leads, security within 1h")` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// How many of whom.
    pub needed: Needed,
    /// How long an intent waits.
    pub within: Seconds,
}

/// What a permit obliges the enforcer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obligations {
    /// The profiles of the determining permits, in order, each once; a permit that names none
    /// stands for the default one. The scope granted lies within every one of them. Empty only
    /// where nothing was permitted.
    pub profiles: Vec<ProfileName>,
    /// Those of them that a determining permit reroutes to: the caller is told.
    pub rerouted: Vec<ProfileName>,
    /// The most trust in the environment that one of them demands.
    pub appraisal: Option<Demand>,
    /// The shortest lifetime that a determining permit names.
    pub lifetime: Option<Seconds>,
    /// What the determining permits need approved, each once, in order.
    pub approvals: Vec<Needed>,
    /// The shortest time that one of them waits; absent where none needs an approval.
    pub within: Option<Seconds>,
}

impl Rule {
    /// Reads the annotations of a policy.
    pub(super) fn read<'a>(
        effect: CedarEffect,
        annotations: impl Iterator<Item = (&'a str, &'a str)>,
        file: &str,
        line: u32,
    ) -> Result<Self, Vec<String>> {
        let mut rule = Self {
            id: String::new(),
            permits: effect == CedarEffect::Permit,
            description: None,
            profile: None,
            reroute: None,
            lifetime: None,
            approvals: None,
            appraisal: None,
            severity: None,
            file: file.to_owned(),
            line,
        };
        let mut problems: Vec<String> = annotations
            .filter_map(|(key, value)| rule.take(key, value).err())
            .collect();
        if rule.profile.is_some() && rule.reroute.is_some() {
            problems.push(
                "@reroute names the profile: @profile beside it would never be granted alone"
                    .into(),
            );
        }
        problems.sort();
        if rule.id.is_empty() && problems.is_empty() {
            problems.push("the policy has no @id(\"…\"): decisions could not cite it".into());
        }
        if problems.is_empty() {
            Ok(rule)
        } else {
            Err(problems)
        }
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "id" => self.id = id(value)?,
            "description" => self.description = Some(value.to_owned()),
            "profile" => {
                self.only_on_permits(key)?;
                let profile = ProfileName::parse(value).map_err(|error| error.to_string())?;
                self.profile = Some(profile);
            }
            "reroute" => {
                self.only_on_permits(key)?;
                let profile = ProfileName::parse(value).map_err(|error| error.to_string())?;
                self.reroute = Some(profile);
            }
            "lifetime" => {
                self.only_on_permits(key)?;
                let secs = parse_duration(value)
                    .ok_or_else(|| format!("@lifetime(\"{value}\"): write 30s, 10m, 8h or 7d"))?;
                self.lifetime = Some(Seconds::new(secs));
            }
            "severity" => {
                if !["low", "medium", "high", "critical"].contains(&value) {
                    return Err("@severity is low, medium, high or critical".into());
                }
                self.severity = Some(value.to_owned());
            }
            "appraisal" => {
                self.only_on_permits(key)?;
                let demand = Demand::parse(value).ok_or_else(|| {
                    format!("@appraisal(\"{value}\"): write affirming or warning")
                })?;
                self.appraisal = Some(demand);
            }
            "approvals" => {
                self.only_on_permits(key)?;
                self.approvals = Some(approvals(value)?);
            }
            _ => {
                return Err(format!(
                    "@{key} is unknown: @id, @description, @profile, @reroute, @lifetime, @approvals, @appraisal and @severity are known"
                ));
            }
        }
        Ok(())
    }

    /// The profile that it names, either way.
    pub(super) fn granted_profile(&self) -> Option<&ProfileName> {
        self.reroute.as_ref().or(self.profile.as_ref())
    }

    fn only_on_permits(&self, key: &str) -> Result<(), String> {
        if self.permits {
            return Ok(());
        }
        Err(format!(
            "@{key} means nothing on a forbid: what it forbids never runs"
        ))
    }
}

fn approvals(text: &str) -> Result<Approvals, String> {
    let wrong = || {
        format!(
            "@approvals(\"{text}\"): write `2 of leads, security within 1h`: 1 to {APPROVERS_MAX} \
             approvers, groups, and at most 7d (1h if it is left out)"
        )
    };
    let (count, rest) = text.split_once(" of ").ok_or_else(wrong)?;
    let (groups, within) = rest.split_once(" within ").unwrap_or((rest, ""));
    let within = match within {
        "" if rest == groups => WITHIN_SECS,
        given => parse_duration(given).ok_or_else(wrong)?,
    };
    let count = count.parse::<u32>().map_err(|_| wrong())?;
    let mut groups: Vec<String> = groups
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    groups.sort();
    groups.dedup();
    let named = groups
        .iter()
        .all(|name| !name.is_empty() && !name.contains(char::is_whitespace) && name.len() <= 64);
    let bounded = (1..=APPROVERS_MAX).contains(&count)
        && groups.len() <= APPROVERS_MAX as usize
        && (1..=WITHIN_SECS_MAX).contains(&within);
    if !named || !bounded {
        return Err(wrong());
    }
    Ok(Approvals {
        needed: Needed { count, groups },
        within: Seconds::new(within),
    })
}

/// Ids are cited in records, shells and URLs.
pub(super) fn id(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("@id: 1 to 64 letters, digits, `.`, `_`, `:`, `/` or `-`".to_owned())
}
