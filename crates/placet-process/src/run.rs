//! A governed run, step by step: intent, decision, permit, cell, start, watch, end.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer but the awaited ones is out of turn, whatever kinds there will be"
)]

mod ahead;
mod attesting;
mod permitted;
mod refused;
mod trust;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use placet_authority::asked::AskedBefore;
use placet_authority::clock::Clock;
use placet_authority::dir::DomainDir;
use placet_authority::node::wire::{EndBody, Request, Response};
use placet_authority::node::{Connection, LinkError, StartError};
use placet_egress::Proxy;
use placet_enforce::{Pep, Permit, Watch};
use placet_evidence::{Environment, RunEnd};
use placet_sandbox::{
    Cell, Gate, ReleasedCell, Resolved, RunningCell, SandboxError, Tier, WaitingCell,
};
use placet_tlog::Policy as LogPolicy;
use placet_types::{DenialCode, ExecutionId, Fixed, Writes};

use crate::call::{Call, Command};
use crate::cell::{self, Setting};
use crate::changes::Copies;
use crate::conduct;
use crate::credentials::{self, Unreadable};
use crate::door::{self, Door};
use crate::drift::{Drift, Pinned};
use crate::elsewhere::Notice;
use crate::ends::{end_body, ended, recorded_exit};
use crate::gate::{Keeper, Root};
use crate::kept::Kept;
use crate::outcome::{Outcome, RunError};
use crate::signals::Signals;
use crate::supervise::{Supervised, Supervisor};
use crate::terminal::{Front, ToFront};

use ahead::Guess;
use permitted::{Inquiry, Start, may_begin, start};
pub use trust::pins;

/// How long the node may be gone before the record of an end is given up.
const REPORT_PATIENCE: Duration = Duration::from_secs(15);

/// The process gateway of one domain.
pub struct Gateway {
    /// The domain directory.
    pub dir: DomainDir,
    /// The domain's public log policy: what is trusted.
    pub policy: LogPolicy,
    /// Finds the node, or starts one.
    pub connect: Box<dyn Fn() -> Result<Connection, StartError>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// This program, for the door.
    pub program: PathBuf,
    /// Whether what the command opens, starts and connects to is noted, for [`Notice::Observed`].
    pub observe: bool,
    /// Whether names that it looks up are heard, and refused, where its scope has none: who waits for it is told whom it wants to reach.
    pub hear: bool,
    /// What is kept for the next command: [`Kept::nothing`] in a process that runs one.
    pub kept: Kept,
    /// Tells whoever started the command what they would otherwise not see.
    pub tell: Box<dyn Fn(&Notice<'_>)>,
}

/// A permitted call on its way to a cell.
struct Admitted {
    permit: Permit,
    depth: u32,
    environment: Fixed<Environment>,
    /// Whether its start is recorded already.
    begun: bool,
}

/// What stands before anything runs: the cell, its proxy, the pinned files as they are, and copies.
type Prepared = (WaitingCell, Option<Proxy>, Pinned, Option<Copies>);

/// What is done to a running command by hand comes over these.
struct Hands<'a> {
    signals: &'a mut Signals,
    front: Option<&'a mut Front>,
}

impl Gateway {
    /// Runs a command, governed, with this process's standard streams. Those of them that are a
    /// front's terminal are a terminal of the cell's own inside.
    ///
    /// # Errors
    ///
    /// [`RunError`]; whatever had begun is ended, and its end recorded where that is possible.
    pub fn run(
        &self,
        command: &Command,
        mut front: Option<&mut Front>,
    ) -> Result<Outcome, RunError> {
        crate::attest::try_beside();
        let mut link = self.link()?;
        let offered: BTreeSet<String> = link.welcome().env.iter().cloned().collect();
        let call = Call::new(command, &offered, Some(&self.dir.digests()));
        let call = match refused::or_refused(&mut link, command, call)? {
            Ok(call) => call,
            Err(outcome) => return Ok(outcome),
        };
        // What waits for approvals is the same when it is asked again, whoever asked before.
        let asked = self.dir.asked();
        let key = AskedBefore::key(&call.intent, &call.params_bytes);
        let call = match key.and_then(|key| asked.salt(&key)) {
            Some(salt) => call.hidden_by(salt),
            None => call,
        };
        // What the machine can enforce may still be tried meanwhile.
        let mut pep = self.pep(&link)?;
        let environment = self.environment(&link)?;
        let asking = call.asking();
        let body = self.body(&asking, command.door, &environment, (&mut link, &mut pep))?;
        let mut inquiry = Inquiry {
            body,
            begins: self.kept.waiting() > 0,
            waits: command.waits,
            remembered: key,
        };
        let like = ahead::like(&call, front.as_deref());
        let mut ahead = Guess::for_command(like);
        let admitted = match self.permitted(
            &mut link,
            (&call, &mut inquiry),
            (&mut pep, &environment),
            (&mut front, &mut ahead),
        )? {
            Ok(admitted) => admitted,
            Err(outcome) => return Ok(outcome),
        };
        self.carry_out((link, &mut pep), &call, &admitted, (front, ahead))
    }

