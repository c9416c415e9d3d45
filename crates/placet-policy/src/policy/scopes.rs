//! Scopes that permits grant: what profiles allow together, within the parent's scope.

use placet_types::{Denial, DenialCode, Digest, FixedScope, ProfileName, Scope};

use super::Policy;
use crate::profile::{Profile, Vars};

/// What a scope follows from, apart from the bundle.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct ScopeKey {
    profiles: Vec<ProfileName>,
    vars: Vars,
    within: Option<Digest>,
}

impl Policy {
    /// What all of these profiles allow, filled in with `vars`, and `within` allows too.
    ///
    /// Agents ask for the same again and again, so the answer is kept; it changes nothing.
    ///
    /// # Errors
    ///
    /// As for [`Profile::scope`]; [`DenialCode::PolicyError`] without any profile.
    pub fn scope(
        &self,
        profiles: &[&Profile],
        vars: Vars,
        within: Option<&FixedScope>,
    ) -> Result<FixedScope, Denial> {
        let key = ScopeKey {
            profiles: profiles.iter().map(|one| one.name().clone()).collect(),
            vars,
            within: within.map(FixedScope::digest),
        };
        if let Some(known) = self.scopes.get(&key) {
            return Ok(known);
        }
        let scope = combine(profiles, &key.vars, within)?;
        let fixed = FixedScope::new(scope)
            .map_err(|error| Denial::new(DenialCode::PolicyError, error.to_string()))?;
        self.scopes.insert(key, fixed.clone());
        Ok(fixed)
    }

    /// What all of these profiles allow an action that is no process, within `within`: limits and
    /// network, and neither files nor programs nor variables.
    ///
    /// # Errors
    ///
    /// [`DenialCode::PolicyError`] without any profile.
    pub fn bare_scope(
        &self,
        profiles: &[&Profile],
        within: Option<&FixedScope>,
    ) -> Result<FixedScope, Denial> {
        bare(profiles.iter().map(|profile| profile.bare_scope()), within)
    }

    /// As [`Policy::bare_scope`], with the credentials: for an action whose gateway speaks to a peer
    /// elsewhere, in the place of a process.
    ///
    /// # Errors
    ///
    /// [`DenialCode::PolicyError`] without any profile.
    pub fn remote_scope(
        &self,
        profiles: &[&Profile],
        within: Option<&FixedScope>,
    ) -> Result<FixedScope, Denial> {
        bare(
            profiles.iter().map(|profile| profile.remote_scope()),
            within,
        )
    }
}

fn bare(
    scopes: impl Iterator<Item = Scope>,
    within: Option<&FixedScope>,
) -> Result<FixedScope, Denial> {
    let scope = scopes
        .reduce(|so_far, own| so_far.intersect(&own))
        .ok_or_else(|| Denial::new(DenialCode::PolicyError, "no profile applies"))?;
    let scope = within.map_or_else(|| scope.clone(), |outer| scope.intersect(outer));
    FixedScope::new(scope).map_err(|error| Denial::new(DenialCode::PolicyError, error.to_string()))
}

fn combine(
    profiles: &[&Profile],
    vars: &Vars,
    within: Option<&FixedScope>,
) -> Result<Scope, Denial> {
    let mut scope: Option<Scope> = None;
    for profile in profiles {
        let own = profile.scope(vars)?;
        scope = Some(match scope {
            Some(so_far) => so_far.intersect(&own),
            None => own,
        });
    }
    let scope = scope.ok_or_else(|| Denial::new(DenialCode::PolicyError, "no profile applies"))?;
    Ok(within.map_or_else(|| scope.clone(), |outer| scope.intersect(outer)))
}
