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
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use placet_authority::node::wire::{ConnectionsBody, EndBody, Request, Response, SignalBody};
use placet_authority::node::{Connection, Pushed};
use placet_decision::DEPTH_MAX;
use placet_egress::Proxy;
use placet_enforce::{Pep, Permit};
use placet_evidence::{Environment, NetworkUsage, RunEnd, SignalKind};
use placet_sandbox::{
    ExecCall, ExecEnd, ExecId, ExecReport, ExecVerdict, Gate, Refusal, RunningCell, Status,
};
use placet_types::{
    AbsPath, DenialCode, Digest, ExecutionId, Fixed, PrincipalId, ProcessParams, ProfileName,
    canonical,
};

use crate::call::{Call, Started};
use crate::conduct::{Conduct, Ending, bound_of};
use crate::drift::Drift;
use crate::inner::Inner;
use crate::network::NetworkWatch;
use crate::outcome::RunError;
use crate::program::Program;
use crate::refusals::{Answered, SAID_CHARS_MAX, refused, visible, words};
use crate::run::{Gateway, submit_body};

/// How often connections are recorded, unless there are many.
const CONNECTIONS_EVERY: Duration = Duration::from_secs(5);
/// And when there are.
const CONNECTIONS_EVERY_FULL: Duration = Duration::from_secs(1);
/// Distinct programs that one tree may have decided. Each is a record, and an execution until the end.
const DECIDED_MAX: usize = 4096;

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
    known: BTreeMap<Key, Answered>,
    inner: Inner,
    /// Ends of processes that came before the tree was ended, when it was.
    settled: Option<Vec<ExecEnd>>,
    conduct: Conduct,
    network: NetworkWatch,
    /// Refusals that nobody was told of yet.
    said: Vec<String>,
    listed: Duration,
    ending: Option<DenialCode>,
}

/// Whether anything waits for answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Lives,
    Gone,
}

