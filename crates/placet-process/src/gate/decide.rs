//! Each program that a tree starts, decided as an intent of its own.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use placet_authority::node::LinkError;
use placet_authority::node::wire::{EndBody, Request, Response};
use placet_decision::DEPTH_MAX;
use placet_enforce::Permit;
use placet_evidence::RunEnd;
use placet_sandbox::ExecCall;
use placet_types::{AbsPath, DenialCode, Digest, ExecutionId, PrincipalId, canonical};
use serde::Serialize;

use super::Keeper;
use super::holds::{Asks, Waiting};
use super::known::{Decided, Found, Table};
use crate::call::{Call, Started};
use crate::outcome::RunError;
use crate::program::Program as Image;
use crate::refusals::why_not;

/// Distinct programs that one tree may have decided. Each is a record, and an execution until the end.
const DECIDED_MAX: usize = 4096;
/// How long a no about a program holds at most.
const NO_HOLDS_MAX: Duration = Duration::from_secs(60);

/// What makes a program of a tree distinct.
#[derive(Serialize)]
struct Program {
    argv: Vec<String>,
    cwd: AbsPath,
    digest: Digest,
    path: AbsPath,
    script: Option<AbsPath>,
}

/// What was decided about programs, by the digests of [`Program`], since arguments can be long. A yes is the execution
/// that it runs as.
pub(super) type Programs = Table<Digest, ExecutionId, Call>;

/// Nothing was decided so far.
pub(super) fn none() -> Programs {
    Table::new(DECIDED_MAX, NO_HOLDS_MAX)
}

/// Why an intent cannot be written of a program.
#[derive(Clone, Copy)]
enum Unwritable {
    Image,
    Path,
    /// Which one, the program's own name being 0.
    Argument(usize),
    Long,
}

impl Unwritable {
    fn words(self) -> &'static str {
        match self {
            Self::Image => "a program was not started, because its file could not be read",
            Self::Path => {
                "a program was not started, because its path, directory or script cannot be written in a record"
            }
            Self::Argument(_) => {
                "a program was not started, because an argument is not UTF-8 and cannot be written in a record"
            }
            Self::Long => {
                "a program was not started, because it has more than 128 KiB of arguments, which are not read"
            }
        }
    }

    /// Which part of it.
    fn of(self, call: &ExecCall) -> String {
        let Self::Argument(at) = self else {
            return String::new();
        };
        let argument = call.argv.get(at).map(|word| word.to_string_lossy());
        format!(", argument {at}: {}", argument.unwrap_or_default())
    }
}

