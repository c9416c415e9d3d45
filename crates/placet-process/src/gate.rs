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

use placet_authority::node::wire::{ConnectionsBody, EndBody, Request, Response};
use placet_authority::node::{Connection, Pushed};
use placet_decision::DEPTH_MAX;
use placet_egress::Proxy;
use placet_enforce::{Pep, Permit};
use placet_evidence::{Environment, NetworkUsage, RunEnd};
use placet_sandbox::{ExecCall, ExecId, ExecReport, ExecVerdict, Gate, Refusal, RunningCell};
use placet_types::{
    AbsPath, DenialCode, Digest, ExecutionId, Fixed, PrincipalId, ProcessParams, canonical,
};

use crate::call::Call;
use crate::network::NetworkWatch;
use crate::outcome::RunError;
use crate::program::Program;
use crate::run::{Gateway, submit_body};

/// How often notes are recorded.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How often connections are, unless there are many.
const CONNECTIONS_EVERY: Duration = Duration::from_secs(5);
/// Kinds of notes that wait at a time; each stands for any number of events.
const NOTES_MAX: usize = 64;
/// Distinct programs that one tree may have decided. Each is a record, and an execution until the end.
const DECIDED_MAX: usize = 4096;
/// Execs whose execution is remembered, for what they start. Older ones count as the root's.
const EXECS_MAX: usize = 65_536;

/// The execution that the tree belongs to.
pub(crate) struct Root<'a> {
    pub(crate) permit: &'a Permit,
    pub(crate) params: &'a ProcessParams,
    pub(crate) environment: &'a Fixed<Environment>,
    pub(crate) depth: u32,
}

/// Carries the reports of one cell's gate to the node, and its answers back.
pub(crate) struct Keeper<'a> {
    gateway: &'a Gateway,
    root: Root<'a>,
    link: Option<(Connection, Pep)>,
    known: BTreeMap<Key, Option<ExecutionId>>,
    /// Which execution each exec of the tree belongs to.
    execs: BTreeMap<ExecId, ExecutionId>,
    /// Executions below the root that were started, with their parents and depths.
    below: BTreeMap<ExecutionId, (ExecutionId, u32)>,
    notes: BTreeMap<(DenialCode, &'static str), Note>,
    network: NetworkWatch,
    noted: Duration,
    listed: Duration,
    ending: Option<DenialCode>,
}

/// What makes a program of a tree distinct.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    digest: Digest,
    path: AbsPath,
    argv: Vec<String>,
    cwd: AbsPath,
}

/// Refusals of one kind since the last record.
struct Note {
    count: u64,
    last: String,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(gateway: &'a Gateway, root: Root<'a>, proxy: Option<Proxy>) -> Self {
        let rules = root.permit.scope().network.clone();
        Self {
            gateway,
            root,
            link: None,
            known: BTreeMap::new(),
            execs: BTreeMap::new(),
            below: BTreeMap::new(),
            notes: BTreeMap::new(),
            network: NetworkWatch::new(proxy, rules),
            noted: Duration::ZERO,
            listed: Duration::ZERO,
            ending: None,
        }
    }