/// What makes a program of a tree distinct.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    digest: Digest,
    path: AbsPath,
    argv: Vec<String>,
    cwd: AbsPath,
    script: Option<AbsPath>,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        gateway: &'a Gateway,
        root: Root<'a>,
        proxy: Option<Proxy>,
        drift: Drift,
    ) -> Self {
        let permit = root.permit;
        let rules = permit.scope().network.clone();
        Self {
            gateway,
            conduct: Conduct::new(permit.exec(), &permit.scope().trips, drift),
            root,
            link: None,
            known: BTreeMap::new(),
            inner: Inner::default(),
            settled: None,
            network: NetworkWatch::new(proxy, rules),
            said: Vec::new(),
            listed: Duration::ZERO,
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
        self.hear();
        if let Some(cause) = self.ending {
            return Some(Ending { cause, why: None });
        }
        if let Some(ending) = self.conduct.look(cell, now) {
            return Some(ending.clone());
        }
        let due = self.conduct.due(now);
        self.record(due);
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

    fn take_reports(&mut self, cell: &RunningCell, now: Duration, tree: Tree) {
        if let Some(gate) = cell.gate() {
            for report in gate.reports() {
                match report {
                    // Nobody waits for the answer any more, so there is nothing to decide.
                    ExecReport::Asked(_) if tree == Tree::Gone => {}
                    report => self.take(gate, report, now),
                }
            }
        }
        let refused = self.network.take(cell, self.gateway.clock.wall());
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
        self.record_connections();
        self.end_below(cause, &over);
        self.network.total(cell)
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
                let verdict = if self.decide(&call) {
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
            }
            ExecReport::Refused {
                why: Refusal::Denied,
                ..
            } => self.conduct.refused_on_record(),
            ExecReport::Refused { call, why } => self.note(words(why), &call),
        }
    }

    fn note(&mut self, words: &'static str, call: &ExecCall) {
        let path = call.image.as_ref().map(|image| image.path.as_path());
        let path = path.map_or_else(String::new, |path| path.to_string_lossy().into_owned());
        self.say(&format!(
            "placet: refused, {}: {words}: {path}",
            DenialCode::RuntimeIntegrity
        ));
        let kind = (DenialCode::RuntimeIntegrity, SignalKind::RefusedExec, words);
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

    fn decide(&mut self, call: &ExecCall) -> bool {
        let Some(key) = self.key(call) else {
            self.note(
                "a program was not started, because it cannot be written in a record",
                call,
            );
            return false;
        };
        if let Some(known) = self.known.get(&key).cloned() {
            return self.conclude(call, &known);
        }
        if self.known.len() >= DECIDED_MAX {
            let kind =
                "a program was not started, because its tree has started too many different ones";
            self.note(kind, call);
            return false;
        }
        let parent = self.parent_of(call);
        let Ok(decided) = self.submit(&key, call, parent) else {
            self.note(
                "a program was not started, because no decision was reached",
                call,
            );
            return false;
        };
        let started = self.conclude(call, &decided);
        self.known.insert(key, decided);
        started
    }

    fn conclude(&mut self, call: &ExecCall, answered: &Answered) -> bool {
        if let Answered::Refused(why) = answered {
            self.say(&format!("placet: denied, {why}"));
        }
        let execution = answered.execution();
        self.remember(call.id, execution);
        execution.is_some()
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

    fn remember(&mut self, id: ExecId, execution: Option<ExecutionId>) {
        if let Some(execution) = execution {
            self.inner.remember(id, execution);
        }
    }

    /// What is to be decided; `None` when a record cannot hold it.
    fn key(&self, call: &ExecCall) -> Option<Key> {
        let image = call.image.as_ref()?;
        if call.argv_truncated {
            return None;
        }
        let text = |argument: &OsString| argument.to_str().map(str::to_owned);
        // Read while the process stands still, as its own mount namespace has it.
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", call.pid)).ok()?;
        Some(Key {
            digest: Digest::new(image.digest?.0),
            path: AbsPath::parse(image.path.to_str()?).ok()?,
            argv: call.argv.iter().map(text).collect::<Option<_>>()?,
            cwd: AbsPath::parse(cwd.to_str()?).ok()?,
            script: match &call.script {
                None => None,
                Some(script) => Some(AbsPath::parse(script.path.to_str()?).ok()?),
            },
        })
    }

    /// The execution that started it; the nearest one above that may still have children.
    fn parent_of(&self, call: &ExecCall) -> ExecutionId {
        let root = self.root.permit.exec();
        let by = call.by.and_then(|by| self.inner.of(by));
        self.inner.above(by.unwrap_or(root), DEPTH_MAX)
    }

    fn depth_of(&self, exec: ExecutionId) -> u32 {
        self.inner.depth(exec).unwrap_or(self.root.depth)
    }

    /// Has it decided; gives the execution that it may run as.
    fn submit(
        &mut self,
        key: &Key,
        exec: &ExecCall,
        parent: ExecutionId,
    ) -> Result<Answered, RunError> {
        let Some(image) = &exec.image else {
            return Ok(Answered::Refused("its file could not be read".into()));
        };
        let call = Call::inside(
            self.root.params,
            Started {
                argv: &key.argv,
                cwd: &key.cwd,
                script: key.script.as_ref(),
                profile: self.root.profile,
            },
            Program {
                path: key.path.clone(),
                identity: image.identity,
                digest: key.digest,
            },
            self.actor(),
            parent,
        )?;
        let gateway = self.gateway;
        let environment = self.root.environment;
        let (link, pep) = self.link()?;
        let body = submit_body(&call, Some(parent), environment, pep);
        let permitted = match link.ask(&Request::Submit(Box::new(body)))? {
            Response::Permitted(permitted) => permitted,
            Response::Denied { denial, index, .. } => {
                let (code, reason) = (denial.code, &denial.reason);
                return Ok(refused(&key.argv, code.as_str(), reason, index));
            }
            Response::Deferred(deferred) => {
                // A program stands still while it is decided about: nobody can be waited for.
                let why = "it needs approvals, and is not waited for: start it with `placet run`";
                let code = DenialCode::ApprovalRequired;
                return Ok(refused(&key.argv, code.as_str(), why, deferred.index));
            }
            other => return Err(crate::run::unexpected(other)),
        };
        let admitted = gateway.admit(pep, &call, environment, &permitted);
        let permit = admitted.map_err(RunError::Refused)?;
        if !self.fits(&permit) {
            self.lapse(permit.exec())?;
            let why = "it is permitted in a narrower scope only, which takes a cell of its own: \
                       start it with `placet run`";
            let code = DenialCode::ScopeExceeded;
            return Ok(refused(&key.argv, code.as_str(), why, permitted.index));
        }
        let started = self.start(&permit, parent)?;
        let why = "its authority ended before it began";
        let code = DenialCode::AuthorizationDiscontinuity;
        Ok(started.map_or_else(
            || refused(&key.argv, code.as_str(), why, permitted.index),
            Answered::Runs,
        ))
    }

    fn actor(&self) -> PrincipalId {
        self.root.permit.claims().actor().clone()
    }

    /// Whether the cell confines no less than this permit does.
    fn fits(&self, permit: &Permit) -> bool {
        let root = self.root.permit;
        root.scope().excess_over(permit.scope()).is_none()
            && root.claims().exp <= permit.claims().exp
    }

    fn lapse(&mut self, exec: ExecutionId) -> Result<(), RunError> {
        let end = EndBody {
            cause: Some(DenialCode::ScopeExceeded),
            exec,
            exit: None,
            outcome: RunEnd::Lapsed,
            usage: None,
        };
        self.ask(&Request::End(end)).map(drop)
    }

    fn start(
        &mut self,
        permit: &Permit,
        parent: ExecutionId,
    ) -> Result<Option<ExecutionId>, RunError> {
        let exec = permit.exec();
        let gateway = permit.claims().aud.clone();
        let start = Request::Start {
            artifact: permit.artifact(),
            exec,
            gateway,
            // The cell's own watch is there already: it is no narrower than this permit asks for.
            pinned: None,
            // It shares the cell, and the cell has its secrets.
            takes_secrets: false,
        };
        match self.ask(&start)? {
            Response::Recorded { .. } => {
                let depth = self.depth_of(parent).saturating_add(1);
                self.inner.begin(exec, parent, depth);
                Ok(Some(exec))
            }
            _ => Ok(None),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Response, RunError> {
        let (link, _) = self.link()?;
        let asked = link.ask(request);
        if asked.is_err() {
            self.link = None;
        }
        Ok(asked?)
    }

    /// A connection of its own: orders to end what stands below come on it.
    fn link(&mut self) -> Result<&mut (Connection, Pep), RunError> {
        if self.link.is_none() {
            let mut link = (self.gateway.connect)()?;
            for exec in self.inner.ids() {
                let attached = link.ask(&Request::Attach { exec })?;
                if let Response::Attached {
                    ending: Some(cause),
                } = attached
                {
                    self.ending = self.ending.or(Some(cause));
                }
            }
            let pep = self.gateway.pep(&link)?;
            self.link = Some((link, pep));
        }
        self.link
            .as_mut()
            .ok_or(RunError::Link(placet_authority::node::LinkError::Closed))
    }

    fn hear(&mut self) {
        let Some((link, _)) = &mut self.link else {
            return;
        };
        let Ok(pushes) = link.pushed() else {
            self.link = None;
            return;
        };
        for push in pushes {
            if let Pushed::Ending { exec, cause } = push
                && self.inner.has(exec)
            {
                self.ending = self.ending.or(Some(cause));
            }
        }
    }
}
