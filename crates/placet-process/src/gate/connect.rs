//! Each peer that a tree connects to, decided as an intent of its own.
//!
//! It is an execution below the tree's own. Policy narrows what the scope lists and adds nothing to it: a
//! peer that is not listed is refused before anybody is asked.
//!
//! A yes holds while that execution runs: once it is to end, nobody connects to the peer on its account, and
//! connections to it are closed. Those that a program holds itself cannot be taken from it: then the tree ends.
//! One that was revoked stays refused to this tree; after any other end it is asked anew.
//! A no holds for some seconds, and longer each time, so that a tree that tries on and on writes no log full.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

use std::time::Duration;

use placet_authority::node::wire::{DeferredBody, EndBody, Request, Response};
use placet_enforce::Permit;
use placet_evidence::RunEnd;
use placet_sandbox::RunningCell;
use placet_types::{DenialCode, ExecutionId, Index, PeerRule};

use super::holds::{Asks, Waiting};
use super::known::{Decided, Found, Table};
use super::{Keeper, Tree};
use crate::network::Withdrawn;
use crate::outcome::RunError;
use crate::peered::Peered;
use crate::refusals::why_not;

/// Distinct peers that are remembered of one tree. Each is a record, and those permitted are executions.
const PEERS_MAX: usize = 1024;
/// How long a no holds at most.
const NO_HOLDS_MAX: Duration = Duration::from_secs(600);

/// What was decided about peers, by `host:port` as the scope lists them.
pub(super) type Peers = Table<String, Standing, Peered>;

/// How it stands with a peer that was permitted.
pub(super) enum Standing {
    Runs(ExecutionId),
    /// It is not permitted any more.
    Ended(DenialCode),
}

/// Nothing was decided so far.
pub(super) fn none() -> Peers {
    Table::new(PEERS_MAX, NO_HOLDS_MAX)
}

/// The peer whose execution this is.
fn of(peers: &Peers, exec: ExecutionId) -> Option<&String> {
    let is_it = |standing: &Standing| matches!(standing, Standing::Runs(id) if *id == exec);
    let mut all = peers.yeses();
    all.find(|(_, standing)| is_it(standing))
        .map(|(peer, _)| peer)
}

/// Why nobody may be connected to a peer any more, if somebody may have been.
fn withdrawn(peers: &Peers, peer: &str) -> Option<DenialCode> {
    match peers.yes(peer) {
        Some(Standing::Runs(_)) => None,
        Some(Standing::Ended(cause)) => Some(*cause),
        None => Some(DenialCode::AuthorizationDiscontinuity),
    }
}

