//! Secrets: operators' changes of the store, and values for an execution that starts.
//!
//! Order, under one lock: the next state of the store is on disk; the record that it counts is
//! durable; then it takes the place of the present one. A start holds the same lock, shared, from
//! reading the values until its record is durable: a secret that was removed or changed by an
//! earlier record is never handed over by a later one.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use placet_decision::Params;
use placet_evidence::{Caller, SecretChange, Stage};
use placet_secrets::{Change, Pending, Secret, Store, StoreError, StorePaths};
use placet_state::State;
use placet_types::{
    CredentialForm, Denial, DenialCode, Digest, ExecutionId, FixedScope, GatewayName, Index,
    PrincipalId, ProfileName, SecretName,
};

use crate::authority::Authority;
use crate::control::ActError;
use crate::dir::DomainDir;
use crate::scopes;
use crate::submission::{Denied, Unavailable};
use crate::work::{ReadyAct, Work};

/// The store of a domain directory.
#[must_use]
pub fn store(dir: &DomainDir) -> Store {
    Store::new(StorePaths {
        store: dir.secrets(),
        key: dir.secrets_key(),
    })
}

/// What the names of logins begin with.
const LOGIN: &str = "oauth.";

/// An execution that may start, with the values that its scope hands over.
#[derive(Debug)]
pub struct Handed {
    /// The record of the start.
    pub index: Index,
    /// Each secret once.
    pub secrets: Vec<(SecretName, Secret)>,
}

impl Authority {
    /// Changes the store of secrets. Returns once the change is recorded and done.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded; [`ActError`] when the change was refused.
    pub fn change_secrets(
        &self,
        change: Change,
        by: PrincipalId,
        caller: Caller,
    ) -> Result<Result<Index, ActError>, Unavailable> {
        let _alone = self.administering();
        let recorded = match &change {
            Change::Set(name, _) => SecretChange::Set(name.clone()),
            Change::Remove(name) => SecretChange::Removed(name.clone()),
            Change::Rekey => SecretChange::Rekeyed,
        };
        let asked = ReadyAct::Secret(recorded.clone(), 0);
        let decided_by = match self.permit_act(&asked, &by, caller)? {
            Ok(decided_by) => decided_by,
            Err(error) => return Ok(Err(error)),
        };
        let done = self.changed_secrets(change, recorded, by, decided_by)?;
        self.settle_act(decided_by, done.is_ok())?;
        Ok(done)
    }

    fn changed_secrets(
        &self,
        change: Change,
        recorded: SecretChange,
        by: PrincipalId,
        decided_by: Option<ExecutionId>,
    ) -> Result<Result<Index, ActError>, Unavailable> {
        let _turn = self.turns.write().unwrap_or_else(PoisonError::into_inner);
        let version = self.with_state(|state| state.secrets().version());
        let pending = match self.secrets.prepare(version, change) {
            Ok(pending) => pending,
            Err(error) => return Ok(Err(refused(&error))),
        };
        self.record_change(pending, recorded, by, decided_by)
    }

    fn record_change(
        &self,
        pending: Pending,
        change: SecretChange,
        by: PrincipalId,
        decided_by: Option<ExecutionId>,
    ) -> Result<Result<Index, ActError>, Unavailable> {
        let ready = ReadyAct::Secret(change, pending.version());
        // Whether an append that failed is in the log is found out by who opens it next; and with
        // it, which state of the store counts.
        let done = self.urgent(|reply| Work::Act(ready, by, decided_by, reply))?;
        let stored = match &done {
            Ok(_) => self.secrets.commit(pending),
            Err(_) => self.secrets.abandon(pending),
        };
        Ok(match (done, stored) {
            (Ok(_), Err(error)) => Err(refused(&error)),
            (done, _) => done,
        })
    }