impl Keeper<'_> {
    /// Whether it may run.
    pub(super) fn decide(&mut self, call: &ExecCall, now: Duration) -> bool {
        let (key, program) = match self.program(call) {
            Ok(found) => found,
            Err(why) => {
                self.note((DenialCode::Malformed, why.words()), &why.of(call), call);
                return false;
            }
        };
        let wall = self.gateway.clock.wall();
        let asks = match self.programs.find(&key, (now, wall)) {
            Found::Yes(execution) => {
                self.inner.remember(call.id, *execution);
                return true;
            }
            Found::No(why) => {
                let text = format!("placet: denied, {why}");
                self.say(&text);
                return false;
            }
            Found::Full => {
                let words = "a program was not started, because its tree has started too many different ones";
                self.note((DenialCode::Overloaded, words), "", call);
                return false;
            }
            Found::Ask(asks) => asks,
        };
        match self.submit(&program, call, asks) {
            Ok(Decided::Yes(execution)) => {
                self.inner.remember(call.id, execution);
                self.programs.permit(key, execution);
                true
            }
            Ok(Decided::No(why, waits)) => {
                self.say(&format!("placet: denied, {why}"));
                self.programs.deny(key, why, waits, now);
                false
            }
            Err(_) => {
                // Not remembered: the next one asks again.
                let words = "a program was not started, because no decision was reached";
                self.note((DenialCode::EvidenceUnavailable, words), "", call);
                false
            }
        }
    }

    /// What is to be decided, unless a record cannot hold it.
    fn program(&self, call: &ExecCall) -> Result<(Digest, Program), Unwritable> {
        let image = call.image.as_ref().ok_or(Unwritable::Image)?;
        let path = |path: &Path| {
            let text = path.to_str().ok_or(Unwritable::Path)?;
            AbsPath::parse(text).map_err(|_| Unwritable::Path)
        };
        let text = |(at, argument): (usize, &OsString)| {
            let text = argument.to_str().ok_or(Unwritable::Argument(at))?;
            Ok(text.to_owned())
        };
        let argv = call.argv.iter().enumerate().map(text);
        let argv = argv.collect::<Result<_, _>>()?;
        if call.argv_truncated {
            return Err(Unwritable::Long);
        }
        // Read while the process stands still, as its own mount namespace has it.
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", call.pid));
        let program = Program {
            digest: Digest::new(image.digest.ok_or(Unwritable::Image)?.0),
            path: path(&image.path)?,
            argv,
            cwd: path(&cwd.map_err(|_| Unwritable::Path)?)?,
            script: match &call.script {
                None => None,
                Some(script) => Some(path(&script.path)?),
            },
        };
        let bytes = canonical::to_bytes(&program).map_err(|_| Unwritable::Path)?;
        Ok((Digest::of(&bytes), program))
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
        program: &Program,
        exec: &ExecCall,
        asks: Asks<Call>,
    ) -> Result<Decided<ExecutionId, Call>, RunError> {
        let call = match asks {
            Asks::Same(call) => call,
            Asks::Anew => Box::new(self.call(program, exec)?),
        };
        let parent = call.intent.parent.unwrap_or(self.root.permit.exec());
        let (gateway, environment) = (self.gateway, self.root.environment);
        let denied = |code: DenialCode, why: &str, index| {
            let what = program.argv.join(" ");
            Decided::No(why_not(&what, code.as_str(), why, index), None)
        };
        let begun = match self.begin(&call.asking(), parent)? {
            Response::Begun(begun) => begun,
            Response::Denied { denial, index, .. } => {
                return Ok(denied(denial.code, &denial.reason, index));
            }
            Response::Deferred(deferred) => {
                // A program stands still while it is decided about: nobody can be waited for.
                let why = format!(
                    "it needs approvals, and is not held that long: have `placet approve {}` said, and start it again",
                    deferred.exec
                );
                let code = DenialCode::ApprovalRequired.as_str();
                let why = why_not(&program.argv.join(" "), code, &why, deferred.index);
                let until = deferred.waiting.until;
                return Ok(Decided::No(why, Some(Waiting { call, until })));
            }
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
        if !self.fits(&permit) {
            let code = DenialCode::ScopeExceeded;
            self.give_up(exec, code)?;
            let why = "it is permitted in a narrower scope only, which takes a cell of its own: \
                       start it with `placet run`";
            return Ok(denied(code, why, begun.index));
        }
        let depth = self.depth_of(parent).saturating_add(1);
        self.inner.begin(exec, parent, depth);
        Ok(Decided::Yes(exec))
    }

    /// The program as an intent, below whatever starts it.
    fn call(&self, program: &Program, exec: &ExecCall) -> Result<Call, RunError> {
        let unread = || RunError::Link(LinkError::Unexpected);
        let image = exec.image.as_ref().ok_or_else(unread)?;
        let call = Call::inside(
            self.root.params,
            Started {
                argv: &program.argv,
                cwd: &program.cwd,
                script: program.script.as_ref(),
                profile: self.root.profile,
            },
            Image {
                path: program.path.clone(),
                identity: image.identity,
                digest: program.digest,
            },
            self.actor(),
            self.parent_of(exec),
        )?;
        Ok(call)
    }

    pub(super) fn actor(&self) -> PrincipalId {
        self.root.permit.claims().actor().clone()
    }

    /// Whether the cell confines no less than this permit does.
    fn fits(&self, permit: &Permit) -> bool {
        let root = self.root.permit;
        let scope = |permit: &Permit| permit.claims().detail().scope.clone();
        // Mostly it is the same one, which their digests tell.
        let covered =
            scope(root) == scope(permit) || root.scope().excess_over(permit.scope()).is_none();
        covered && root.claims().exp <= permit.claims().exp
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
