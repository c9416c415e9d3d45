//! Secrets of a running execution that change while it runs: tokens that are renewed.

use placet_authority::node::wire::{Request, Response};
use placet_secrets::Secret;
use placet_types::{Denial, SecretName};

use super::Holding;
use super::worker::{Failed, Worker, denial_of, unexpected};

impl Worker {
    /// A secret as it is now, on the connection that has the execution.
    pub(super) fn hand_again(
        &mut self,
        holding: Holding,
        name: SecretName,
    ) -> Result<Secret, Denial> {
        let request = Request::HandAgain {
            exec: holding.exec,
            name,
        };
        let asked = self
            .link()
            .and_then(|link| Ok(link.node.ask_for_secrets(&request)?));
        match asked {
            Ok((Response::Handed(_), mut secrets)) if secrets.len() == 1 => {
                let (_, secret) = secrets.remove(0);
                Ok(secret)
            }
            Ok((response, _)) => Err(denial_of(unexpected(response))),
            Err(failed) => Err(self.lost(failed)),
        }
    }

    /// Keeps the successor of a secret.
    pub(super) fn renew(
        &mut self,
        holding: Holding,
        name: SecretName,
        value: &Secret,
    ) -> Result<(), Denial> {
        let request = Request::RenewSecret {
            // A secret has 64 KiB at most.
            bytes: u32::try_from(value.len()).unwrap_or_default(),
            exec: holding.exec,
            name,
        };
        let asked = self
            .link()
            .and_then(|link| Ok(link.node.ask_with(&request, value)?));
        match asked {
            Ok(Response::Recorded { .. }) => Ok(()),
            Ok(response) => Err(denial_of(unexpected(response))),
            Err(failed) => Err(self.lost(failed)),
        }
    }

    /// A connection that broke in between is of no use.
    fn lost(&mut self, failed: Failed) -> Denial {
        if matches!(failed, Failed::Link(_)) {
            self.lose_link();
        }
        denial_of(failed)
    }
}
