//! What policies see of an act of administration: computed from the log and the bundles.

use std::collections::{BTreeMap, BTreeSet};

use placet_evidence::{PrincipalRecord, PrincipalStatus, SecretChange};
use placet_policy::{Approvals, Bundle, Policy, diff};
use placet_types::call::Members;
use placet_types::canonical::Json;
use placet_types::{CallParams, DenialCode, Digest, PrincipalId};

use crate::activate::Activation;
use crate::authority::Authority;
use crate::control::ActError;
use crate::work::ReadyAct;

impl Authority {
    /// The canonical parameters of the intent.
    pub(super) fn facts_of(&self, act: &ReadyAct, by: &PrincipalId) -> Result<Vec<u8>, ActError> {
        let context = match act {
            ReadyAct::Activate(activation) => self.of_bundle(activation)?,
            ReadyAct::Principal(record) => self.of_principal(record, by),
            ReadyAct::Resume(node, reason) => vec![
                (
                    "node",
                    text(node.map(|node| node.to_string()).unwrap_or_default()),
                ),
                ("reason", text(reason)),
            ],
            ReadyAct::Erase(index, reason) => {
                vec![("index", number(index.get())), ("reason", text(reason))]
            }
            ReadyAct::Definition(review) => vec![
                ("kind", text(&review.kind)),
                ("id", text(&review.id)),
                ("digest", text(review.digest.to_string())),
                ("reason", text(&review.reason)),
            ],
            ReadyAct::Secret(change, _) => of_secret(change),
            ReadyAct::Revoke(..)
            | ReadyAct::Halt(_)
            | ReadyAct::Changes(_)
            | ReadyAct::Shadow(..)
            | ReadyAct::Approve(_) => Vec::new(),
        };
        let params = CallParams {
            context: members(context),
            ..CallParams::default()
        };
        Ok(params.to_canonical())
    }

    fn of_bundle(&self, activation: &Activation) -> Result<Facts, ActError> {
        let failed = |reason: String| ActError::new(DenialCode::PolicyError, reason);
        let active = self
            .with_state(|state| state.policy().cloned())
            .ok_or_else(|| failed("no policy bundle is in force".to_owned()))?;
        let old = self
            .policy_of(active.bundle)
            .ok_or_else(|| failed("the bundle in force could not be compiled here".to_owned()))?;
        let new = &activation.policy;
        let read = |digest: Digest| -> Result<Bundle, ActError> {
            let archive = self.bundles().archive(digest);
            let archive = archive.map_err(|error| failed(error.to_string()))?;
            Bundle::from_archive(&archive, &digest).map_err(|error| failed(error.to_string()))
        };
        let differs = diff(&read(active.bundle)?, &read(new.digest())?).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            failed(lines.join("; "))
        })?;
        let paths: Vec<&String> = differs.members.iter().map(|(path, _)| path).collect();
        let touches = |what: &str| Json::Bool(paths.iter().any(|path| path.starts_with(what)));
        let changed = differs.changed.iter().map(|(id, _)| id);
        Ok(vec![
            ("from", text(active.bundle.to_string())),
            ("from_revision", number(active.revision)),
            ("bundle", text(new.digest().to_string())),
            ("name", text(new.name())),
            ("revision", number(new.revision())),
            ("signatures", number(activation.signers.len() as u64)),
            ("governs", Json::Bool(new.governs())),
            ("policies_added", texts(&differs.added)),
            ("policies_removed", texts(&differs.removed)),
            ("policies_changed", texts(changed)),
            ("members", texts(paths.iter().copied())),
            (
                "approvals_changed",
                Json::Bool(approvals(&old) != approvals(new)),
            ),
            ("identities_changed", touches("identities.toml")),
            ("profiles_changed", touches("profiles/")),
            ("references_changed", touches("reference.toml")),
        ])
    }

    fn of_principal(&self, record: &PrincipalRecord, by: &PrincipalId) -> Facts {
        let before = self.with_state(|state| state.principal(&record.id).cloned());
        let known = before.is_some();
        let [keys, acts_for] = [
            words(before.iter().flat_map(|it| &it.keys)),
            words(before.iter().flat_map(|it| &it.acts_for)),
        ];
        let groups: BTreeSet<String> = before
            .iter()
            .flat_map(|it| it.groups.iter().cloned())
            .collect();
        let uids: BTreeSet<u32> = before
            .iter()
            .flat_map(|it| it.uids.iter().copied())
            .collect();
        let (groups_now, uids_now): (BTreeSet<String>, BTreeSet<u32>) = (
            record.groups.iter().cloned().collect(),
            record.uids.iter().copied().collect(),
        );
        let (keys_now, acts_for_now) = (words(&record.keys), words(&record.acts_for));
        vec![
            ("subject", text(record.id.to_string())),
            ("own", Json::Bool(record.id == *by)),
            ("known", Json::Bool(known)),
            (
                "active",
                Json::Bool(record.status == PrincipalStatus::Active),
            ),
            ("groups", texts(&groups_now)),
            ("groups_added", texts(groups_now.difference(&groups))),
            ("groups_removed", texts(groups.difference(&groups_now))),
            ("keys_added", texts(keys_now.difference(&keys))),
            ("keys_removed", texts(keys.difference(&keys_now))),
            ("uids_added", numbers(uids_now.difference(&uids))),
            ("uids_removed", numbers(uids.difference(&uids_now))),
            ("acts_for_added", texts(acts_for_now.difference(&acts_for))),
            (
                "acts_for_removed",
                texts(acts_for.difference(&acts_for_now)),
            ),
        ]
    }
}

type Facts = Vec<(&'static str, Json)>;

fn of_secret(change: &SecretChange) -> Facts {
    let (how, name) = match change {
        SecretChange::Set(name) => ("set", name.to_string()),
        SecretChange::Renewed { name, .. } => ("renewed", name.to_string()),
        SecretChange::Removed(name) => ("removed", name.to_string()),
        SecretChange::Rekeyed => ("rekeyed", String::new()),
    };
    vec![("change", text(how)), ("secret", text(name))]
}

/// Who must approve, by the policies that ask for it.
fn approvals(policy: &Policy) -> BTreeMap<&str, &Approvals> {
    let asking = policy.rules().filter_map(|rule| {
        let approvals = rule.approvals.as_ref()?;
        Some((rule.id.as_str(), approvals))
    });
    asking.collect()
}

fn words<'a, T: ToString + 'a>(items: impl IntoIterator<Item = &'a T>) -> BTreeSet<String> {
    items.into_iter().map(ToString::to_string).collect()
}

fn members(facts: Facts) -> Members {
    let named = facts.into_iter();
    named
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn text(value: impl Into<String>) -> Json {
    Json::String(value.into())
}

fn texts<'a>(values: impl IntoIterator<Item = &'a String>) -> Json {
    Json::Array(values.into_iter().map(text).collect())
}

fn numbers<'a>(values: impl IntoIterator<Item = &'a u32>) -> Json {
    let values = values.into_iter();
    Json::Array(
        values
            .map(|value| Json::Number(f64::from(*value)))
            .collect(),
    )
}

/// Counts and indices stay below 2^53, where a double is exact.
#[expect(
    clippy::cast_precision_loss,
    reason = "indices and revisions stay below 2^53"
)]
fn number(value: u64) -> Json {
    Json::Number(value as f64)
}
