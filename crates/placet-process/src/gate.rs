//! What a governed tree starts and whom it connects to: noted, and decided where the scope says so.
//!
//! The sandbox stops each program before its first instruction and says what it is. Under
//! [`ExecCheck::Image`] this end only takes note of what was refused. Under [`ExecCheck::Decide`]
//! each distinct program, by digest, arguments and directory, is an intent of its own: submitted as a child of
//! whatever started it, admitted like any other permit, and let go once its start is recorded.
//!
//! It runs in the cell that is there already. So a permit that asks for a narrower scope or an earlier
//! end than the cell has is no permit for it: that takes a cell of its own, by `placet run`. And an
//! order to end one of these executions ends the whole tree, which is all that can be ended.
//!
//! Under [`placet_types::Egress::Decide`] each distinct peer is an intent of its own as well.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

mod connect;
mod decide;
mod holds;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use placet_authority::node::wire::{BornBody, ConnectionsBody, Request, Response, SignalBody};
use placet_authority::node::{Connection, Pushed};
use placet_egress::Proxy;
use placet_enforce::{Pep, Permit};
use placet_evidence::{Environment, NetworkUsage, RunEnd, SignalKind};
use placet_sandbox::{
    ExecCall, ExecEnd, ExecReport, ExecVerdict, Gate, Refusal, RunningCell, Status,
};
use placet_types::{DenialCode, Digest, ExecutionId, Fixed, ProcessParams, ProfileName, canonical};

use crate::born::{self, Births};
use crate::call::Asking;
use crate::conduct::{Conduct, Ending, bound_of};
use crate::contacts::Contacts;
use crate::drift::Drift;
use crate::inner::Inner;
use crate::network::NetworkWatch;
use crate::outcome::RunError;
use crate::refusals::{SAID_CHARS_MAX, visible, words};
use crate::run::Gateway;

use self::connect::Peers;
use self::decide::{Key, Known};
use self::holds::Again;

/// How often connections are recorded, unless there are many.
const CONNECTIONS_EVERY: Duration = Duration::from_secs(5);
/// And when there are.
const CONNECTIONS_EVERY_FULL: Duration = Duration::from_secs(1);
/// How often a lost node is looked for.
const SEEK_EVERY: Duration = Duration::from_millis(250);
/// Refusals that wait to be said.
const SAID_MAX: usize = 64;

/// The execution that the tree belongs to.
pub(crate) struct Root<'a> {
    pub(crate) permit: &'a Permit,
    pub(crate) params: &'a ProcessParams,
    pub(crate) environment: &'a Fixed<Environment>,
    pub(crate) depth: u32,
    /// The profile that was asked for.
    pub(crate) profile: Option<&'a ProfileName>,
}

/// Carries the reports of one cell's gate to the node, and its answers back.
pub(crate) struct Keeper<'a> {
    gateway: &'a Gateway,
    root: Root<'a>,
    link: Option<(Connection, Pep)>,
    /// Whose key what stands below is bound to, while there is no connection.
    pep: Option<Pep>,
    known: BTreeMap<Key, Known>,
    /// Questions that are asked again.
    again: Again,
    /// The bundle that was in force when the node was last heard.
    in_force: Option<Digest>,
    /// Peers that were decided about.
    peers: Peers,
    inner: Inner,
    /// Ends of processes that came before the tree was ended, when it was.
    settled: Option<Vec<ExecEnd>>,
    conduct: Conduct,
    /// Where the scope lets programs start that the tree has made.
    births: Option<Births>,
    network: NetworkWatch,
    /// Refusals that nobody was told of yet.
    said: Vec<String>,
    listed: Duration,
    /// When a lost node was last looked for.
    sought: Duration,
    /// Executions below that must end, as it was told when a lost node was found again.
    due: Vec<(ExecutionId, DenialCode)>,
    ending: Option<DenialCode>,
}

