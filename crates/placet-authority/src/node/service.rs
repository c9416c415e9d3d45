//! The node as a value: what other servers in its process translate their requests to.
//!
//! Everything that the socket of frames offers, for callers of any proven identity. Executions that
//! come this way have no connection that carries them; their gateways hold them by renewing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use placet_decision::Searched;
use placet_evidence::{Attestation, Caller, Environment};
use placet_state::Phase;
use placet_types::{Denial, DenialCode, Digest, ExecutionId, Fixed, GatewayName, Index, Millis};

use super::acts::Acted;
use super::attesting::Standing;
use super::checks::ChecksBody;
use super::leave::leaving;
use super::server::Node;
use super::wire::{ActBody, ExecutionBody, LifecycleBody, PrincipalBody, StatusBody, WaitingBody};
use crate::access::Identity;
use crate::authority::Authority;
use crate::clock::Clock;
use crate::gateways::Gateways;
use crate::questions::{Asked, Query};
use crate::submission::{Answer, Denied, EndReport, SignalReport, Submission, Unavailable};

/// A handle to a node. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    node: Arc<Node>,
}

/// A lease that was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// It lasts this long from when the node renewed it, in milliseconds.
    pub lease_ms: u64,
    /// End of the window, which renewing does not move.
    pub not_after: Millis,
    /// Number of records in the log.
    pub size: Index,
}

