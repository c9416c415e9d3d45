//! Work on copies: made before a cell, listed after it, and told to whoever started the command.

use std::collections::BTreeSet;

use placet_authority::blobs::Blobs;
use placet_authority::node::wire::{DeferredBody, Request, Response};
use placet_authority::node::{Connection, LinkError};
use placet_enforce::Permit;
use placet_evidence::ChangeSummary;
use placet_sandbox::{Looked, Observed};
use placet_types::canonical::{self, Bounds};
use placet_types::{ExecutionId, ProfileName, Scope, Writes};

use crate::cell;
use crate::changes::{Copies, Finished};
use crate::contacts::Contacts;
use crate::outcome::RunError;
use crate::run::Gateway;

/// What whoever started a command is told besides its outcome.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// Before it is decided about for good: it waits for approvals.
    Deferred(&'a DeferredBody),
    /// Before it starts: it does not run where it was meant to, or not on the trees themselves.
    Elsewhere {
        /// Which execution.
        exec: ExecutionId,
        /// Profiles that policy rerouted it to.
        rerouted: &'a BTreeSet<ProfileName>,
        /// Where writes go.
        writes: Writes,
    },
    /// After its end: what it changed in the copy.
    Changed {
        /// Which execution.
        exec: ExecutionId,
        /// How much.
        summary: ChangeSummary,
    },
    /// After its end: what it did, as far as it was noted.
    Observed {
        /// Which execution.
        exec: ExecutionId,
        /// What was noted.
        observed: &'a Observed,
        /// Whom it wanted to reach.
        contacts: &'a Contacts,
    },
    /// After its end: what was refused inside and not said where a person looks.
    Refused {
        /// Which execution.
        exec: ExecutionId,
        /// How often, at least.
        count: usize,
    },
    /// After its end: nothing is left of what it changed.
    ChangesLost {
        /// Why.
        why: &'a str,
    },
}

impl Gateway {
    /// The directories for copies of the write trees, where the scope asks for them.
    pub(crate) fn copies(
        &self,
        link: &mut Connection,
        permit: &Permit,
    ) -> Result<Option<Copies>, RunError> {
        let scope = permit.scope();
        if scope.writes == Writes::Direct {
            return Ok(None);
        }
        if let Some(parent) = permit.claims().parent
            && self.writes_of(link, parent)? != Writes::Direct
        {
            return Err(RunError::Copy(
                "its parent works on a copy, which only programs inside of that execution see; \
                 start the program without `placet run`"
                    .into(),
            ));
        }
        let made = Copies::make(
            &self.dir.changes(),
            permit.exec(),
            scope.writes,
            &cell::present(&scope.write, &Looked::default()),
            scope.limits.tmp_bytes,
        );
        made.map(Some)
            .map_err(|error| RunError::Copy(error.to_string()))
    }

    /// Where the writes of a running execution go. One that nobody knows of might be a copy.
    fn writes_of(&self, link: &mut Connection, exec: ExecutionId) -> Result<Writes, RunError> {
        let Response::Executions(all) = link.ask(&Request::Executions)? else {
            return Err(RunError::Link(LinkError::Unexpected));
        };
        let scope = all
            .iter()
            .find(|one| one.exec == exec)
            .and_then(|one| Blobs::new(self.dir.blobs()).get(one.grant.scope).ok())
            .and_then(|bytes| canonical::from_bytes::<Scope>(&bytes, Bounds::RECORD).ok());
        Ok(scope.map_or(Writes::Discarded, |scope| scope.writes))
    }

    /// The tree is gone, and what it changed can be listed.
    pub(crate) fn list_changes(
        &self,
        exec: ExecutionId,
        copies: Option<Copies>,
    ) -> Option<ChangeSummary> {
        match copies?.finish() {
            Finished::Listed(summary) => {
                (self.tell)(&Notice::Changed { exec, summary });
                Some(summary)
            }
            Finished::Lost(why) => {
                (self.tell)(&Notice::ChangesLost { why: &why });
                None
            }
        }
    }
}