/// Whether anything waits for answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Lives,
    Gone,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        gateway: &'a Gateway,
        root: Root<'a>,
        proxy: Option<Proxy>,
        drift: Drift,
    ) -> Self {
        let permit = root.permit;
        Self {
            gateway,
            conduct: Conduct::new(permit.exec(), &permit.scope().trips, drift),
            births: permit.scope().exec_in_writable.then(Births::default),
            root,
            link: None,
            pep: None,
            known: BTreeMap::new(),
            again: Again::default(),
            in_force: None,
            peers: Peers::default(),
            inner: Inner::default(),
            settled: None,
            network: NetworkWatch::new(proxy, permit.scope(), gateway.observe),
            said: Vec::new(),
            listed: Duration::ZERO,
            sought: Duration::ZERO,
            due: Vec::new(),
            ending: None,
        }
    }

    /// What is to be waited for: the connection that orders to end come on, and what may have drifted.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let link = self.link.as_ref().map(|(link, _)| link.as_fd());
        link.into_iter().chain(self.conduct.as_fd())
    }

    /// Readable when the proxy of the cell has something to say, if there is one.
    pub(crate) fn network(&self) -> Option<BorrowedFd<'_>> {
        self.network.as_fd()
    }

    /// Whom the tree has wanted to reach, if that is noted.
    pub(crate) fn contacts(&self) -> Option<&Contacts> {
        self.network.contacts()
    }

    /// The tree is about to be ended: nothing goes over its connections any more.
    pub(crate) fn cut(&self) {
        self.network.cut();
    }

    /// Takes what gate, broker and proxy report and what the node says; gives the first reason to end.
    pub(crate) fn attend(&mut self, cell: &RunningCell, now: Duration) -> Option<Ending> {
        let ends = cell.gate().map(Gate::ends).unwrap_or_default();
        self.take_reports(cell, now, Tree::Lives);
        // An exec is reported before its end: those were taken first, so none is unknown.
        self.take_ends(ends);
        self.hear(now);
        if let Some(cause) = self.ending {
            return Some(Ending { cause, why: None });
        }
        if let Some(ending) = self.conduct.look(cell, now) {
            return Some(ending.clone());
        }
        let due = self.conduct.due(now);
        self.record(due);
        let born = self.births.as_mut().and_then(|births| births.due(now));
        self.record_born(born);
        let waited = now.saturating_sub(self.listed);
        let due = waited >= CONNECTIONS_EVERY && self.network.is_due();
        if due || (waited >= CONNECTIONS_EVERY_FULL && self.network.is_full()) {
            self.listed = now;
            self.record_connections();
        }
        None
    }

    fn take_ends(&mut self, ends: Vec<ExecEnd>) {
        for end in ends {
            if let Status::Signaled(signal) = end.status
                && let Some(kind) = bound_of(signal)
            {
                self.conduct.note(kind, 1, String::new());
            }
            self.inner.ended(end);
        }
    }

    /// Takes what the gate reports, and answers those who wait.
    pub(crate) fn take_execs(&mut self, cell: &RunningCell, now: Duration) {
        self.take_gate(cell, now, Tree::Lives);
    }

    fn take_gate(&mut self, cell: &RunningCell, now: Duration, tree: Tree) {
        let Some(gate) = cell.gate() else { return };
        for report in gate.reports() {
            match report {
                // Nobody waits for the answer any more, so there is nothing to decide.
                ExecReport::Asked(_) if tree == Tree::Gone => {}
                report => self.take(gate, report, now),
            }
        }
    }

    fn take_reports(&mut self, cell: &RunningCell, now: Duration, tree: Tree) {
        self.take_gate(cell, now, tree);
        let refused = self.network.take(cell, self.gateway.clock.wall());
        self.answer_connects(cell, tree, now);
        let denied = self.network.take_denied();
        self.conduct.denied_connects(denied);
        let refused = refused.saturating_sub(denied);
        if refused > 0 {
            // To whom stands in the list of connections, which is private.
            let words = "connections were refused";
            let kind = (DenialCode::ScopeExceeded, SignalKind::RefusedConnect, words);
            self.conduct.note(kind, refused, String::new());
        }
        self.conduct.traffic(self.network.bytes());
        self.conduct.take_denials(cell);
    }

    /// The tree is about to be ended: what has ended by now has ended by itself.
    pub(crate) fn settle(&mut self, cell: &RunningCell) {
        self.settled = cell.gate().map(Gate::ends);
    }

    /// The tree is gone, for this cause if it was ended: takes the last reports, ends what stands below
    /// the execution, and gives what went over the network, where there was one.
    pub(crate) fn finish(
        &mut self,
        cell: &RunningCell,
        cause: Option<DenialCode>,
        now: Duration,
    ) -> Option<NetworkUsage> {
        self.network.close();
        let later = cell.gate().map(Gate::ends).unwrap_or_default();
        self.take_reports(cell, now, Tree::Gone);
        let settled = self.settled.take().unwrap_or_default();
        self.take_ends(settled);
        let over = self.inner.over();
        self.take_ends(later);
        let rest = self.conduct.rest(cause);
        self.record(rest);
        while let Some(batch) = self.births.as_mut().and_then(Births::batch)
            && self.record_born(Some(batch))
        {}
        self.record_connections();
        self.end_below(cause, &over);
        self.network.total()
    }

    fn end_below(&mut self, cause: Option<DenialCode>, over: &BTreeMap<ExecutionId, RunEnd>) {
        for end in self.inner.ends(cause, over) {
            // The node ends them itself when this does not get through.
            if self.ask(&Request::End(end)).is_err() {
                return;
            }
        }
    }

    fn take(&mut self, gate: &Gate, report: ExecReport, now: Duration) {
        match report {
            ExecReport::Asked(call) => {
                let verdict = if self.decide(&call, now) {
                    ExecVerdict::Allow
                } else {
                    ExecVerdict::Refuse
                };
                // One that does not wait any more has been refused.
                gate.answer(call.id, verdict);
            }
            ExecReport::Started(call) => {
                self.conduct.started(now);
                // The root's own program, of which nobody was asked.
                if call.by.is_none() && self.inner.of(call.id).is_none() {
                    self.inner.remember(call.id, self.root.permit.exec());
                }
                self.inner.started(call.id);
                if let Some(births) = &mut self.births {
                    let (inner, root) = (&self.inner, self.root.permit.exec());
                    births.started(&call, self.gateway.clock.wall(), |id| {
                        inner.of(id).unwrap_or(root)
                    });
                }
            }
            ExecReport::Refused {
                why: Refusal::Denied,
                ..
            } => self.conduct.refused_on_record(),
            ExecReport::Refused { call, why } => {
                let code = match why {
                    Refusal::Unlisted => DenialCode::ScopeExceeded,
                    _ => DenialCode::RuntimeIntegrity,
                };
                self.note((code, words(why)), "", &call);
            }
        }
    }

    fn note(&mut self, (code, words): (DenialCode, &'static str), part: &str, call: &ExecCall) {
        let path = call.image.as_ref().map(|image| image.path.as_path());
        let path = path.map_or_else(String::new, |path| path.to_string_lossy().into_owned());
        self.say(&format!("placet: refused, {code}: {words}: {path}{part}"));
        let kind = (code, SignalKind::RefusedExec, words);
        self.conduct.note(kind, 1, path);
    }

    fn record(&mut self, signals: Vec<SignalBody>) {
        for signal in signals {
            // What could not be recorded was refused all the same; without a node the rest waits in vain.
            if self.ask(&Request::Signal(signal)).is_err() {
                return;
            }
        }
    }

    /// Whether anything was recorded.
    fn record_born(&mut self, batch: Option<born::Batch>) -> bool {
        let Some(batch) = batch else { return false };
        let list = canonical::to_bytes(&batch.list).unwrap_or_default();
        let request = Request::Born(BornBody {
            exec: self.root.permit.exec(),
            list: String::from_utf8(list).unwrap_or_default(),
            omitted: batch.omitted,
        });
        let answer = self.ask(&request);
        // Denied: the execution is over for the node, which recorded its end.
        let taken = matches!(
            answer,
            Ok(Response::Recorded { .. } | Response::Denied { .. })
        );
        if let Some(births) = self.births.as_mut().filter(|_| !taken) {
            births.put_back(batch);
        }
        taken
    }

    fn record_connections(&mut self) {
        while let Some(batch) = self.network.batch() {
            let list = canonical::to_bytes(&batch.list).unwrap_or_default();
            let request = Request::Connections(ConnectionsBody {
                exec: self.root.permit.exec(),
                list: String::from_utf8(list).unwrap_or_default(),
                omitted: batch.omitted,
                usage: batch.usage,
            });
            match self.ask(&request) {
                // Denied: the execution is over for the node, which recorded its end.
                Ok(Response::Recorded { .. } | Response::Denied { .. }) => {}
                Ok(_) | Err(_) => return self.network.put_back(batch),
            }
        }
    }

    fn say(&mut self, text: &str) {
        if self.said.len() < SAID_MAX {
            self.said.push(visible(text, SAID_CHARS_MAX));
        }
    }

    /// What was refused since the last call, in words for a person.
    pub(crate) fn take_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// Asks, at the node behind the next connection where this one turns out to be dead.
    fn ask(&mut self, request: &Request) -> Result<Response, RunError> {
        self.on_link(|_, (link, _)| Ok(link.ask(request)?))
    }

    /// Has a call decided and its start recorded. What was attested counts at the node that gave the nonce, so to the
    /// node behind the next connection it is attested anew.
    fn begin(&mut self, call: &Asking<'_>, parent: ExecutionId) -> Result<Response, RunError> {
        let environment = self.root.environment;
        self.on_link(|gateway, (link, pep)| {
            let body = gateway.body(call, Some(parent), environment, (&mut *link, &mut *pep))?;
            Ok(link.ask(&Request::Begin(Box::new(body)))?)
        })
    }

    /// Does something with the connection, and once more with the next one if it turns out to be dead.
    fn on_link(
        &mut self,
        act: impl Fn(&Gateway, &mut (Connection, Pep)) -> Result<Response, RunError>,
    ) -> Result<Response, RunError> {
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

    fn lose_link(&mut self) {
        if let Some((_, pep)) = self.link.take() {
            self.pep = Some(pep);
        }
    }

    /// A connection of its own: orders to end what stands below come on it. What the node does not know any more has ended.
    fn link(&mut self) -> Result<&mut (Connection, Pep), RunError> {
        if self.link.is_none() {
            let mut link = (self.gateway.connect)()?;
            let mut due = Vec::new();
            for exec in self.inner.ids() {
                match link.ask(&Request::Attach { exec })? {
                    Response::Attached { ending } => due.extend(ending.map(|cause| (exec, cause))),
                    Response::Error(denial) => due.push((exec, denial.code)),
                    other => return Err(crate::run::unexpected(other)),
                }
            }
            let pep = match self.pep.take() {
                Some(pep) => pep,
                None => self.gateway.pep(&link)?,
            };
            self.link = Some((link, pep));
            self.due.extend(due);
        }
        self.link
            .as_mut()
            .ok_or(RunError::Link(placet_authority::node::LinkError::Closed))
    }

    /// Takes up again what runs below, after the connection was lost: what nobody carries is ended.
    fn relink(&mut self, now: Duration) {
        let due = now.saturating_sub(self.sought) >= SEEK_EVERY;
        if self.link.is_none() && due && !self.inner.is_empty() {
            self.sought = now;
            // Looked for again if it is not there.
            drop(self.link().map(drop));
        }
    }

    /// The bundle that is in force, as the node says. Another one may permit what the one before did not.
    pub(crate) fn in_force(&mut self, bundle: Digest) {
        if self
            .in_force
            .replace(bundle)
            .is_some_and(|before| before != bundle)
        {
            self.peers.lift();
            for known in self.known.values_mut() {
                if let Known::Denied(no) = known {
                    no.lift();
                }
            }
        }
    }

    /// One of the executions below must end: that of a peer by itself, where it can; else the tree.
    fn end(&mut self, exec: ExecutionId, cause: DenialCode) {
        if self.inner.has(exec) && !self.end_peer(exec, cause) {
            self.ending = self.ending.or(Some(cause));
        }
    }

    fn hear(&mut self, now: Duration) {
        self.relink(now);
        for (exec, cause) in std::mem::take(&mut self.due) {
            self.end(exec, cause);
        }
        let Some((link, pep)) = &mut self.link else {
            return;
        };
        let Ok(pushes) = link.pushed() else {
            return self.lose_link();
        };
        let asked = |push: &Pushed| matches!(push, Pushed::Beat { attest: true, .. });
        if pushes.iter().any(asked) {
            let environment = self.root.environment;
            if self.gateway.attest_again(environment, (link, pep)).is_err() {
                self.lose_link();
            }
        }
        for push in pushes {
            if let Pushed::Ending { exec, cause } = push {
                self.end(exec, cause);
            }
        }
    }
}
