//! Bundles: a directory of policies and what belongs to them, as bytes by relative path.
//!
//! [`Bundle::read`] reads everything but the Cedar text, strictly; [`crate::Policy::compile`] does
//! the rest. A bundle is named by the digest of its [`Manifest`], which names the digest of every
//! member. Reading directories, and keeping bundles, is not done here.

mod about;
mod archive;
mod layout;
mod signature;

use std::collections::{BTreeMap, BTreeSet};

use placet_types::canonical;
use placet_types::{Credential, Digest, Millis, ProfileName};
use serde::{Deserialize, Serialize};

use crate::entities::Entities;
use crate::identities::{self, Mapping};
use crate::links::{self, Link};
use crate::problem::Problem;
use crate::profile::{self, Profile};
use crate::reference::{self, References};
use crate::strict;
use crate::suite::{self, Case, IdentityCase};

pub use about::{About, Vocabulary};
pub use archive::ArchiveError;
pub use layout::{BundleFiles, MEMBERS_MAX, TOTAL_BYTES_MAX};
pub use signature::{PAYLOAD_TYPE, SIGNATURE_FILE, SignatureError, sign};

use layout::{Kind, Member};

/// A bundle that was read strictly. Its policies are not parsed yet.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(crate) manifest: Manifest,
    digest: Digest,
    pub(crate) members: BTreeMap<String, String>,
    signature: Option<String>,
    pub(crate) about: About,
    pub(crate) entities: Entities,
    pub(crate) mapping: Mapping,
    pub(crate) links: Vec<Link>,
    pub(crate) profiles: BTreeMap<ProfileName, Profile>,
    pub(crate) references: References,
    pub(crate) cases: Vec<Case>,
    pub(crate) identity_cases: Vec<IdentityCase>,
}

/// What a bundle is: its name, revision and validity, and the digest of every member.
///
/// The bundle's digest is the SHA-256 of the canonical JSON of this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Digest of every member, by path.
    pub members: BTreeMap<String, Digest>,
    /// Name of the bundle.
    pub name: String,
    /// Grows with every published change.
    pub revision: u64,
    /// When the bundle counts.
    pub validity: Validity,
}

/// When a bundle counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// Not at this instant or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
    /// Not before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Millis>,
}

