//! A record of every kind that no decision's bundle holds, with everything that it may say.

use std::collections::BTreeSet;

use placet_evidence::*;
use placet_types::*;
use serde_json::{Value, json};

use crate::world::{self, EXEC, HOLDER, NBF, RECORD};

/// Kind and predicate: at least one of each kind, several where there are several shapes.
pub(crate) fn all(genesis: &Value, decided: [&Value; 2]) -> Vec<(KindName, Value)> {
    let mut found = vec![(KindName::Genesis, genesis.clone())];
    found.extend(decided.map(|one| (KindName::Decided, one.clone())));
    let records = acts()
        .into_iter()
        .chain(of_executions())
        .chain(of_others())
        .chain(selectors())
        .chain(secrets());
    found.extend(records.map(|record| (record.kind(), value(&record))));
    found
}

fn value(record: &Record) -> Value {
    let key = world::key(RECORD);
    let entry = Entry::seal(record, &key).unwrap();
    let envelope = placet_artifact::Envelope::decode(entry.as_bytes()).unwrap();
    let statement: Value = serde_json::from_slice(envelope.unverified_payload()).unwrap();
    statement["predicate"].clone()
}

fn by() -> PrincipalId {
    PrincipalId::parse("user:alice").unwrap()
}

fn time() -> Millis {
    Millis::new(NBF * 1000 + 30)
}

fn digest() -> Digest {
    Digest::of(b"x")
}

fn commitment() -> Commitment {
    Commitment::to("x", b"x", &Salt::new([8; 32]))
}

fn environment() -> Fixed<Environment> {
    let environment = Environment {
        arch: "x86_64".into(),
        boot: "b".into(),
        container: None,
        distribution: "debian 13".into(),
        gateway: "0.1.0".into(),
        gateway_digest: None,
        kernel: "6.18".into(),
        landlock_abi: 7,
        machine: digest(),
        region: None,
        tier: Some(Tier::U1),
        weaker: Weakness::ALL.iter().copied().take(2).collect(),
        zone: None,
    };
    Fixed::new(environment).unwrap()
}

/// Acts of people.
fn acts() -> Vec<Record> {
    let reason = || "for a reason".to_owned();
    let decided_by = Some(EXEC);
    let statement = ApprovalStatement {
        by: by(),
        domain: DomainName::parse(world::DOMAIN).unwrap(),
        intent: digest(),
        reason: reason(),
        verdict: Verdict::Approve,
    };
    let key = world::key(HOLDER);
    let signature = key.sign(&statement.signed_bytes().unwrap());
    let signers = vec![world::key(HOLDER).public().id()];
    vec![
        Record::Principal(PrincipalRecord {
            acts_for: vec![by()],
            by: by(),
            decided_by,
            groups: vec!["leads".into()],
            id: PrincipalId::parse("agent:coder").unwrap(),
            keys: vec![Thumbprint::of(&key.public())],
            status: PrincipalStatus::Active,
            time: time(),
            uids: vec![1000],
        }),
        Record::Policy(PolicyActivated {
            bundle: digest(),
            by: by(),
            decided_by,
            governs: true,
            name: "starter".into(),
            revision: 2,
            signers: signers.clone(),
            time: time(),
        }),
        Record::Approval(Approval {
            by: by(),
            exec: EXEC,
            intent: digest(),
            key: key.public(),
            reason: reason(),
            signature,
            time: time(),
            verdict: Verdict::Approve,
        }),
        Record::Halted(Halt {
            by: by(),
            reason: reason(),
            time: time(),
        }),
        Record::Resumed(Resumed {
            by: by(),
            decided_by,
            node: Some(digest()),
            reason: reason(),
            time: time(),
        }),
        Record::Erased(Erased {
            by: by(),
            decided_by,
            index: Index::new(1),
            reason: reason(),
            time: time(),
        }),
        Record::Changes(ChangesReviewed {
            act: ChangesAct::Applied,
            by: by(),
            changes: Some(digest()),
            count: 2,
            exec: EXEC,
            selection: Some(digest()),
            time: time(),
        }),
        Record::Definition(DefinitionApproved {
            by: by(),
            decided_by,
            digest: digest(),
            id: "files/read".into(),
            kind: "McpTool".into(),
            reason: reason(),
            time: time(),
        }),
        Record::Shadow(Shadow {
            bundle: Some(ShadowBundle {
                digest: digest(),
                name: "next".into(),
                revision: 3,
                signers,
            }),
            by: by(),
            reason: reason(),
            time: time(),
        }),
    ]
}

