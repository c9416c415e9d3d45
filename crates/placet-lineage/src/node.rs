//! One decided intent and what became of it.

use serde::{Deserialize, Serialize};

use placet_evidence::{Caller, CheckedDenial, Decided, Ended, Exit, Outcome, Risk, RunEnd, Usage};
use placet_types::{
    ActionName, DenialCode, Digest, ExecutionId, GatewayName, Index, Millis, PrincipalId,
    ProfileName, ResourceRef,
};

/// A decided intent and what became of it. Plain data, copied from its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// What was to be done.
    pub action: ActionName,
    /// Whether it was allowed.
    pub answer: Answer,
    /// Programs of its own writable places that it started, as its records count them.
    pub born: u64,
    /// The policy bundle that it was decided under; absent when none was in force.
    pub bundle: Option<Digest>,
    /// Who submitted the intent.
    pub caller: Caller,
    /// The record of its decision.
    pub decided: At,
    /// Who it acts for: the principals of its ancestors, the parent's first. Empty for a denial.
    pub delegation: Vec<PrincipalId>,
    /// How it ended, once it has.
    pub ended: Option<End>,
    /// Its id. A denied intent has one as well, which never ran.
    pub exec: ExecutionId,
    /// The gateway that was to carry it out.
    pub gateway: GatewayName,
    /// Digest of the intent.
    pub intent: Digest,
    /// The execution that it names as the one that asks, known or not.
    pub parent: Option<ExecutionId>,
    /// The policies that determined the answer, in order.
    pub policies: Vec<String>,
    /// Who asked.
    pub principal: PrincipalId,
    /// Presentations of its artifact that were refused.
    pub refused: u64,
    /// What it was to be done to.
    pub resource: ResourceRef,
    /// How unusual it was when it was decided, where it was anything but usual.
    #[serde(skip_serializing_if = "is_usual")]
    pub risk: Risk,
    /// The first ancestor, or itself. For a denial, as far as the graph knows its parent.
    pub root: ExecutionId,
    /// Notable events while it ran, as its signals count them.
    pub signals: u64,
    /// The record of its start, if it started.
    pub started: Option<At>,
}

fn is_usual(risk: &Risk) -> bool {
    *risk == Risk::default()
}

/// A place in the log, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct At {
    /// Index of the record.
    pub index: Index,
    /// Time of the record.
    pub time: Millis,
}

/// The answer to an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was allowed to run.
    Permitted(Permission),
    /// It was not.
    Denied(CheckedDenial),
    /// It waits for approvals until this time. The decision that follows stands in its place.
    Deferred(Millis),
}

/// What it was allowed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// Who approved it, where approvals were needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<PrincipalId>,
    /// Digest of the artifact.
    pub artifact: Digest,
    /// End of the window.
    pub not_after: Millis,
    /// The profile that its scope comes from.
    pub profile: ProfileName,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// The record of its end.
    pub at: At,
    /// Why it was terminated.
    pub cause: Option<DenialCode>,
    /// How its first process ended.
    pub exit: Option<Exit>,
    /// What became of it.
    pub outcome: RunEnd,
    /// What it used.
    pub usage: Option<Usage>,
}

/// Where an intent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was denied, and never runs.
    Denied,
    /// It waits for approvals, or waited for them in vain.
    Deferred,
    /// It may start.
    Authorized,
    /// It runs.
    Running,
    /// It ended by itself with status 0.
    Completed,
    /// It ended by itself with another status.
    Failed,
    /// It was terminated.
    Terminated,
    /// It was authorized and never started.
    Lapsed,
    /// It is over, and nobody saw how it ended.
    Unseen,
}

