//! A log for tests: short names in, valid records out, each one checked by the fold.

use placet_evidence::{
    Caller, CheckedDenial, Decided, Ended, Environment, Exit, Facts, Genesis, Grant, Keys,
    Operators, Outcome, PolicyRef, Record, Refused, Risk, RunEnd, Signal, Stage, Started, Usage,
};
use placet_state::State;
use placet_types::{
    ActionName, Asked, Commitment, Denial, DenialCode, Digest, DomainName, ExecutionId, Fixed,
    GatewayName, Index, Intent, Millis, PrincipalId, ProfileName, PublicKey, ResourceRef, Salt,
    SigningKey,
};
use zeroize::Zeroizing;

/// An id whose first and last digits both tell the number.
pub(super) fn exec(number: u8) -> ExecutionId {
    let mut bytes = [0x11; 16];
    (bytes[0], bytes[15]) = (number, number);
    ExecutionId::new(bytes)
}

pub(super) fn who(name: &str) -> PrincipalId {
    PrincipalId::parse(name).unwrap()
}

pub(super) fn domain() -> DomainName {
    DomainName::parse("placet.example/test").unwrap()
}

/// The records of a log, in order, and what the fold makes of them.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) records: Vec<Record>,
    pub(super) state: State,
    pub(super) now: Millis,
}

impl Log {
    pub(super) fn new() -> Self {
        let key =
            |byte| -> PublicKey { SigningKey::from_seed(&Zeroizing::new([byte; 32])).public() };
        let now = Millis::new(1_795_230_300_000);
        let genesis = Record::Genesis(Genesis {
            domain: domain(),
            keys: Keys {
                artifact: key(1),
                log: key(2),
                record: key(3),
            },
            operators: Operators {
                keys: vec![key(4)],
                needed: 1,
            },
            time: now,
        });
        Self {
            state: State::begin(&genesis).unwrap(),
            records: vec![genesis],
            now,
        }
    }

    pub(super) fn push(&mut self, record: Record) {
        self.state.apply(self.state.next(), &record).unwrap();
        self.records.push(record);
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, ms: u64) {
        self.now = Millis::new(self.now.get() + ms);
    }

    pub(super) fn is_live(&self, id: ExecutionId) -> bool {
        self.state
            .execution(&id)
            .is_some_and(placet_state::Execution::is_live)
    }

    pub(super) fn permit(&mut self, number: u8, name: &str, tool: &str, below: Option<u8>) {
        let mut decided = self.decided(number, name, tool, below);
        let above = below.map(|number| self.state.execution(&exec(number)).unwrap().clone());
        let mut delegation: Vec<PrincipalId> = Vec::new();
        if let Some(above) = &above {
            for id in std::iter::once(above.principal()).chain(&above.grant.delegation) {
                if !delegation.contains(id) {
                    delegation.push(id.clone());
                }
            }
        }
        decided.artifact = Some(Digest::of(&[number]));
        decided.grant = Some(Grant {
            approved_by: Vec::new(),
            delegation,
            depth: above.as_ref().map_or(0, |above| above.grant.depth + 1),
            lease_ms: 2_000,
            not_after: Millis::new(self.now.get() + 60_000),
            not_before: self.now,
            profile: ProfileName::parse("agent").unwrap(),
            rerouted: Vec::new(),
            root: above.map_or(exec(number), |above| above.grant.root),
            scope: Digest::of(b"scope"),
            staleness_ms: 5_000,
        });
        self.push(Record::Decided(Box::new(decided)));
    }

    pub(super) fn deny(&mut self, number: u8, name: &str, tool: &str, below: Option<u8>) {
        let mut decided = self.decided(number, name, tool, below);
        decided.outcome = Outcome::Deny;
        decided.denial = Some(CheckedDenial {
            check: 8,
            code: DenialCode::PolicyForbids,
            reason: "a policy forbids it".into(),
        });
        self.push(Record::Decided(Box::new(decided)));
    }