impl Bundle {
    /// Reads a bundle strictly: every member must be known, every key, every name.
    ///
    /// # Errors
    ///
    /// Every [`Problem`] that was found, each with its file and, where it has one, its line.
    pub fn read(files: &BundleFiles) -> Result<Self, Vec<Problem>> {
        let (members, signature) = layout::members(files)?;
        let mut problems = Vec::new();
        let parts = Parts::read(&members, &mut problems);
        let (Some(about), Some(references), true) =
            (parts.about, parts.references, problems.is_empty())
        else {
            problems.sort();
            return Err(problems);
        };
        let manifest = Manifest::of(&about, &members);
        let bytes = manifest.to_canonical().map_err(|problem| vec![problem])?;
        Ok(Self {
            digest: Digest::of(&bytes),
            manifest,
            members: members
                .into_iter()
                .map(|member| (member.path, member.text))
                .collect(),
            signature,
            about,
            entities: parts.entities,
            mapping: parts.mapping,
            links: parts.links,
            profiles: parts.profiles,
            references,
            cases: parts.cases,
            identity_cases: parts.identity_cases,
        })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the canonical manifest: the bundle's name in the log and in artifacts.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The contents of `bundle.toml`.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The member at `path`.
    #[must_use]
    pub fn member(&self, path: &str) -> Option<&str> {
        self.members.get(path).map(String::as_str)
    }

    /// The contents of `bundle.sig`, unchecked.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// The profiles, by name.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }

    /// Which identities act as which principals.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The bundle as files again, signature included.
    #[must_use]
    pub fn to_files(&self) -> BundleFiles {
        let members = self
            .members
            .iter()
            .map(|(path, text)| (path.clone(), text.clone()));
        let signature = self
            .signature
            .iter()
            .map(|text| (SIGNATURE_FILE.to_owned(), text.clone()));
        BundleFiles(
            members
                .chain(signature)
                .map(|(path, text)| (path, text.into()))
                .collect(),
        )
    }

    /// The Cedar members of a directory, `policies/` or `templates/`, in order of their paths.
    pub(crate) fn cedar<'a>(
        &'a self,
        directory: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.members
            .iter()
            .filter(move |(path, _)| path.starts_with(directory))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

impl Manifest {
    fn of(about: &About, members: &[Member]) -> Self {
        let digest = |member: &Member| (member.path.clone(), Digest::of(member.text.as_bytes()));
        Self {
            members: members.iter().map(digest).collect(),
            name: about.name.clone(),
            revision: about.revision,
            validity: about.validity(),
        }
    }

    /// The canonical bytes: what the digest and the signatures cover.
    pub(crate) fn to_canonical(&self) -> Result<Vec<u8>, Problem> {
        canonical::to_bytes(self)
            .map_err(|error| Problem::error(about::FILE, "manifest", error.to_string()))
    }
}

impl Validity {
    /// Whether the bundle counts at `time`.
    #[must_use]
    pub fn holds_at(&self, time: Millis) -> bool {
        self.not_before.is_none_or(|begin| begin <= time)
            && self.expires.is_none_or(|end| time < end)
    }
}

/// The members, read.
#[derive(Default)]
struct Parts {
    about: Option<About>,
    entities: Entities,
    mapping: Mapping,
    links: Vec<Link>,
    profiles: BTreeMap<ProfileName, Profile>,
    references: Option<References>,
    cases: Vec<Case>,
    identity_cases: Vec<IdentityCase>,
}

impl Parts {
    fn read(members: &[Member], problems: &mut Vec<Problem>) -> Self {
        let mut parts = Self::default();
        for member in members {
            if let Err(mut found) = parts.take(member) {
                problems.append(&mut found);
            }
        }
        for (file, there) in [
            (about::FILE, parts.about.is_some()),
            (reference::FILE, parts.references.is_some()),
        ] {
            if !there && !problems.iter().any(|problem| problem.file == file) {
                problems.push(Problem::error(
                    file,
                    "missing-member",
                    "the bundle lacks this file",
                ));
            }
        }
        if let Some(about) = &parts.about
            && !parts.profiles.contains_key(&about.default_profile)
            && problems.is_empty()
        {
            let message = format!("there is no profiles/{}.toml", about.default_profile);
            problems.push(Problem::error(about::FILE, "default-profile", message));
        }
        parts.keep_credentials_apart(problems);
        parts
    }

    /// What some profile passes on is recorded with the parameters of every intent. A command in a
    /// cell that has a credential in a variable of that name would put the secret there.
    fn keep_credentials_apart(&self, problems: &mut Vec<Problem>) {
        let passed_on: BTreeSet<&str> = self
            .profiles
            .values()
            .flat_map(Profile::env)
            .map(String::as_str)
            .collect();
        for (name, profile) in &self.profiles {
            let variables = profile
                .credentials()
                .iter()
                .filter_map(Credential::variable);
            for variable in variables.filter(|variable| passed_on.contains(variable.as_str())) {
                let message = format!(
                    "`{variable}` is a credential here, and some profile passes on a variable of that name: it would be recorded"
                );
                problems.push(Problem::error(
                    &format!("profiles/{name}.toml"),
                    "profile",
                    message,
                ));
            }
        }
    }

    fn take(&mut self, member: &Member) -> Result<(), Vec<Problem>> {
        let one = |problem| vec![problem];
        let (path, text) = (&member.path, &member.text);
        match &member.kind {
            Kind::About => self.about = Some(About::read(text).map_err(one)?),
            Kind::Entities => self.entities = Entities::read(text)?,
            Kind::Identities => self.mapping = identities::read(text)?,
            Kind::Links => self.links = links::read(text)?,
            Kind::Profile(name) => {
                self.profiles
                    .insert(name.clone(), profile::read(name, path, text)?);
            }
            Kind::References => {
                self.references = Some(strict::read(reference::FILE, text).map_err(one)?);
            }
            Kind::Test => {
                let found = suite::read(path, text)?;
                self.cases.extend(found.cases);
                self.identity_cases.extend(found.identities);
            }
            Kind::Directory | Kind::Schema | Kind::Policies | Kind::Templates | Kind::Text => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
