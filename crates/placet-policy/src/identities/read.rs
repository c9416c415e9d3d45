//! Reading `identities.toml`.

use std::collections::{BTreeMap, BTreeSet};

use placet_evidence::{Caller, TokenIdentity};
use placet_types::{PrincipalId, SpiffeId, Thumbprint};
use serde::Deserialize;

use super::{
    CLAIMS_MAX, Claims, FILE, Mapping, MappingRule, Named, Part, RULES_MAX, Subjects, Who,
    Workloads,
};
use crate::problem::{Problem, line_at};
use crate::strict;

/// Longest text in a rule, in bytes.
const TEXT_BYTES_MAX: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    identity: Vec<toml::Spanned<FileRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRule {
    /// For people: why this identity is that principal.
    description: String,
    principal: String,
    key: Option<Thumbprint>,
    unix: Option<u32>,
    spiffe: Option<String>,
    oidc: Option<FileSubjects>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSubjects {
    issuer: String,
    subject: Option<String>,
    #[serde(default)]
    claims: BTreeMap<String, OneOrMore>,
}

/// A value, or any of several.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(BTreeSet<String>),
}

impl OneOrMore {
    fn into_set(self) -> BTreeSet<String> {
        match self {
            Self::One(value) => BTreeSet::from([value]),
            Self::More(values) => values,
        }
    }
}

/// An identity as a test of the bundle gives it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileIdentity {
    key: Option<Thumbprint>,
    unix: Option<u32>,
    spiffe: Option<SpiffeId>,
    oidc: Option<FileToken>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileToken {
    issuer: String,
    subject: String,
    #[serde(default)]
    claims: BTreeMap<String, OneOrMore>,
}

/// Reads the member.
pub(crate) fn read(text: &str) -> Result<Mapping, Vec<Problem>> {
    let file: File = strict::read(FILE, text).map_err(|problem| vec![problem])?;
    let bad = |message: String| Problem::error(FILE, "identities", message);
    if file.identity.len() > RULES_MAX {
        return Err(vec![bad(format!("more than {RULES_MAX} rules"))]);
    }
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for spanned in file.identity {
        let line = line_at(text, spanned.span().start);
        match rule(spanned.into_inner(), line) {
            Ok(rule) => rules.push(rule),
            Err(message) => problems.push(bad(message).at(line)),
        }
    }
    for (issuer, names) in named_claims(&rules) {
        if names.len() > CLAIMS_MAX {
            let message = format!("rules name more than {CLAIMS_MAX} claims of {issuer}");
            problems.push(bad(message));
        }
    }
    if problems.is_empty() {
        Ok(Mapping { rules })
    } else {
        Err(problems)
    }
}

fn rule(file: FileRule, line: u32) -> Result<MappingRule, String> {
    if file.description.trim().is_empty() {
        return Err("say in `description` why this identity is that principal".into());
    }
    let who = match (file.key, file.unix, file.spiffe, file.oidc) {
        (Some(key), None, None, None) => Who::Key(key),
        (None, Some(uid), None, None) => Who::Unix(uid),
        (None, None, Some(text), None) => Who::Spiffe(workloads(&text)?),
        (None, None, None, Some(subjects)) => Who::Token(self::subjects(subjects)?),
        _ => return Err("a rule has one of `key`, `unix`, `spiffe` and `oidc`".into()),
    };
    let principal = named(&file.principal, &who)?;
    Ok(MappingRule {
        line,
        who,
        principal,
    })
}

fn workloads(text: &str) -> Result<Workloads, String> {
    let Some(prefix) = text.strip_suffix('*') else {
        let id = SpiffeId::parse(text).map_err(|error| error.to_string())?;
        return Ok(Workloads::One(id));
    };
    // A part that any could stand for must be one that an id can have.
    let example = SpiffeId::parse(&format!("{prefix}x"));
    match example {
        Ok(example) if prefix.ends_with('/') => {
            Ok(Workloads::Below(example.trust_domain(), prefix.to_owned()))
        }
        Ok(_) | Err(_) => Err(format!(
            "`{text}`: `*` stands for one whole part at the end, as in spiffe://example.org/ci/*"
        )),
    }
}