    fn decided(&self, number: u8, name: &str, tool: &str, below: Option<u8>) -> Decided {
        let path = format!("/usr/bin/{tool}");
        Decided {
            appraisal: None,
            artifact: None,
            denial: None,
            facts: Facts {
                attestation: None,
                bearer: None,
                caller: below.map_or(Caller::Unix(1000), |n| Caller::Execution(exec(n))),
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
                    machine: Digest::of(b"machine"),
                    tier: Some(placet_types::Tier::U1),
                    weaker: Default::default(),
                })
                .unwrap(),
                exec: exec(number),
                holder: "thumbprint".into(),
                time: self.now,
            },
            grant: None,
            intent: Fixed::new(Intent {
                action: ActionName::parse("process:run").unwrap(),
                asked: Asked::default(),
                gateway: GatewayName::parse("process").unwrap(),
                params: Commitment::to("process:run", b"{}", &Salt::new([number; 32])),
                parent: below.map(exec),
                principal: who(name),
                resource: ResourceRef {
                    digest: Some(Digest::of(path.as_bytes())),
                    id: path,
                    kind: "Program".into(),
                },
            })
            .unwrap(),
            outcome: Outcome::Permit,
            policy: PolicyRef {
                bundle: Some(Digest::of(b"bundle")),
                determining: vec!["agents-may-run-tools".into()],
            },
            risk: Risk::default(),
            waits: None,
        }
    }

    pub(super) fn start(&mut self, number: u8) {
        self.push(Record::Started(Started {
            credentials: std::collections::BTreeSet::new(),
            exec: exec(number),
            gateway: GatewayName::parse("process").unwrap(),
            intent: Digest::of(b"intent"),
            pinned: None,
            time: self.now,
        }));
    }

    pub(super) fn run(&mut self, number: u8, name: &str, tool: &str, below: Option<u8>) {
        self.permit(number, name, tool, below);
        self.wait(3);
        self.start(number);
    }

    pub(super) fn end(&mut self, number: u8, outcome: RunEnd, cause: Option<DenialCode>) {
        let exit = match outcome {
            RunEnd::Completed => Some(Exit::Code(0)),
            RunEnd::Failed => Some(Exit::Code(2)),
            RunEnd::Terminated => Some(Exit::Signal(9)),
            RunEnd::Lapsed | RunEnd::Unseen => None,
        };
        self.push(Record::Ended(Ended {
            cause,
            exec: exec(number),
            exit,
            intent: Digest::of(b"intent"),
            outcome,
            time: self.now,
            usage: exit.map(|_| Usage {
                output: None,
                changes: None,
                cpu_ms: 40,
                network: None,
                rss_kib_max: 2_048,
                wall_ms: 55,
            }),
        }));
    }

    pub(super) fn signal(&mut self, number: u8, count: u64) {
        self.push(Record::Signal(Signal {
            code: DenialCode::Anomaly,
            count,
            detail: "refused connect".into(),
            ends: false,
            exec: exec(number),
            intent: Digest::of(b"intent"),
            kind: None,
            time: self.now,
            trip: None,
        }));
    }

    pub(super) fn refuse(&mut self, number: u8) {
        self.push(Record::Refused(Refused {
            attempt: Commitment::to("attempt", b"x", &Salt::new([2; 32])),
            caller: None,
            caller_uid: 1000,
            denial: Denial::new(DenialCode::Replayed, "presented again"),
            exec: Some(exec(number)),
            stage: Stage::Artifact,
            time: self.now,
        }));
    }

    pub(super) fn fold_into(&self, mut graph: crate::Graph) -> crate::Graph {
        for (at, record) in self.records.iter().enumerate() {
            graph.apply(Index::new(at as u64), record).unwrap();
        }
        graph
    }

    pub(super) fn graph(&self) -> crate::Graph {
        self.fold_into(crate::Graph::new())
    }
}

/// One of everything: a tree of three levels with a denial, a termination and a failure in it, a
/// root that runs, one that lapsed, one that may start, and a denial on its own.
pub(super) fn story() -> Log {
    let mut log = Log::new();
    log.wait(1_000);
    log.run(0xa1, "agent:planner", "claude", None);
    log.wait(20);
    log.run(0xa2, "agent:coder", "git", Some(0xa1));
    log.deny(0xa3, "agent:coder", "curl", Some(0xa2));
    log.wait(30);
    log.run(0xa4, "agent:coder", "make", Some(0xa2));
    log.run(0xb1, "ci:release", "cargo", None);
    log.signal(0xa4, 2);
    log.wait(1_200);
    log.end(0xa4, RunEnd::Failed, None);
    log.end(0xa2, RunEnd::Terminated, Some(DenialCode::Revoked));
    log.wait(65_000);
    log.end(0xa1, RunEnd::Completed, None);
    log.permit(0xc1, "user:alice", "ls", None);
    log.refuse(0xb1);
    log.wait(60_000);
    log.end(0xc1, RunEnd::Lapsed, None);
    log.deny(0xc2, "user:alice", "sudo", None);
    log.permit(0xc3, "user:alice", "ls", None);
    log
}
