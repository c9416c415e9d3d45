//! From the credentials of a scope to the cell: slots before the start, values after it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use placet_sandbox::{CREDENTIALS_PATH, CredentialSlots, SandboxError, WaitingCell};
use placet_secrets::Secret;
use placet_types::{Credential, CredentialForm, Credentials, SecretName};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// What the cell keeps room for.
pub(crate) fn slots(credentials: &Credentials) -> CredentialSlots {
    let mut slots = CredentialSlots::default();
    for one in credentials.iter() {
        match &one.form {
            CredentialForm::Env(name) => slots.variables.push(name.as_str().into()),
            CredentialForm::File { path, .. } => slots.files.push(path.as_str().into()),
        }
    }
    slots
}

/// Variables that name files of credentials, with the paths that they have in the cell.
pub(crate) fn paths(credentials: &Credentials) -> impl Iterator<Item = (OsString, OsString)> {
    credentials.iter().filter_map(|one| match &one.form {
        CredentialForm::File {
            env: Some(env),
            path,
        } => {
            let path = Path::new(CREDENTIALS_PATH).join(path.as_str());
            Some((env.as_str().into(), path.into()))
        }
        CredentialForm::File { env: None, .. } | CredentialForm::Env(_) => None,
    })
}

/// Every variable that a credential takes.
pub(crate) fn variables(credentials: &Credentials) -> BTreeSet<String> {
    let taken = credentials.iter().filter_map(Credential::variable);
    taken.map(|name| name.as_str().to_owned()).collect()
}

/// Puts the values into the cell, and wipes them here. What the node left out is missed by the
/// release, which then refuses.
pub(crate) fn put(
    cell: &mut WaitingCell,
    credentials: &Credentials,
    secrets: Vec<(SecretName, Secret)>,
) -> Result<(), SandboxError> {
    for one in credentials.iter() {
        let Some((_, value)) = secrets.iter().find(|(name, _)| *name == one.name) else {
            continue;
        };
        match &one.form {
            CredentialForm::Env(name) => {
                cell.put_variable(OsStr::new(name.as_str()), value.expose())?;
            }
            CredentialForm::File { path, .. } => {
                cell.put_file(&PathBuf::from(path.as_str()), value.expose())?;
            }
        }
    }
    drop(secrets);
    Ok(())
}

/// While it lives, no core dump of this process is written and no other process of the user reads
/// its memory. A supervisor without privileges is readable otherwise: it has to build cells.
pub(crate) struct Unreadable(());

impl Unreadable {
    pub(crate) fn begin() -> Self {
        // Where the kernel refuses, the values are still wiped within a moment.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or(());
        Self(())
    }
}

impl Drop for Unreadable {
    fn drop(&mut self) {
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap_or(());
    }
}
