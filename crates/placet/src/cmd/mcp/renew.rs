//! Where the tokens of a connection are kept: with the node, which hands them to the execution that holds them.

use std::any::Any;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use placet_mcp::governor::{Governor, Holding};
use placet_mcp::oauth::bearer::Keeper;
use placet_secrets::Secret;
use placet_types::{Denial, SecretName};

use super::login::alone;

/// An execution and its connection to the node.
pub(super) struct Kept {
    governor: Governor,
    holding: Holding,
    logins: PathBuf,
}

/// One secret of it.
pub(super) struct KeptSecret {
    kept: Kept,
    secret: SecretName,
}

impl Kept {
    pub(super) fn new(governor: &Governor, holding: Holding, logins: PathBuf) -> Self {
        Self {
            governor: governor.clone(),
            holding,
            logins,
        }
    }

    pub(super) fn of(self, secret: SecretName) -> KeptSecret {
        KeptSecret { kept: self, secret }
    }
}

impl Keeper for KeptSecret {
    fn alone(&self) -> Result<Box<dyn Any + Send>, String> {
        let alone = alone(&self.kept.logins, &self.secret);
        Ok(Box::new(alone.map_err(|error| error.to_string())?))
    }

    fn latest(&self) -> Result<Secret, String> {
        let (sender, receiver) = channel();
        let then = Box::new(move |handed| drop(sender.send(handed)));
        let (holding, name) = (self.kept.holding, self.secret.clone());
        self.kept.governor.hand_again(holding, name, then);
        settled(receiver.recv().ok())
    }

    fn keep(&self, value: Secret) -> Result<(), String> {
        let (sender, receiver) = channel();
        let then = Box::new(move |kept| drop(sender.send(kept)));
        let (holding, name) = (self.kept.holding, self.secret.clone());
        self.kept.governor.renew(holding, name, value, then);
        settled(receiver.recv().ok())
    }
}

fn settled<T>(done: Option<Result<T, Denial>>) -> Result<T, String> {
    match done {
        Some(Ok(done)) => Ok(done),
        Some(Err(denial)) => Err(format!("{}: {}", denial.code, denial.reason)),
        None => Err("the connection is over".to_owned()),
    }
}
