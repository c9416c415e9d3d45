//! Records for tests: small numbers and short names in, valid records out.

use placet_evidence::{
    Caller, CheckedDenial, Decided, Ended, Environment, Facts, Genesis, Grant, Halt, Keys,
    Operators, Outcome, PolicyActivated, PolicyRef, PrincipalRecord, PrincipalStatus, Record,
    Resumed, Revoked, Risk, RunEnd, Selector, Signal, SignalKind, Started,
};
use placet_types::{
    ActionName, Asked, Commitment, DenialCode, Digest, DomainName, ExecutionId, Fixed, FixedIntent,
    GatewayName, Index, Intent, Millis, PrincipalId, ProfileName, PublicKey, ResourceRef, Salt,
    SigningKey,
};
use zeroize::Zeroizing;

use crate::{Changes, FoldError, State};

pub(super) fn exec(number: u64) -> ExecutionId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ExecutionId::new(bytes)
}

pub(super) fn who(name: &str) -> PrincipalId {
    PrincipalId::parse(&format!("agent:{name}")).unwrap()
}

pub(super) fn tool(name: &str) -> ResourceRef {
    ResourceRef {
        digest: None,
        id: format!("/usr/bin/{name}"),
        kind: "Program".into(),
    }
}

fn key(byte: u8) -> PublicKey {
    SigningKey::from_seed(&Zeroizing::new([byte; 32])).public()
}

pub(super) fn genesis(time: Millis) -> Record {
    Record::Genesis(Genesis {
        domain: DomainName::parse("placet.example/test").unwrap(),
        keys: Keys {
            artifact: key(1),
            log: key(2),
            record: key(3),
        },
        operators: Operators {
            keys: vec![key(4)],
            needed: 1,
        },
        time,
    })
}

pub(super) fn principal(name: &str, status: PrincipalStatus, time: Millis) -> Record {
    principal_as(name, &["agents"], status, time)
}

pub(super) fn principal_in(name: &str, groups: &[&str], time: Millis) -> Record {
    principal_as(name, groups, PrincipalStatus::Active, time)
}

/// The machine that everything is decided for.
pub(super) fn machine() -> Digest {
    Digest::of(b"machine")
}

fn principal_as(name: &str, groups: &[&str], status: PrincipalStatus, time: Millis) -> Record {
    Record::Principal(PrincipalRecord {
        acts_for: vec![],
        by: who("root"),
        decided_by: None,
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        id: who(name),
        keys: vec![],
        status,
        time,
        uids: vec![1000],
    })
}

pub(super) fn policy(revision: u64, time: Millis) -> Record {
    Record::Policy(PolicyActivated {
        bundle: Digest::of(&revision.to_be_bytes()),
        by: who("root"),
        decided_by: None,
        governs: false,
        name: "bundle".into(),
        revision,
        signers: vec![key(4).id()],
        time,
    })
}

/// A permit of a root execution, determined by the policy `p`.
pub(super) fn permit(number: u64, name: &str, time: Millis) -> Decided {
    Decided {
        appraisal: None,
        artifact: Some(Digest::of(&number.to_be_bytes())),
        denial: None,
        facts: facts(number, time),
        grant: Some(grant(number)),
        intent: intent(name),
        outcome: Outcome::Permit,
        policy: PolicyRef {
            bundle: Some(Digest::of(b"bundle")),
            determining: vec!["p".into()],
        },
        risk: Risk::default(),
        waits: None,
    }
}

pub(super) fn denial(number: u64, name: &str, time: Millis) -> Decided {
    Decided {
        artifact: None,
        denial: Some(CheckedDenial {
            check: 8,
            code: DenialCode::NoPermit,
            reason: "no permit applies".into(),
        }),
        grant: None,
        outcome: Outcome::Deny,
        ..permit(number, name, time)
    }
}

fn intent(name: &str) -> FixedIntent {
    Fixed::new(Intent {
        action: ActionName::parse("process:run").unwrap(),
        asked: Asked::default(),
        gateway: GatewayName::parse("process").unwrap(),
        params: Commitment::to("process:run", b"{}", &Salt::new([1; 32])),
        parent: None,
        principal: who(name),
        resource: tool("git"),
    })
    .unwrap()
}

fn facts(number: u64, time: Millis) -> Facts {
    Facts {
        attestation: None,
        bearer: None,
        caller: Caller::Unix(1000),
        environment: Fixed::new(Environment {
            container: None,
            gateway_digest: None,
            region: None,
            zone: None,
            arch: "x86_64".into(),
            boot: "b".into(),
            distribution: "debian 12".into(),
            gateway: "0.1.0".into(),
            kernel: "6.18".into(),
            landlock_abi: 7,
            machine: machine(),
            tier: Some(placet_types::Tier::U1),
            weaker: Default::default(),
        })
        .unwrap(),
        exec: exec(number),
        holder: "thumbprint".into(),
        time,
    }
}

fn grant(number: u64) -> Grant {
    Grant {
        approved_by: Vec::new(),
        delegation: vec![],
        depth: 0,
        lease_ms: 2_000,
        not_after: Millis::new(u64::MAX),
        not_before: Millis::new(0),
        profile: ProfileName::parse("agent").unwrap(),
        rerouted: Vec::new(),
        root: exec(number),
        scope: Digest::of(b"scope"),
        staleness_ms: 5_000,
    }
}