fn subjects(file: FileSubjects) -> Result<Subjects, String> {
    check_issuer(&file.issuer)?;
    let mut claims = Claims::new();
    for (name, values) in file.claims {
        let values = values.into_set();
        if matches!(name.as_str(), "iss" | "sub" | "aud" | "exp" | "nbf" | "iat") {
            return Err(format!(
                "the claim `{name}` is checked anyway; `issuer` and `subject` stand beside `claims`"
            ));
        }
        let sound = |text: &String| (1..=TEXT_BYTES_MAX).contains(&text.len());
        if values.is_empty() || !sound(&name) || !values.iter().all(sound) {
            return Err(format!("claims.{name}: one value or several, none empty"));
        }
        claims.insert(name, values);
    }
    if file.subject.as_ref().is_some_and(String::is_empty) {
        return Err("the subject is empty".into());
    }
    Ok(Subjects {
        issuer: file.issuer,
        subject: file.subject,
        claims,
    })
}

/// An issuer as OpenID Connect wants it: compared to the letter, so spelt in one way.
fn check_issuer(issuer: &str) -> Result<(), String> {
    let scheme = issuer.starts_with("https://") || issuer.starts_with("http://");
    let plain = issuer
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
    if scheme && plain && issuer.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "`{issuer}` is no issuer: an address that begins with https://, without a query"
    ))
}

fn named(text: &str, who: &Who) -> Result<Named, String> {
    let Some((before, rest)) = text.split_once('{') else {
        let id = PrincipalId::parse(text).map_err(|error| error.to_string())?;
        return Ok(Named::Fixed(id));
    };
    let (name, after) = rest
        .split_once('}')
        .ok_or_else(|| format!("`{text}`: a brace is not closed"))?;
    let of = match (who, name) {
        (Who::Token(_), "sub") => Part::Subject,
        (Who::Token(_), claim) if !claim.is_empty() && claim != "*" => {
            Part::Claim(claim.to_owned())
        }
        (Who::Spiffe(Workloads::Below(..)), "*") => Part::Wildcard,
        _ => {
            return Err(format!(
                "`{{{name}}}` is no part of this identity: {{sub}} or a claim of a token, {{*}} of a workload's id that ends with /*"
            ));
        }
    };
    // The kind of a principal is never for the identity to say.
    let kind = before.split_once(':').map(|(kind, _)| kind);
    if kind.is_none() || PrincipalId::parse(&format!("{before}x{after}")).is_err() {
        return Err(format!("`{text}` leads to no principal's name"));
    }
    Ok(Named::Made {
        before: before.to_owned(),
        of,
        after: after.to_owned(),
    })
}

fn named_claims(rules: &[MappingRule]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for rule in rules {
        if let Who::Token(subjects) = &rule.who {
            let names = named.entry(&subjects.issuer).or_default();
            names.extend(subjects.claims.keys().map(String::as_str));
            names.extend(rule.principal.claim());
        }
    }
    named
}

impl FileIdentity {
    /// The caller that a test speaks of.
    pub(crate) fn caller(&self) -> Result<Caller, String> {
        match (&self.key, &self.unix, &self.spiffe, &self.oidc) {
            (Some(key), None, None, None) => Ok(Caller::Key(key.clone())),
            (None, Some(uid), None, None) => Ok(Caller::Unix(*uid)),
            (None, None, Some(id), None) => Ok(Caller::Spiffe(id.clone())),
            (None, None, None, Some(token)) => {
                let claims = token.claims.clone().into_iter();
                Ok(Caller::Token(Box::new(TokenIdentity {
                    claims: claims
                        .map(|(name, values)| (name, values.into_set()))
                        .collect(),
                    issuer: token.issuer.clone(),
                    subject: token.subject.clone(),
                })))
            }
            _ => Err("an identity is one of `key`, `unix`, `spiffe` and `oidc`".into()),
        }
    }
}