    /// The connection that was kept, or another.
    fn link(&self) -> Result<Connection, StartError> {
        let kept = self.kept.link(self.clock.monotonic());
        kept.map_or_else(|| (self.connect)(), Ok)
    }

    /// Makes ready what a command like the one before will probably be permitted, while that is decided.
    fn make_ready(
        &self,
        ahead: &mut Guess,
        call: &Call,
        (environment, front): (&Environment, Option<&Front>),
    ) {
        let Some(scope) = self.kept.scope_of_last(ahead.like()) else {
            return;
        };
        if scope.writes != Writes::Direct {
            return;
        }
        // Where the tier is too low, the permit is refused and says why.
        let Ok(tier) = cell::tier(&scope, environment) else {
            return;
        };
        let setting = self.setting(call, tier, (None, front));
        let spec = cell::spec(&scope, setting);
        ahead.make(scope, spec, self.kept.spares());
    }

    /// What a cell of this call needs beside its scope.
    fn setting<'a>(
        &self,
        call: &'a Call,
        tier: Tier,
        (copies, front): (Option<&Copies>, Option<&Front>),
    ) -> Setting<'a> {
        Setting {
            tier,
            params: &call.params,
            program: &call.program,
            copied: copies.map(Copies::copied),
            observed: self.observe,
            heard: self.hear,
            hidden: vec![self.dir.root().to_owned()],
            digests: self.dir.digests(),
            resolved: Resolved::default(),
            client: cell::client(&self.program),
            terminal: front.and_then(Front::streams),
        }
    }

    /// Says what would be decided about a command.
    ///
    /// # Errors
    ///
    /// [`RunError`]
    pub fn preview(
        &self,
        command: &Command,
    ) -> Result<(Call, placet_authority::preview::Preview), RunError> {
        let mut link = (self.connect)()?;
        let offered: BTreeSet<String> = link.welcome().env.iter().cloned().collect();
        let call = Call::new(command, &offered, Some(&self.dir.digests()))?;
        let environment = self.environment(&link)?;
        let mut pep = self.pep(&link)?;
        let body = self.body(
            &call.asking(),
            command.door,
            &environment,
            (&mut link, &mut pep),
        )?;
        match link.ask(&Request::Preview(Box::new(body)))? {
            Response::Previewed(preview) => Ok((call, *preview)),
            other => Err(unexpected(other)),
        }
    }

    fn carry_out(
        &self,
        (mut link, pep): (Connection, &mut Pep),
        call: &Call,
        admitted: &Admitted,
        (mut front, ahead): (Option<&mut Front>, Guess),
    ) -> Result<Outcome, RunError> {
        let permit = &admitted.permit;
        let exec = permit.exec();
        let mut signals = Signals::take_over().map_err(RunError::Signals)?;
        let mut how = Start::of(admitted, front.as_deref());
        let built = self
            .copies(&mut link, permit)
            .and_then(|copies| {
                let planned = || how.ask_beside(&mut link, permit);
                self.prepare(admitted, call, (copies, front.as_deref()), (ahead, planned))
            })
            .and_then(|mut prepared| {
                set_up_terminal(&mut prepared.0, front.as_deref_mut())?;
                Ok(prepared)
            });
        let (mut waiting, proxy, pinned, copies) = match built {
            Ok(prepared) => prepared,
            Err(error) => {
                // Authorized and never started: it lapses now rather than when its window ends.
                let how = if how.is_recorded(&mut link) {
                    RunEnd::Failed
                } else {
                    RunEnd::Lapsed
                };
                let end = end_body(exec, how, Some(DenialCode::Unenforceable), None);
                self.report(Some(link), end)?;
                return Err(error);
            }
        };
        let wanted = &permit.scope().credentials;
        // From here until they are in the cell, nobody is to read this process's memory, or to have a copy of it.
        let unreadable = (!wanted.is_empty()).then(|| (self.kept.hold_off(), Unreadable::begin()));
        let secrets = match start((&mut link, how), permit, &pinned)? {
            Ok(secrets) => secrets,
            Err(outcome) => return Ok(outcome),
        };
        let claims = permit.claims();
        let writes = permit.scope().writes;
        if !claims.rerouted.is_empty() || writes != Writes::Direct {
            (self.tell)(&Notice::Elsewhere {
                exec,
                rerouted: &claims.rerouted,
                writes,
            });
        }
        let put = credentials::put(&mut waiting, wanted, secrets);
        let released = put.and_then(|()| release(waiting, permit));
        // What watches the command is set up while it comes to be.
        let began = released.and_then(|released| {
            let door = self.open_door(&released, admitted);
            let environment = (*admitted.environment).clone();
            let domain = link.welcome().domain.clone();
            let drift = Drift::watch(&call.program, pinned, environment, domain);
            Ok((released.finish()?, door, drift))
        });
        drop(unreadable);
        let (mut cell, door, drift) = match began {
            Ok(began) => began,
            Err(error) => {
                self.report(Some(link), end_body(exec, RunEnd::Failed, None, None))?;
                return Err(RunError::Exec(error));
            }
        };
        if let Some(front) = front.as_deref_mut() {
            front.tell(ToFront::Started(exec));
        }
        let hands = Hands {
            signals: &mut signals,
            front,
        };
        self.supervise(
            (link, pep),
            call,
            admitted,
            (hands, proxy),
            (&mut cell, door, drift),
            copies,
        )
    }

    /// Serves whoever asks for more from inside, where the cell has a door.
    fn open_door(&self, cell: &ReleasedCell, admitted: &Admitted) -> Option<Door> {
        let permit = &admitted.permit;
        let listener = cell.door()?.try_clone().ok()?;
        // The actor: in a delegation, `sub` is the one it is done for.
        let actor = permit.claims().actor();
        let kept = credentials::variables(&permit.scope().credentials);
        let way = door::Way::of(admitted.environment.tier);
        let own = (self.program.as_path(), self.dir.root());
        door::serve(listener, way, permit.exec(), actor, kept, own).ok()
    }

    /// The cell, and the files that are pinned as they are before anything runs in it. Copies that it
    /// does not come to use go when they are dropped.
    fn prepare(
        &self,
        admitted: &Admitted,
        call: &Call,
        (copies, front): (Option<Copies>, Option<&Front>),
        beside: (Guess, impl FnOnce()),
    ) -> Result<Prepared, RunError> {
        let scope = admitted.permit.scope();
        let pinned = Pinned::measure(&scope.pinned)?;
        let (waiting, proxy) = self.build(admitted, call, (copies.as_ref(), front), beside)?;
        match conduct::uncounted(&scope.trips, waiting.denials().is_some()) {
            Some((trip, why)) => Err(RunError::Uncounted(trip, why)),
            None => Ok((waiting, proxy, pinned, copies)),
        }
    }

    /// The cell, and what serves it where its scope names hosts.
    fn build(
        &self,
        admitted: &Admitted,
        call: &Call,
        (copies, front): (Option<&Copies>, Option<&Front>),
        (mut ahead, planned): (Guess, impl FnOnce()),
    ) -> Result<(WaitingCell, Option<Proxy>), SandboxError> {
        let permit = &admitted.permit;
        let scope = permit.scope();
        let written = ahead.spec_for(scope).filter(|_| copies.is_none());
        let spec = match written {
            Some(spec) => spec,
            None => {
                let tier = cell::tier(scope, &admitted.environment)?;
                cell::spec(scope, self.setting(call, tier, (copies, front)))
            }
        };
        let resolved = spec.egress.resolved.clone().unwrap_or_default();
        if may_begin(permit) {
            self.kept.note(&spec, ahead.like(), scope);
        }
        let waiting = match ahead.confirm(&spec) {
            Some(waiting) => waiting,
            None => {
                let prepared = Cell::prepare(spec)?;
                planned();
                prepared.spawn_from(self.kept.spares())?
            }
        };
        let proxy =
            cell::proxy(&waiting, permit, resolved).map_err(|source| SandboxError::Supervisor {
                what: "serve the network of a cell",
                source,
            })?;
        Ok((waiting, proxy))
    }

    fn supervise(
        &self,
        (link, pep): (Connection, &mut Pep),
        call: &Call,
        admitted: &Admitted,
        (hands, proxy): (Hands<'_>, Option<Proxy>),
        (cell, mut door, drift): (&mut RunningCell, Option<Door>, Drift),
        copies: Option<Copies>,
    ) -> Result<Outcome, RunError> {
        let permit = &admitted.permit;
        let exec = permit.exec();
        let began = self.clock.monotonic();
        let supervisor = Supervisor {
            exec,
            clock: &*self.clock,
            watch: Watch::begin(permit.claims(), began, self.clock.wall()),
            lease: Duration::from_millis(permit.claims().lease.interval_ms),
            link: Some(link),
            relink: &|| self.relink(exec),
            attest: &mut |link| self.attest_again(&admitted.environment, (link, &mut *pep)),
            copies: copies.as_ref(),
            signals: hands.signals,
            front: hands.front,
            front_stopped: false,
            announce: call.announce,
            keeper: Keeper::new(
                self,
                Root {
                    permit,
                    params: &call.params,
                    environment: &admitted.environment,
                    depth: admitted.depth,
                    profile: call.intent.asked.profile.as_ref(),
                },
                proxy,
                drift,
            ),
            why: None,
            unsaid: 0,
            changes_taken: began,
        };
        let Supervised {
            exit,
            cause,
            why,
            network,
            contacts,
            unsaid,
            link,
        } = supervisor.run(cell)?;
        if let Some(door) = &mut door {
            door.close();
        }
        let observed = cell.gate().and_then(Gate::observed);
        if let Some((observed, contacts)) = &observed.zip(contacts) {
            (self.tell)(&Notice::Observed {
                exec,
                observed,
                contacts,
            });
        }
        let wall = self.clock.monotonic().saturating_sub(began);
        // Before the children are waited for: this record is what ends their authority.
        let mut end = ended(exec, &exit, cause, wall);
        if let Some(usage) = &mut end.usage {
            usage.network = network;
            usage.changes = self.list_changes(exec, copies);
        }
        self.report(link, end)?;
        drop(door);
        if unsaid > 0 {
            (self.tell)(&Notice::Refused {
                exec,
                count: unsaid,
            });
        }
        Ok(match cause {
            Some(cause) => Outcome::Terminated { exec, cause, why },
            None => Outcome::Ended {
                exec,
                exit: recorded_exit(exit.status),
            },
        })
    }

    fn relink(&self, exec: ExecutionId) -> Option<(Connection, Option<DenialCode>)> {
        let mut link = (self.connect)().ok()?;
        match link.ask(&Request::Attach { exec }).ok()? {
            Response::Attached { ending } => Some((link, ending)),
            Response::Error(denial) => Some((link, Some(denial.code))),
            _ => None,
        }
    }

    /// Records the end; the node may have to be found again for it.
    fn report(&self, link: Option<Connection>, end: EndBody) -> Result<(), RunError> {
        let request = Request::End(end);
        let began = self.clock.monotonic();
        let mut link = link;
        let mut why = String::from("no node was reached");
        loop {
            if let Some(open) = &mut link {
                match open.ask(&request) {
                    // Denied: the node recorded the end already, when nobody carried it.
                    Ok(Response::Recorded { .. } | Response::Denied { .. }) => {
                        link.take()
                            .into_iter()
                            .for_each(|link| self.kept.keep_link(link, self.clock.monotonic()));
                        return Ok(());
                    }
                    Ok(Response::Error(denial)) => why = denial.to_string(),
                    Ok(_) => why = LinkError::Unexpected.to_string(),
                    Err(error) => why = error.to_string(),
                }
            }
            if self.clock.monotonic().saturating_sub(began) > REPORT_PATIENCE {
                return Err(RunError::EndNotRecorded(why));
            }
            std::thread::sleep(Duration::from_millis(50));
            link = (self.connect)().ok();
        }
    }
}

/// Gives the front the cell's terminal, and begins as it says.
fn set_up_terminal(waiting: &mut WaitingCell, front: Option<&mut Front>) -> Result<(), RunError> {
    let (Some(front), Some(terminal)) = (front, waiting.take_terminal()) else {
        return Ok(());
    };
    if front.hand_over(terminal).map_err(RunError::Terminal)? {
        waiting.to_foreground()?;
    }
    Ok(())
}

fn release(waiting: WaitingCell, permit: &Permit) -> Result<ReleasedCell, SandboxError> {
    // The start is durable: the lease begins now, whatever the set-up took.
    waiting.renew(Duration::from_millis(permit.claims().lease.interval_ms))?;
    waiting.let_go()
}

pub(crate) fn unexpected(response: Response) -> RunError {
    match response {
        Response::Error(denial) => RunError::Unavailable(denial),
        _ => RunError::Link(LinkError::Unexpected),
    }
}