/// A state and the clock of the log that it folds.
pub(super) struct Log {
    pub(super) state: State,
    pub(super) now: Millis,
}

impl Log {
    /// A domain with an active bundle and the principals `a`, `b` and `c`.
    pub(super) fn new() -> Self {
        let now = Millis::new(1_000_000);
        let mut log = Self {
            state: State::begin(&genesis(now)).unwrap(),
            now,
        };
        log.push(&policy(1, now));
        for name in ["a", "b", "c"] {
            log.push(&principal(name, PrincipalStatus::Active, now));
        }
        log
    }

    /// Takes the record, or asserts that a refusal changed nothing.
    pub(super) fn offer(&mut self, record: &Record) -> Result<Changes, FoldError> {
        let before = self.state.clone();
        let result = self.state.apply(before.next(), record);
        if result.is_err() {
            assert_eq!(self.state, before, "a refused record changed the state");
        }
        result
    }

    /// Takes the record, and lists what it ends by number.
    pub(super) fn push(&mut self, record: &Record) -> Vec<(u64, DenialCode)> {
        let changes = self.offer(record).unwrap();
        changes
            .ending
            .into_iter()
            .map(|(id, cause)| (number(id), cause))
            .collect()
    }

    pub(super) fn decide(&mut self, decided: Decided) -> Vec<(u64, DenialCode)> {
        self.push(&Record::Decided(Box::new(decided)))
    }

    /// Permits and starts a root execution.
    pub(super) fn run(&mut self, number: u64, name: &str) {
        self.decide(permit(number, name, self.now));
        self.start(number);
    }

    /// Permits and starts a child execution.
    pub(super) fn run_below(&mut self, parent: u64, number: u64, name: &str) {
        self.decide(self.child(parent, number, name));
        self.start(number);
    }

    /// A permit below a parent that is in the state.
    pub(super) fn child(&self, parent: u64, number: u64, name: &str) -> Decided {
        let above = self.state.execution(&exec(parent)).unwrap();
        let mut decided = permit(number, name, self.now);
        decided.intent = decided
            .intent
            .changed(|intent| intent.parent = Some(exec(parent)))
            .unwrap();
        let grant = decided.grant.as_mut().unwrap();
        grant.depth = above.grant.depth + 1;
        grant.root = above.grant.root;
        grant.delegation = vec![above.principal().clone()];
        for principal in &above.grant.delegation {
            if !grant.delegation.contains(principal) {
                grant.delegation.push(principal.clone());
            }
        }
        decided
    }

    pub(super) fn start(&mut self, number: u64) -> Vec<(u64, DenialCode)> {
        self.push(&started(number, self.now))
    }

    pub(super) fn end(&mut self, number: u64) -> Vec<(u64, DenialCode)> {
        self.push(&ended(number, self.now))
    }

    pub(super) fn revoke(&mut self, selector: Selector) -> Vec<(u64, DenialCode)> {
        self.push(&revoked(selector, self.now))
    }

    pub(super) fn ending(&self, number: u64) -> Option<DenialCode> {
        self.state.execution(&exec(number)).unwrap().ending
    }

    pub(super) fn next(&self) -> Index {
        self.state.next()
    }
}

pub(super) fn number(id: ExecutionId) -> u64 {
    let text = id.to_string();
    let digits = text.strip_prefix("exec_").unwrap();
    u128::from_str_radix(digits, 16)
        .unwrap()
        .try_into()
        .unwrap()
}

pub(super) fn started(number: u64, time: Millis) -> Record {
    Record::Started(Started {
        credentials: std::collections::BTreeSet::new(),
        exec: exec(number),
        gateway: GatewayName::parse("process").unwrap(),
        intent: intent("a").digest(),
        pinned: None,
        time,
    })
}

pub(super) fn signal(number: u64, kind: Option<SignalKind>, count: u64, time: Millis) -> Record {
    Record::Signal(Signal {
        code: DenialCode::Anomaly,
        count,
        detail: "seen".into(),
        ends: false,
        exec: exec(number),
        intent: intent("a").digest(),
        kind,
        time,
        trip: None,
    })
}

pub(super) fn ended(number: u64, time: Millis) -> Record {
    Record::Ended(Ended {
        cause: None,
        exec: exec(number),
        exit: None,
        intent: intent("a").digest(),
        outcome: RunEnd::Completed,
        time,
        usage: None,
    })
}

pub(super) fn revoked(selector: Selector, time: Millis) -> Record {
    Record::Revoked(Revoked {
        by: who("root"),
        reason: "drill".into(),
        selector,
        time,
    })
}

pub(super) fn resumed(node: Option<Digest>, time: Millis) -> Record {
    Record::Resumed(Resumed {
        by: who("root"),
        decided_by: None,
        node,
        reason: "drill".into(),
        time,
    })
}

pub(super) fn halt(time: Millis) -> Halt {
    Halt {
        by: who("root"),
        reason: "drill".into(),
        time,
    }
}