impl Keeper<'_> {
    /// Decides about the connections that wait, and answers them; takes back what holds no longer.
    pub(super) fn answer_connects(&mut self, cell: &RunningCell, tree: Tree, now: Duration) {
        for (source, peer) in self.network.take_asked() {
            // Nobody waits for the answer any more when the tree is gone.
            let allow = tree == Tree::Lives && self.may_connect(&peer, now);
            self.network.answer(source, allow, cell);
        }
        if tree == Tree::Lives {
            self.take_back();
        }
    }

    /// A connection that was under way when its peer's execution ended is found here as well.
    fn take_back(&mut self) {
        let peers = &self.peers;
        match self.network.withdraw(|peer| withdrawn(peers, peer)) {
            Withdrawn::Closed => {}
            Withdrawn::Held(cause) => self.ending = self.ending.or(Some(cause)),
        }
    }

    /// The node says that this execution must end; `false` when it is not one of a peer.
    pub(super) fn end_peer(&mut self, exec: ExecutionId, cause: DenialCode) -> bool {
        let Some(peer) = of(&self.peers, exec).cloned() else {
            return false;
        };
        self.say(&format!("placet: ended, {cause}: connections to {peer}"));
        self.peers.permit(peer, Standing::Ended(cause));
        self.take_back();
        if self.ending.is_none() {
            // What was open to it is closed. Ends of trees are recorded when those are gone.
            self.inner.remove(exec);
            // Without a node there is nobody to tell; it ends what was not told of by itself.
            drop(self.ask(&Request::End(EndBody {
                cause: Some(cause),
                exec,
                exit: None,
                outcome: RunEnd::Terminated,
                usage: None,
            })));
        }
        true
    }

    fn may_connect(&mut self, peer: &str, now: Duration) -> bool {
        let wall = self.gateway.clock.wall();
        let asks = match self.peers.find(peer, (now, wall)) {
            Found::Yes(Standing::Runs(_)) => return true,
            Found::Yes(Standing::Ended(code @ DenialCode::Revoked)) => {
                let text = format!(
                    "placet: refused, {code}: connect {peer}: it was revoked for this tree"
                );
                self.say(&text);
                return false;
            }
            Found::Yes(Standing::Ended(_)) => Asks::Anew,
            Found::No(why) => {
                let text = format!("placet: denied, {why}");
                self.say(&text);
                return false;
            }
            Found::Full => {
                let code = DenialCode::Overloaded;
                let why = "its tree connects to too many different peers";
                self.say(&format!("placet: refused, {code}: {peer}: {why}"));
                return false;
            }
            Found::Ask(asks) => asks,
        };
        match self.submit_peer(peer, asks) {
            Ok(Decided::Yes(exec)) => {
                let peer = peer.to_owned();
                self.peers.permit(peer, Standing::Runs(exec));
                true
            }
            Ok(Decided::No(why, waits)) => {
                self.say(&format!("placet: denied, {why}"));
                self.peers.deny(peer.to_owned(), why, waits, now);
                false
            }
            Err(_) => {
                // Not remembered: the next one asks again.
                let code = DenialCode::EvidenceUnavailable;
                self.say(&format!(
                    "placet: refused, {code}: {peer}: no decision was reached"
                ));
                false
            }
        }
    }

    /// Has it decided and its start recorded, by one write of the log.
    fn submit_peer(
        &mut self,
        peer: &str,
        asks: Asks<Peered>,
    ) -> Result<Decided<ExecutionId, Peered>, RunError> {
        let root = self.root.permit;
        let parent = root.exec();
        let (gateway, environment) = (self.gateway, self.root.environment);
        let call = match asks {
            Asks::Same(call) => call,
            Asks::Anew => {
                let above = (parent, self.root.profile);
                Box::new(Peered::new(peer, self.actor(), above)?)
            }
        };
        let begun = match self.begin(&call.asking(), parent)? {
            Response::Begun(begun) => begun,
            Response::Denied { denial, index, .. } => {
                let why = said(peer, denial.code.as_str(), &denial.reason, index);
                return Ok(Decided::No(why, None));
            }
            Response::Deferred(deferred) => return Ok(waits(peer, call, &deferred)),
            other => return Err(crate::run::unexpected(other)),
        };
        let exec = begun.exec;
        let pep = &mut self.link()?.pep;
        let permit = match gateway.admit(pep, &call.asking(), environment, &(&*begun).into()) {
            Ok(permit) => permit,
            Err(refusal) => {
                self.give_up(exec, refusal.code)?;
                return Err(RunError::Refused(refusal));
            }
        };
        if !reaches(&permit, peer) || permit.claims().exp < root.claims().exp {
            let code = DenialCode::ScopeExceeded;
            self.give_up(exec, code)?;
            let why = "it is permitted for less than the execution that wants it";
            let why = said(peer, code.as_str(), why, begun.index);
            return Ok(Decided::No(why, None));
        }
        let depth = self.root.depth.saturating_add(1);
        self.inner.begin_connects(exec, parent, depth);
        Ok(Decided::Yes(exec))
    }
}

fn said(peer: &str, code: &str, why: &str, index: Index) -> String {
    why_not(&format!("connect {peer}"), code, why, index)
}

fn waits(peer: &str, call: Box<Peered>, deferred: &DeferredBody) -> Decided<ExecutionId, Peered> {
    let why = format!(
        "it needs approvals, and a connection is not held that long: have `placet approve {}` said, and connect again",
        deferred.exec
    );
    let code = DenialCode::ApprovalRequired.as_str();
    let until = deferred.waiting.until;
    let waits = Some(Waiting { call, until });
    Decided::No(said(peer, code, &why, deferred.index), waits)
}

/// Whether a permit's own scope has the peer.
fn reaches(permit: &Permit, peer: &str) -> bool {
    peer.parse().is_ok_and(|peer: PeerRule| {
        let network = &permit.scope().network;
        network.rules().any(|rule| rule.covers(&peer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_permit_stands_for_a_connection() {
        let mut peers = none();
        let exec = ExecutionId::new([1; 16]);
        let peer = "a.example:1".to_owned();
        assert!(withdrawn(&peers, &peer).is_some());
        peers.permit(peer.clone(), Standing::Runs(exec));
        assert_eq!(withdrawn(&peers, &peer), None);
        assert_eq!(of(&peers, exec), Some(&peer));
        let ended = Standing::Ended(DenialCode::PolicyMismatch);
        peers.permit(peer.clone(), ended);
        assert_eq!(withdrawn(&peers, &peer), Some(DenialCode::PolicyMismatch));
        assert_eq!(of(&peers, exec), None);
    }
}