impl Node {
    /// The node that a decision begins, or `None` when the decision contradicts itself. Its root is
    /// its own, for a denial: only the graph knows the parent's.
    pub(crate) fn decided(index: Index, record: &Decided) -> Option<Self> {
        let (intent, exec) = (&record.intent, record.facts.exec);
        let (answer, delegation, root) = match (record.outcome, &record.grant) {
            (Outcome::Permit, Some(grant)) => {
                let permission = Permission {
                    approved_by: grant.approved_by.clone(),
                    artifact: record.artifact?,
                    not_after: grant.not_after,
                    profile: grant.profile.clone(),
                };
                let answer = Answer::Permitted(permission);
                (answer, grant.delegation.clone(), grant.root)
            }
            (Outcome::Deny, None) => (Answer::Denied(record.denial.clone()?), Vec::new(), exec),
            (Outcome::Defer, None) => {
                let until = record.waits.as_ref()?.until;
                (Answer::Deferred(until), Vec::new(), exec)
            }
            (Outcome::Permit, None) | (Outcome::Deny | Outcome::Defer, Some(_)) => return None,
        };
        Some(Self {
            action: intent.action.clone(),
            answer,
            born: 0,
            bundle: record.policy.bundle,
            caller: record.facts.caller.clone(),
            decided: At::new(index, record.facts.time),
            delegation,
            ended: None,
            exec,
            gateway: intent.gateway.clone(),
            intent: intent.digest(),
            parent: intent.parent,
            policies: record.policy.determining.clone(),
            principal: intent.principal.clone(),
            refused: 0,
            resource: intent.resource.clone(),
            risk: record.risk.clone(),
            root,
            signals: 0,
            started: None,
        })
    }

    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> Status {
        match (&self.answer, &self.ended, &self.started) {
            (Answer::Denied(_), ..) => Status::Denied,
            (Answer::Deferred(_), ..) => Status::Deferred,
            (Answer::Permitted(_), Some(end), _) => match end.outcome {
                RunEnd::Completed => Status::Completed,
                RunEnd::Failed => Status::Failed,
                RunEnd::Terminated => Status::Terminated,
                RunEnd::Lapsed => Status::Lapsed,
                RunEnd::Unseen => Status::Unseen,
            },
            (Answer::Permitted(_), None, Some(_)) => Status::Running,
            (Answer::Permitted(_), None, None) => Status::Authorized,
        }
    }

    /// Why it was denied, or terminated.
    #[must_use]
    pub fn code(&self) -> Option<DenialCode> {
        match &self.answer {
            Answer::Denied(denial) => Some(denial.code),
            Answer::Permitted(_) => self.ended.and_then(|end| end.cause),
            Answer::Deferred(_) => Some(DenialCode::ApprovalRequired),
        }
    }

    /// The record after which nothing more can become of it: the decision, for a denial.
    #[must_use]
    pub fn finished(&self) -> Option<At> {
        match self.answer {
            Answer::Denied(_) | Answer::Deferred(_) => Some(self.decided),
            Answer::Permitted(_) => self.ended.map(|end| end.at),
        }
    }

    /// How long it ran, in milliseconds, or has run at `now`. `None` when it never started, and while
    /// it runs and no `now` is given.
    #[must_use]
    pub fn ran_ms(&self, now: Option<Millis>) -> Option<u64> {
        let until = self.ended.map(|end| end.at.time).or(now)?;
        self.started.map(|start| until.since(start.time))
    }
}

impl At {
    pub(crate) fn new(index: Index, time: Millis) -> Self {
        Self { index, time }
    }
}

impl End {
    /// Of what is done with the record that says so.
    pub(crate) fn at_once(index: Index, time: Millis) -> Self {
        Self {
            at: At::new(index, time),
            cause: None,
            exit: None,
            outcome: RunEnd::Completed,
            usage: None,
        }
    }

    pub(crate) fn of(index: Index, record: &Ended) -> Self {
        Self {
            at: At::new(index, record.time),
            cause: record.cause,
            exit: record.exit,
            outcome: record.outcome,
            usage: record.usage,
        }
    }
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Denied,
        Self::Deferred,
        Self::Authorized,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Terminated,
        Self::Lapsed,
        Self::Unseen,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Deferred => "deferred",
            Self::Authorized => "authorized",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Terminated => "terminated",
            Self::Lapsed => "lapsed",
            Self::Unseen => "unseen",
        }
    }
}