/// What is said of an execution from its start to its end.
fn of_executions() -> Vec<Record> {
    let network = NetworkUsage {
        failed: 1,
        opened: 2,
        received_bytes: 3,
        refused: 4,
        sent_bytes: 5,
    };
    vec![
        Record::Started(Started {
            credentials: ["a", "b"]
                .map(|name| SecretName::parse(name).unwrap())
                .into(),
            exec: EXEC,
            gateway: GatewayName::parse("process").unwrap(),
            intent: digest(),
            pinned: Some(commitment()),
            time: time(),
        }),
        Record::Signal(Signal {
            code: DenialCode::Anomaly,
            count: 3,
            detail: "too many programs".into(),
            ends: true,
            exec: EXEC,
            intent: digest(),
            kind: Some(SignalKind::Trip),
            time: time(),
            trip: Some(Trip::Programs),
        }),
        Record::Connections(Connections {
            count: 2,
            exec: EXEC,
            intent: digest(),
            list: commitment(),
            omitted: 1,
            time: time(),
            usage: network,
        }),
        Record::Born(Born {
            count: 2,
            exec: EXEC,
            intent: digest(),
            list: commitment(),
            omitted: 1,
            time: time(),
        }),
        Record::Ended(Ended {
            cause: Some(DenialCode::Revoked),
            exec: EXEC,
            exit: Some(Exit::Signal(9)),
            intent: digest(),
            outcome: RunEnd::Terminated,
            time: time(),
            usage: Some(Usage {
                changes: Some(ChangeSummary {
                    bytes: 1,
                    count: 1,
                    digest: digest(),
                    writes: Writes::Kept,
                }),
                cpu_ms: 1,
                network: Some(network),
                output: Some(OutputUsage {
                    bytes: 1,
                    commitment: commitment(),
                    redacted: Some(1),
                }),
                rss_kib_max: 1,
                wall_ms: 1,
            }),
        }),
    ]
}

/// What never became an execution.
fn of_others() -> Vec<Record> {
    let token = TokenIdentity {
        claims: [("groups".to_owned(), BTreeSet::from(["platform".to_owned()]))].into(),
        issuer: "https://idp.example".into(),
        subject: "ana".into(),
    };
    let denial = CheckedDenial {
        check: 8,
        code: DenialCode::PolicyForbids,
        reason: "a policy forbids it".into(),
    };
    vec![
        Record::Answered(Box::new(Answered {
            asker: by(),
            asking: vec!["ask-all".into()],
            caller: Caller::Spiffe(SpiffeId::parse("spiffe://example.org/a/b").unwrap()),
            denial: Some(denial),
            environment: environment(),
            found: Some(FoundBySearch {
                at: Index::new(7),
                count: 2,
            }),
            outcome: QuestionOutcome::Deny,
            policy: PolicyRef {
                bundle: Some(digest()),
                determining: vec!["no-push".into()],
            },
            question: commitment(),
            time: time(),
        })),
        Record::Refused(Refused {
            attempt: commitment(),
            caller: Some(Caller::Token(Box::new(token))),
            caller_uid: NETWORK_UID,
            denial: Denial::new(DenialCode::Replayed, "it counts once"),
            exec: Some(EXEC),
            stage: Stage::Artifact,
            time: time(),
        }),
    ]
}

/// Revocations, by everything that they can select.
fn selectors() -> Vec<Record> {
    let all = [
        Selector::Artifact(EXEC),
        Selector::Everything,
        Selector::Execution(EXEC),
        Selector::Group("leads".into()),
        Selector::Node(digest()),
        Selector::Policy("no-push".into()),
        Selector::Principal(by()),
        Selector::Subtree(EXEC),
    ];
    let revoked = |selector| {
        Record::Revoked(Revoked {
            by: by(),
            reason: "leaked".into(),
            selector,
            time: time(),
        })
    };
    all.map(revoked).into()
}

/// Changes of secrets, of every kind.
fn secrets() -> Vec<Record> {
    let name = || SecretName::parse("deploy-key").unwrap();
    let all = [
        SecretChange::Rekeyed,
        SecretChange::Renewed {
            exec: EXEC,
            name: name(),
        },
        SecretChange::Removed(name()),
        SecretChange::Set(name()),
    ];
    let changed = |change| {
        Record::Secret(SecretRecord {
            by: by(),
            change,
            decided_by: None,
            time: time(),
            version: 4,
        })
    };
    all.map(changed).into()
}

/// What is written only where it says something, as it must not be written.
pub(crate) fn silent() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("signal", "/ends", json!(false)),
        ("policy", "/governs", json!(false)),
        ("principal", "/keys", json!([])),
        ("started", "/credentials", json!([])),
        ("started", "/credentials", json!(["b", "a"])),
        ("connections", "/omitted", json!(0)),
        ("born", "/omitted", json!(0)),
        ("refused", "/caller/token/claims", json!({})),
        ("answered", "/environment/weaker", json!([])),
        ("resumed", "/node", Value::Null),
        ("ended", "/exit", json!({ "code": 256 })),
        ("revoked", "/selector", json!("nothing")),
        ("secret", "/change", json!("forgotten")),
    ]
}