    /// The connection that orders to end come on, if there is one.
    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(|(link, _)| link.as_fd())
    }

    /// Readable when the proxy of the cell has something to say, if there is one.
    pub(crate) fn network(&self) -> Option<BorrowedFd<'_>> {
        self.network.as_fd()
    }

    /// The tree is about to be ended: nothing goes over its connections any more.
    pub(crate) fn cut(&self) {
        self.network.cut();
    }

    /// Takes what gate, broker and proxy report and what the node says; gives the first order to end.
    pub(crate) fn attend(&mut self, cell: &RunningCell, now: Duration) -> Option<DenialCode> {
        self.take_reports(cell);
        self.hear();
        if now.saturating_sub(self.noted) >= NOTE_EVERY && !self.notes.is_empty() {
            self.noted = now;
            self.record_notes();
        }
        let waited = now.saturating_sub(self.listed);
        let due = waited >= CONNECTIONS_EVERY && self.network.is_due();
        if due || (waited >= NOTE_EVERY && self.network.is_full()) {
            self.listed = now;
            self.record_connections();
        }
        self.ending
    }

    fn take_reports(&mut self, cell: &RunningCell) {
        if let Some(gate) = cell.gate() {
            for report in gate.reports() {
                self.take(gate, report);
            }
        }
        let refused = self.network.take(cell, self.gateway.clock.wall());
        if refused > 0 {
            // To whom stands in the list of connections, which is private.
            let kind = (DenialCode::ScopeExceeded, "connections were refused");
            self.count(kind, refused, String::new());
        }
    }

    /// The tree is gone, for this cause if it was ended: takes the last reports, ends what stands below
    /// the execution, and gives what went over the network, where there was one.
    pub(crate) fn finish(
        &mut self,
        cell: &RunningCell,
        cause: Option<DenialCode>,
    ) -> Option<NetworkUsage> {
        self.network.close();
        self.take_reports(cell);
        self.record_notes();
        self.record_connections();
        self.end_below(cause);
        self.network.total(cell)
    }

    fn end_below(&mut self, cause: Option<DenialCode>) {
        let below: Vec<ExecutionId> = self.below.keys().copied().collect();
        // A program inside may have ended long before: the gate sees beginnings.
        let outcome = cause.map_or(RunEnd::Unseen, |_| RunEnd::Terminated);
        for exec in below {
            let end = EndBody {
                cause,
                exec,
                exit: None,
                outcome,
                usage: None,
            };
            // The node ends them itself when this does not get through.
            if self.ask(&Request::End(end)).is_err() {
                return;
            }
        }
    }

    fn take(&mut self, gate: &Gate, report: ExecReport) {
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
                // The root's own program, of which nobody was asked.
                if call.by.is_none() && !self.execs.contains_key(&call.id) {
                    self.remember(call.id, Some(self.root.permit.exec()));
                }
            }
            // A denial is a record already.
            ExecReport::Refused {
                why: Refusal::Denied,
                ..
            } => {}
            ExecReport::Refused { call, why } => self.note(words(why), &call),
        }
    }

    fn note(&mut self, kind: &'static str, call: &ExecCall) {
        let path = call.image.as_ref().map(|image| image.path.as_path());
        let path = path.map_or_else(String::new, |path| path.to_string_lossy().into_owned());
        self.count((DenialCode::RuntimeIntegrity, kind), 1, path);
    }

    fn count(&mut self, kind: (DenialCode, &'static str), times: u64, path: String) {
        if self.notes.len() >= NOTES_MAX && !self.notes.contains_key(&kind) {
            return;
        }
        let note = self.notes.entry(kind).or_insert_with(|| Note {
            count: 0,
            last: String::new(),
        });
        note.count = note.count.saturating_add(times);
        note.last = path;
    }

    fn record_notes(&mut self) {
        for ((code, kind), note) in std::mem::take(&mut self.notes) {
            let signal = Request::Signal {
                code,
                count: note.count,
                detail: if note.last.is_empty() {
                    kind.to_owned()
                } else {
                    format!("{kind}: {}", note.last)
                },
                ends: false,
                exec: self.root.permit.exec(),
            };
            // What could not be recorded was refused all the same.
            drop(self.ask(&signal));
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
            // What could not be recorded happened within the scope all the same.
            drop(self.ask(&request));
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
        if let Some(known) = self.known.get(&key).copied() {
            self.remember(call.id, known);
            return known.is_some();
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
        self.remember(call.id, decided);
        self.known.insert(key, decided);
        decided.is_some()
    }

    fn remember(&mut self, id: ExecId, execution: Option<ExecutionId>) {
        self.execs
            .extend(execution.map(|execution| (id, execution)));
        if self.execs.len() > EXECS_MAX {
            self.execs.pop_first();
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
        })
    }

    /// The execution that started it; the nearest one above that may still have children.
    fn parent_of(&self, call: &ExecCall) -> ExecutionId {
        let root = self.root.permit.exec();
        let by = call.by.and_then(|by| self.execs.get(&by)).copied();
        let mut parent = by.unwrap_or(root);
        while let Some((above, depth)) = self.below.get(&parent) {
            if *depth < DEPTH_MAX {
                break;
            }
            parent = *above;
        }
        parent
    }

    fn depth_of(&self, exec: ExecutionId) -> u32 {
        self.below
            .get(&exec)
            .map_or(self.root.depth, |(_, depth)| *depth)
    }

    /// Has it decided; gives the execution that it may run as.
    fn submit(
        &mut self,
        key: &Key,
        exec: &ExecCall,
        parent: ExecutionId,
    ) -> Result<Option<ExecutionId>, RunError> {
        let Some(image) = &exec.image else {
            return Ok(None);
        };
        let call = Call::inside(
            self.root.params,
            (&key.argv, &key.cwd),
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
            Response::Denied { .. } => return Ok(None),
            other => return Err(crate::run::unexpected(other)),
        };
        let admitted = gateway.admit(pep, &call, environment, &permitted);
        let permit = admitted.map_err(RunError::Refused)?;
        if !self.fits(&permit) {
            self.lapse(permit.exec())?;
            return Ok(None);
        }
        self.start(&permit, parent)
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
            // It shares the cell, and the cell has its secrets.
            takes_secrets: false,
        };
        match self.ask(&start)? {
            Response::Recorded { .. } => {
                let depth = self.depth_of(parent).saturating_add(1);
                self.below.insert(exec, (parent, depth));
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
            for exec in self.below.keys() {
                let attached = link.ask(&Request::Attach { exec: *exec })?;
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
                && self.below.contains_key(&exec)
            {
                self.ending = self.ending.or(Some(cause));
            }
        }
    }
}

fn words(why: Refusal) -> &'static str {
    match why {
        Refusal::Unreadable => "a program was not started, because its file cannot be read",
        Refusal::Changed => "a program was not started, because its file changed while it was read",
        Refusal::TooLarge => "a program was not started, because its file is larger than is read",
        Refusal::Nameless => {
            "a program was not started, because its file has no name in any directory"
        }
        Refusal::Interpreter => "a program was not started, because it is a program interpreter",
        Refusal::Unlisted => "a program was not started, because it is not listed",
        Refusal::Denied => "a program was not started, because policy denies it",
        Refusal::Unanswered => "a program was not started, because no answer came in time",
        _ => "a program was not started, for another reason",
    }
}
