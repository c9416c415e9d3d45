//! Annotations: what a policy says of itself, and what its permits oblige the enforcer to.
//!
//! Cedar gives annotations no meaning. Here every one is known or refused: an obligation that
//! nobody carries out must not look like one that somebody does.

use cedar_policy::Effect as CedarEffect;
use placet_types::{ProfileName, Seconds};

use crate::strict::parse_duration;

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
    /// `@severity`: how grave a denial by it is: `low`, `medium`, `high` or `critical`.
    pub severity: Option<String>,
    /// The member of the bundle where it stands.
    pub file: String,
    /// The line where it begins, from 1.
    pub line: u32,
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
    /// The shortest lifetime that a determining permit names.
    pub lifetime: Option<Seconds>,
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
            "approvals" => {
                return Err(format!("@{key} is not enforceable by this version"));
            }
            _ => {
                return Err(format!(
                    "@{key} is unknown: @id, @description, @profile, @reroute, @lifetime and @severity are known"
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

/// Ids are cited in records, shells and URLs.
pub(super) fn id(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("@id: 1 to 64 letters, digits, `.`, `_`, `:`, `/` or `-`".to_owned())
}