impl Service {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.node.authority
    }

    /// The node's clocks.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.node.clock.as_ref()
    }

    /// Entry of the genesis record.
    #[must_use]
    pub fn genesis(&self) -> &str {
        &self.node.genesis
    }

    /// Whether new intents can be decided.
    ///
    /// # Errors
    ///
    /// Why they cannot.
    pub fn ready(&self) -> Result<(), Denial> {
        self.writable()?;
        if self.node.leave.is_asked() {
            return Err(leaving());
        }
        Ok(())
    }

    fn writable(&self) -> Result<(), Denial> {
        let unavailable = |reason| Err(Denial::new(DenialCode::EvidenceUnavailable, reason));
        if self.node.damage.get().is_some() {
            return unavailable("the log is damaged");
        }
        if !self.node.authority.is_writing() {
            return unavailable("the log cannot be written");
        }
        Ok(())
    }

    /// As [`Authority::submit_then`]. What is permitted is held from then on, for one lease.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued; a node that leaves takes nothing new.
    pub fn submit_then(
        &self,
        submission: Submission,
        then: impl FnOnce(Result<Answer, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        if self.node.leave.is_asked() {
            return Err(Unavailable::Overloaded);
        }
        let node = Arc::clone(&self.node);
        self.node.authority.submit_then(submission, move |answer| {
            if let Ok(Answer::Permitted(permitted)) = &answer {
                node.registry.hold(permitted.exec, node.clock.monotonic());
                node.is_past_window(permitted.exec, permitted.grant.not_after);
            }
            then(answer);
        })
    }

    /// As [`Authority::ask_then`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued; a node that leaves takes nothing new.
    pub fn ask_then(
        &self,
        query: Query,
        then: impl FnOnce(Result<Asked, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        if self.node.leave.is_asked() {
            return Err(Unavailable::Overloaded);
        }
        self.node.authority.ask_then(query, then)
    }

    /// As [`Authority::search_then`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued; a node that leaves takes nothing new.
    pub fn search_then(
        &self,
        query: Query,
        then: impl FnOnce(Result<(Asked, Searched), Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        if self.node.leave.is_asked() {
            return Err(Unavailable::Overloaded);
        }
        self.node.authority.search_then(query, then)
    }

    /// As [`Authority::start_then`]; what starts is held from then on, for one lease.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued.
    pub fn start_then(
        &self,
        exec: ExecutionId,
        artifact: Digest,
        gateway: GatewayName,
        caller: Caller,
        then: impl FnOnce(Result<Result<Index, Denied>, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        let node = Arc::clone(&self.node);
        let held = move |answer: Result<Result<Index, Denied>, Unavailable>| {
            if let Ok(Ok(_)) = &answer {
                node.registry.hold(exec, node.clock.monotonic());
            }
            then(answer);
        };
        self.node
            .authority
            .start_then(exec, artifact, gateway, caller, held)
    }

    /// Renews the lease of an execution, authorized or running, while its authority lasts.
    ///
    /// # Errors
    ///
    /// Why it must end, or is over.
    pub fn renew(&self, exec: ExecutionId) -> Result<Renewal, Denial> {
        self.writable()?;
        let age = self.node.pulse.age(self.node.clock.monotonic());
        let renewal = self.node.authority.with_state(|state| {
            let execution = state.execution(&exec).ok_or_else(|| {
                let reason = "no such execution is authorized or runs";
                Denial::new(DenialCode::AuthorizationDiscontinuity, reason)
            })?;
            if let Some(cause) = execution.ending {
                return Err(Denial::new(cause, "the execution must end"));
            }
            if self.node.is_past_window(exec, execution.grant.not_after) {
                return Err(Denial::new(DenialCode::Expired, "the window is over"));
            }
            if age.as_millis() > u128::from(execution.grant.staleness_ms) {
                let reason = "the view of the log is older than its bound";
                return Err(Denial::new(DenialCode::GovernanceDiscontinuity, reason));
            }
            Ok(Renewal {
                lease_ms: execution.grant.lease_ms,
                not_after: execution.grant.not_after,
                size: state.next(),
            })
        })?;
        if self.node.leave.is_ending() {
            return Err(leaving());
        }
        self.node.registry.hold(exec, self.node.clock.monotonic());
        Ok(renewal)
    }

    /// Takes what a gateway attests again for an execution: of the claims that are given, or else of those that it was decided for.
    ///
    /// # Errors
    ///
    /// The attestation does not count; or it is of another environment, and the execution is ended.
    pub fn attest(
        &self,
        exec: ExecutionId,
        attestation: &Attestation,
        environment: Option<Fixed<Environment>>,
    ) -> Result<(), Denial> {
        self.writable()?;
        self.node.attest_one(exec, attestation, environment)
    }

    /// How the gateway of an execution is appraised by what it attested last; absent where it did not.
    #[must_use]
    pub fn attested(&self, exec: ExecutionId) -> Option<Standing> {
        self.node.attested(exec)
    }

    /// As [`Authority::signal_then`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued.
    pub fn signal_then(
        &self,
        report: SignalReport,
        then: impl FnOnce(Result<Result<Index, Denied>, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        self.node.authority.signal_then(report, then)
    }

    /// As [`Authority::end_then`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it was not queued.
    pub fn end_then(
        &self,
        report: EndReport,
        then: impl FnOnce(Result<Result<Index, Denied>, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        let (node, exec) = (Arc::clone(&self.node), report.exec);
        self.node.authority.end_then(report, move |answer| {
            if answer.is_ok() {
                node.registry.forget(exec);
            }
            then(answer);
        })
    }

    /// Does an operator's act. Blocks until it is durable; a refused one is recorded as refused.
    ///
    /// # Errors
    ///
    /// Why it was not done.
    pub fn act(&self, body: ActBody, identity: &Identity) -> Result<Acted, Denial> {
        self.node.act(body, identity)
    }

    /// What waits for approvals and concerns this identity, with its parameters. Reads the log.
    #[must_use]
    pub fn waiting(&self, identity: &Identity, named: Option<ExecutionId>) -> Vec<WaitingBody> {
        let now = self.node.now();
        self.node.authority.waiting_for(identity, now, named)
    }

    /// Whether this identity may act for an execution that is open: as its principal.
    ///
    /// # Errors
    ///
    /// The execution is not open, or is somebody else's.
    pub fn may_act_on(&self, identity: &Identity, exec: ExecutionId) -> Result<Phase, Denial> {
        self.node.authority.with_access(|access| {
            let execution = access.state().execution(&exec);
            let own = execution.filter(|it| identity.may_act_as(access, it.principal()));
            // What is somebody else's is answered as what is not there.
            own.map(|execution| execution.phase).ok_or_else(|| {
                let reason = "no such execution of yours is authorized or runs";
                Denial::new(DenialCode::IdentityUnverified, reason)
            })
        })
    }

    /// What the node is doing.
    #[must_use]
    pub fn status(&self) -> StatusBody {
        self.node.authority.status()
    }

    /// How it stands with the checks of the log.
    #[must_use]
    pub fn checks(&self) -> ChecksBody {
        self.node.checks.body()
    }

    /// Gateways that wait for commands, as they say of themselves.
    #[must_use]
    pub fn gateways(&self) -> Gateways {
        Gateways::of(&self.node.dir)
    }

    /// Has the log checked now, unless it is being checked. `false` where this node makes no checks.
    #[must_use]
    pub fn check_now(&self) -> bool {
        self.node.checks.ask()
    }

    /// Which bundles are in use, where, and what the one beside would have changed.
    #[must_use]
    pub fn lifecycle(&self) -> LifecycleBody {
        self.node.lifecycle()
    }

    /// Executions that are authorized or run.
    #[must_use]
    pub fn executions(&self) -> Vec<ExecutionBody> {
        self.node.authority.executions()
    }

    /// Registered principals.
    #[must_use]
    pub fn principals(&self) -> Vec<PrincipalBody> {
        self.node.authority.principals()
    }

    /// Leaves in good order: takes no new intents, gives what runs this long to finish, ends the
    /// authority of what is left, and stops serving once every end is recorded.
    pub fn leave(&self, grace: Duration) {
        let until = self.node.clock.monotonic().saturating_add(grace);
        self.node.leave.ask(until);
    }

    /// Stops serving once nothing runs and nobody is connected.
    pub fn stop(&self) {
        self.node.stopping.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Node {
    /// Whether a window is over: by the monotonic clock, from where it was when this node first heard of it.
    fn is_past_window(&self, exec: ExecutionId, not_after: Millis) -> bool {
        let left = Duration::from_millis(not_after.since(self.clock.wall()));
        let now = self.clock.monotonic();
        self.registry.is_past_window(exec, now, left)
    }
}
