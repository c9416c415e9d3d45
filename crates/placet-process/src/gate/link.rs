//! The connection over which what happens inside a tree is decided and recorded: its own, so that orders to end what stands
//! below come on it, and so that nothing else waits for its answers.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

use std::time::Duration;

use placet_authority::node::wire::{AttestedBody, CallBody, CallsBody, EndBody, Request, Response};
use placet_authority::node::{Connection, LinkError};
use placet_enforce::Pep;
use placet_evidence::{Attestation, Environment};
use placet_types::{ExecutionId, Fixed};

use super::Keeper;
use crate::call::Asking;
use crate::outcome::RunError;
use crate::run::{Gateway, unexpected};

/// How often a lost node is looked for.
const SEEK_EVERY: Duration = Duration::from_millis(250);
/// Ends that are recorded by one write.
const ENDS_AT_ONCE: usize = 64;

/// A node, and the key that what it permits here is bound to.
pub(super) struct Link {
    pub(super) node: Connection,
    pub(super) pep: Pep,
    /// What was attested to it last.
    said: Option<Attestation>,
}

impl Link {
    /// Has calls decided and begun, below whatever asks for them, and ends recorded. What was attested counts at the node that gave
    /// the nonce and is said to it once: to the node behind the next connection it is attested anew.
    fn calls(
        &mut self,
        (gateway, environment): (&Gateway, &Fixed<Environment>),
        calls: Vec<CallBody>,
        (door, ended): (Option<ExecutionId>, &[EndBody]),
    ) -> Result<Vec<Response>, RunError> {
        let attestation = gateway.attestation(environment, &mut self.node, &mut self.pep)?;
        let attested = (self.said.as_ref() != Some(&attestation)).then(|| AttestedBody {
            attestation: attestation.clone(),
            environment: environment.clone(),
            holder: self.pep.holder(),
        });
        self.said = Some(attestation);
        let request = Request::Calls(Box::new(CallsBody {
            attested,
            bearer: None,
            calls,
            door,
            ended: ended.to_vec(),
        }));
        match self.node.ask(&request)? {
            Response::Called(answers) => Ok(answers),
            other => Err(unexpected(other)),
        }
    }
}

impl Keeper<'_> {
    /// Asks, at the node behind the next connection where this one turns out to be dead.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Response, RunError> {
        self.on_link(|_, link| Ok(link.node.ask(request)?))
    }

    /// Has a call decided and its start recorded.
    pub(super) fn begin(
        &mut self,
        call: &Asking<'_>,
        parent: ExecutionId,
    ) -> Result<Response, RunError> {
        let environment = self.root.environment;
        self.on_link(|gateway, link| {
            let calls = vec![Gateway::call_body(call)];
            let mut answers = link.calls((gateway, environment), calls, (Some(parent), &[]))?;
            match (answers.pop(), answers.is_empty()) {
                (Some(answer), true) => Ok(answer),
                _ => Err(RunError::Link(LinkError::Unexpected)),
            }
        })
    }

    /// Has ends recorded, many by one write of the log. The node records by itself what does not get through.
    pub(super) fn end_all(&mut self, ends: &[EndBody]) -> Result<(), RunError> {
        let environment = self.root.environment;
        for some in ends.chunks(ENDS_AT_ONCE) {
            self.on_link(|gateway, link| {
                link.calls((gateway, environment), Vec::new(), (None, some))
            })?;
        }
        Ok(())
    }

    /// Does something with the connection, and once more with the next one if it turns out to be dead.
    fn on_link<T>(
        &mut self,
        act: impl Fn(&Gateway, &mut Link) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        let mut may_be_dead = self.link.is_some();
        loop {
            let gateway = self.gateway;
            let answer = act(gateway, self.link()?);
            if answer.is_err() {
                self.lose_link();
            }
            let is_dead = matches!(answer, Err(RunError::Link(_)));
            if !is_dead || !std::mem::take(&mut may_be_dead) {
                return answer;
            }
        }
    }

    pub(super) fn lose_link(&mut self) {
        if let Some(link) = self.link.take() {
            self.pep = Some(link.pep);
        }
    }

    /// What the node does not know any more has ended.
    pub(super) fn link(&mut self) -> Result<&mut Link, RunError> {
        if self.link.is_none() {
            let mut node = (self.gateway.connect)()?;
            let mut due = Vec::new();
            for exec in self.inner.ids() {
                match node.ask(&Request::Attach { exec })? {
                    Response::Attached { ending } => due.extend(ending.map(|cause| (exec, cause))),
                    Response::Error(denial) => due.push((exec, denial.code)),
                    other => return Err(unexpected(other)),
                }
            }
            let pep = match self.pep.take() {
                Some(pep) => pep,
                None => self.gateway.pep(&node)?,
            };
            let said = None;
            self.link = Some(Link { node, pep, said });
            self.due.extend(due);
        }
        self.link.as_mut().ok_or(RunError::Link(LinkError::Closed))
    }

    /// Takes up again what runs below, after the connection was lost: what nobody carries is ended.
    pub(super) fn relink(&mut self, now: Duration) {
        let due = now.saturating_sub(self.sought) >= SEEK_EVERY;
        if self.link.is_none() && due && !self.inner.is_empty() {
            self.sought = now;
            // Looked for again if it is not there.
            drop(self.link().map(drop));
        }
    }
}
