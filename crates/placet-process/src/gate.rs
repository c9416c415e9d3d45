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
mod known;
mod link;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use placet_authority::node::Pushed;
use placet_authority::node::wire::{BornBody, ConnectionsBody, Request, Response, SignalBody};
use placet_egress::Proxy;
use placet_enforce::{Pep, Permit};
use placet_evidence::{Environment, NetworkUsage, RunEnd, SignalKind};
use placet_sandbox::{
    ExecCall, ExecEnd, ExecReport, ExecVerdict, Gate, Refusal, RunningCell, Status,
};
use placet_types::{DenialCode, Digest, ExecutionId, Fixed, ProcessParams, ProfileName, canonical};

use crate::born::{self, Births};
use crate::conduct::{Conduct, Ending, bound_of};
use crate::contacts::Contacts;
use crate::drift::Drift;
use crate::inner::Inner;
use crate::network::NetworkWatch;
use crate::refusals::{SAID_CHARS_MAX, visible, words};
use crate::run::Gateway;

use self::connect::Peers;
use self::decide::Programs;
use self::link::Link;

/// How often connections are recorded, unless there are many.
const CONNECTIONS_EVERY: Duration = Duration::from_secs(5);
/// And when there are.
const CONNECTIONS_EVERY_FULL: Duration = Duration::from_secs(1);
/// How long what a tree starts may lie before it is taken note of, when nobody waits for an answer.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
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
    link: Option<Link>,
    /// Whose key what stands below is bound to, while there is no connection.
    pep: Option<Pep>,
    /// Programs that were decided about.
    programs: Programs,
    /// The bundle that was in force when the node was last heard.
    in_force: Option<Digest>,
    /// Peers that were decided about.
    peers: Peers,
    inner: Inner,
    /// Ends of processes that came before the tree was ended, when it was.
    settled: Option<Vec<ExecEnd>>,
    /// Whether the gate had something to report since this was last asked.
    heard: bool,
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
            programs: decide::none(),
            in_force: None,
            peers: connect::none(),
            inner: Inner::default(),
            settled: None,
            heard: false,
            network: NetworkWatch::new(proxy, permit.scope(), gateway.observe),
            said: Vec::new(),
            listed: Duration::ZERO,
            sought: Duration::ZERO,
            due: Vec::new(),
            ending: None,
        }
    }

    /// The connection that orders to end come on.
    pub(crate) fn link_fd(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(|link| link.node.as_fd())
    }

    /// Readable when something may have drifted.
    pub(crate) fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.conduct.as_fd()
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
    pub(crate) fn attend(
        &mut self,
        cell: &RunningCell,
        (now, noticed): (Duration, bool),
    ) -> Option<Ending> {
        let ends = cell.gate().map(Gate::ends).unwrap_or_default();
        self.take_reports(cell, now, Tree::Lives);
        // An exec is reported before its end: those were taken first, so none is unknown.
        self.take_ends(ends);
        self.hear(now);
        if let Some(cause) = self.ending {
            return Some(Ending { cause, why: None });
        }
        if let Some(ending) = self.conduct.look(cell, (now, noticed)) {
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

    /// How long to wait at most: a tree that starts programs is looked at soon again, so that its gate need not call for each.
    pub(crate) fn patience(&mut self, cell: &RunningCell) -> Duration {
        let is_busy = std::mem::take(&mut self.heard);
        if let Some(gate) = cell.gate() {
            gate.attend(is_busy);
        }
        if is_busy {
            LOOK_AGAIN_AFTER
        } else {
            Duration::MAX
        }
    }

    fn take_gate(&mut self, cell: &RunningCell, now: Duration, tree: Tree) {
        let Some(gate) = cell.gate() else { return };
        for report in gate.reports() {
            self.heard = true;
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
        for whom in self.network.take_untold() {
            let (code, why) = (
                DenialCode::ScopeExceeded,
                "it is not in the network of its profile",
            );
            self.say(&format!(
                "placet: refused, {code}: not connected to {whom}: {why}"
            ));
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
        let ends = self.inner.ends(cause, over);
        // The node ends them itself when this does not get through.
        self.end_all(&ends).unwrap_or(());
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

    /// The bundle that is in force, as the node says. Another one may permit what the one before did not.
    pub(crate) fn in_force(&mut self, bundle: Digest) {
        if self
            .in_force
            .replace(bundle)
            .is_some_and(|before| before != bundle)
        {
            self.peers.lift();
            self.programs.lift();
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
        let Some(Link { node, pep, .. }) = &mut self.link else {
            return;
        };
        let Ok(pushes) = node.pushed() else {
            return self.lose_link();
        };
        let asked = |push: &Pushed| matches!(push, Pushed::Beat { attest: true, .. });
        if pushes.iter().any(asked) {
            let environment = self.root.environment;
            if self.gateway.attest_again(environment, (node, pep)).is_err() {
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
