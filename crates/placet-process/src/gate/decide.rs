//! Each program that a tree starts, decided as an intent of its own.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

use std::ffi::OsString;

use placet_authority::node::LinkError;
use placet_authority::node::wire::{EndBody, Request, Response};
use placet_decision::DEPTH_MAX;
use placet_enforce::Permit;
use placet_evidence::RunEnd;
use placet_sandbox::{ExecCall, ExecId};
use placet_types::{AbsPath, DenialCode, Digest, ExecutionId, PrincipalId};

use super::Keeper;
use crate::call::{Call, Started};
use crate::outcome::RunError;
use crate::program::Program;
use crate::refusals::{Answered, refused};

/// Distinct programs that one tree may have decided. Each is a record, and an execution until the end.
const DECIDED_MAX: usize = 4096;

/// What makes a program of a tree distinct.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    digest: Digest,
    path: AbsPath,
    argv: Vec<String>,
    cwd: AbsPath,
    script: Option<AbsPath>,
}

impl Keeper<'_> {
    pub(super) fn decide(&mut self, call: &ExecCall) -> bool {
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

    /// Has it decided and its start recorded, by one write of the log; gives the execution that it may run as. It stands still
    /// until its artifact is verified too: what is not run after all is recorded as failed.
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
        let body = gateway.body(
            &call.asking(),
            Some(parent),
            environment,
            (&mut *link, &mut *pep),
        )?;
        let permitted = match link.ask(&Request::Begin(Box::new(body)))? {
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
        let exec = permitted.exec;
        if permitted.started.is_none() {
            return Err(RunError::Link(LinkError::Unexpected));
        }
        let permit = match gateway.admit(pep, &call.asking(), environment, &permitted) {
            Ok(permit) => permit,
            Err(refusal) => {
                self.give_up(exec, refusal.code)?;
                return Err(RunError::Refused(refusal));
            }
        };
        if !self.fits(&permit) {
            let code = DenialCode::ScopeExceeded;
            self.give_up(exec, code)?;
            let why = "it is permitted in a narrower scope only, which takes a cell of its own: \
                       start it with `placet run`";
            return Ok(refused(&key.argv, code.as_str(), why, permitted.index));
        }
        let depth = self.depth_of(parent).saturating_add(1);
        self.inner.begin(exec, parent, depth);
        Ok(Answered::Runs(exec))
    }

    pub(super) fn actor(&self) -> PrincipalId {
        self.root.permit.claims().actor().clone()
    }

    /// Whether the cell confines no less than this permit does.
    fn fits(&self, permit: &Permit) -> bool {
        let root = self.root.permit;
        root.scope().excess_over(permit.scope()).is_none()
            && root.claims().exp <= permit.claims().exp
    }

    /// Records that it was not run.
    pub(super) fn give_up(&mut self, exec: ExecutionId, cause: DenialCode) -> Result<(), RunError> {
        let end = EndBody {
            cause: Some(cause),
            exec,
            exit: None,
            outcome: RunEnd::Failed,
            usage: None,
        };
        self.ask(&Request::End(end)).map(drop)
    }
}