    /// As [`Authority::start`], and hands over the values of the credentials in the scope.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded.
    pub fn start_with_secrets(
        &self,
        exec: ExecutionId,
        artifact: Digest,
        gateway: GatewayName,
        caller_uid: u32,
        pinned: Option<Params>,
    ) -> Result<Result<Handed, Denied>, Unavailable> {
        let _turn = self.turns.read().unwrap_or_else(PoisonError::into_inner);
        let secrets = match self.values_for(exec) {
            Ok(secrets) => secrets,
            Err(denial) => {
                let presented = exec.to_string().into_bytes();
                let stage = Stage::Artifact;
                let caller = Caller::Unix(caller_uid);
                let denied = self.refused(presented, Some(exec), denial, caller, stage)?;
                return Ok(Err(denied));
            }
        };
        let names = secrets.iter().map(|(name, _)| name.clone()).collect();
        let caller = Caller::Unix(caller_uid);
        let started = self.record_start(exec, artifact, gateway, caller, (names, pinned))?;
        Ok(started.map(|index| Handed { index, secrets }))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else is wrong with the store, it cannot be used"
    )]
    /// The values for an execution; none for one that may not start, which is found out next.
    fn values_for(&self, exec: ExecutionId) -> Result<Vec<(SecretName, Secret)>, Denial> {
        let unavailable = |reason: String| Denial::new(DenialCode::CredentialUnavailable, reason);
        let found = |state: &State| {
            let scope = state.execution(&exec)?.grant.scope;
            Some((scope, state.secrets().version()))
        };
        let Some((scope, version)) = self.with_state(found) else {
            return Ok(Vec::new());
        };
        let scope = scopes::read(self.blobs(), scope)
            .ok_or_else(|| unavailable("the scope of the execution cannot be read".into()))?;
        if scope.credentials.is_empty() {
            return Ok(Vec::new());
        }
        let values = self
            .secrets
            .get(version, &scope.credentials.secrets())
            .map_err(|error| match error {
                StoreError::Unknown(name) => Denial::new(
                    DenialCode::CredentialMissing,
                    format!("the secret `{name}` was removed"),
                ),
                error => unavailable(error.to_string()),
            })?;
        fit(&scope, &values).map_err(unavailable)?;
        Ok(values)
    }

    /// A secret that a running execution was handed, as it is now.
    ///
    /// # Errors
    ///
    /// Why it is not to be had.
    pub fn hand_again(&self, exec: ExecutionId, name: &SecretName) -> Result<Secret, Denial> {
        let _turn = self.turns.read().unwrap_or_else(PoisonError::into_inner);
        self.handed_to(exec, name)?;
        let values = self.values_for(exec)?;
        let value = values.into_iter().find(|(held, _)| held == name);
        value
            .map(|(_, value)| value)
            .ok_or_else(|| not_handed(name))
    }

    /// What a login gave, for whoever takes it away. No other secret is read in this way.
    pub(crate) fn login(&self, name: &SecretName) -> Option<Secret> {
        if !name.as_str().starts_with(LOGIN) {
            return None;
        }
        let _turn = self.turns.read().unwrap_or_else(PoisonError::into_inner);
        let version = self.with_state(|state| state.secrets().version());
        let values = self.secrets.get(version, &BTreeSet::from([name.clone()]));
        values.ok()?.into_iter().next().map(|(_, value)| value)
    }

    /// A running execution gives the successor of a secret that it was handed. Nobody else may, and no other
    /// secret: it is the permit of that execution that allows it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded; [`ActError`] when it was refused.
    pub fn renew_secret(
        &self,
        exec: ExecutionId,
        name: SecretName,
        value: Secret,
    ) -> Result<Result<Index, ActError>, Unavailable> {
        let _alone = self.administering();
        let by = match self.handed_to(exec, &name) {
            Ok(by) => by,
            Err(denial) => return Ok(Err(ActError::new(denial.code, denial.reason))),
        };
        let recorded = SecretChange::Renewed {
            exec,
            name: name.clone(),
        };
        self.changed_secrets(Change::Set(name, value), recorded, by, None)
    }

    /// Whom a live execution acts for, if its scope has that secret.
    fn handed_to(&self, exec: ExecutionId, name: &SecretName) -> Result<PrincipalId, Denial> {
        let found = |state: &State| {
            let execution = state.execution(&exec).filter(|it| it.is_live())?;
            Some((execution.grant.scope, execution.principal().clone()))
        };
        let (scope, by) = self.with_state(found).ok_or_else(|| not_handed(name))?;
        let scope = scopes::read(self.blobs(), scope).ok_or_else(|| not_handed(name))?;
        if scope.credentials.secrets().contains(name) {
            Ok(by)
        } else {
            Err(not_handed(name))
        }
    }

    /// What is wrong with the store of secrets, if anything is.
    #[must_use]
    pub fn secrets_trouble(&self) -> Option<String> {
        let _turn = self.turns.read().unwrap_or_else(PoisonError::into_inner);
        let version = self.with_state(|state| state.secrets().version());
        let verified = self.secrets.verify(version);
        verified.err().map(|error| error.to_string())
    }

    /// Finishes or forgets a change of the store that a lost node left half done.
    pub(crate) fn settle_secrets(&self) {
        let _turn = self.turns.write().unwrap_or_else(PoisonError::into_inner);
        let version = self.with_state(|state| state.secrets().version());
        // What cannot be settled is no store of this version, and refused by whoever uses it.
        drop(self.secrets.settle(version));
    }

    /// The profiles of the bundle in force that hand secrets over, with their names.
    #[must_use]
    pub fn secrets_by_profile(&self) -> Vec<(ProfileName, BTreeSet<SecretName>)> {
        let active = self.with_state(|state| state.policy().map(|active| active.bundle));
        let policy = active.and_then(|active| self.bundles().load(active).ok());
        let profiles = policy.iter().flat_map(|policy| policy.profiles());
        profiles
            .map(|profile| (profile.name().clone(), profile.credentials().secrets()))
            .filter(|(_, secrets)| !secrets.is_empty())
            .collect()
    }
}

/// A value with a zero byte in it cannot stand in an environment.
fn fit(scope: &FixedScope, values: &[(SecretName, Secret)]) -> Result<(), String> {
    let fits = |name: &SecretName| {
        let value = values.iter().find(|(held, _)| held == name);
        value.is_some_and(|(_, value)| value.fits_a_variable())
    };
    let bad = scope
        .credentials
        .iter()
        .find(|one| matches!(one.form, CredentialForm::Env(_)) && !fits(&one.name));
    match bad {
        None => Ok(()),
        Some(one) => Err(format!(
            "the secret `{}` holds a zero byte, so it cannot be an environment variable; hand it over as a file",
            one.name
        )),
    }
}

fn not_handed(name: &SecretName) -> Denial {
    let reason = format!("no execution that runs was handed the secret `{name}` here");
    Denial::new(DenialCode::CredentialUnavailable, reason)
}

fn refused(error: &StoreError) -> ActError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else is wrong with the store, it cannot be used"
    )]
    let code = match error {
        StoreError::Unknown(_) => DenialCode::CredentialMissing,
        StoreError::Full => DenialCode::Overloaded,
        _ => DenialCode::CredentialUnavailable,
    };
    ActError::new(code, error.to_string())
}
