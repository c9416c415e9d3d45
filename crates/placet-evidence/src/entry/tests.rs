use placet_types::{
    ActionName, Commitment, Denial, DenialCode, DomainName, ExecutionId, Fixed, GatewayName, Index,
    Intent, Millis, PrincipalId, ProfileName, ResourceRef, Salt,
};
use zeroize::Zeroizing;

use super::*;
use crate::*;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([byte; 32]))
}

fn principal() -> PrincipalId {
    PrincipalId::parse("agent:coder").unwrap()
}

fn intent() -> Intent {
    Intent {
        action: ActionName::parse("process:run").unwrap(),
        asked: placet_types::Asked::default(),
        gateway: GatewayName::parse("process").unwrap(),
        params: Commitment::to("process:run", b"{}", &Salt::new([1; 32])),
        parent: None,
        principal: principal(),
        resource: ResourceRef {
            digest: None,
            id: "/usr/bin/git".into(),
            kind: "Program".into(),
        },
    }
}

fn decided() -> Decided {
    let exec = ExecutionId::new([5; 16]);
    let environment = Environment {
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
        machine: Digest::of(b"m"),
        tier: Some(placet_types::Tier::U1),
        weaker: Default::default(),
    };
    let grant = Grant {
        approved_by: Vec::new(),
        delegation: vec![],
        depth: 0,
        lease_ms: 2000,
        not_after: Millis::new(9000),
        not_before: Millis::new(1000),
        profile: ProfileName::parse("agent").unwrap(),
        rerouted: Vec::new(),
        root: exec,
        scope: Digest::of(b"scope"),
        staleness_ms: 5000,
    };
    let facts = Facts {
        attestation: None,
        bearer: None,
        caller: Caller::Unix(1000),
        environment: Fixed::new(environment).unwrap(),
        exec,
        holder: "jkt".into(),
        time: Millis::new(1000),
    };
    Decided {
        appraisal: None,
        artifact: Some(Digest::of(b"artifact")),
        denial: None,
        facts,
        grant: Some(grant),
        intent: Fixed::new(intent()).unwrap(),
        outcome: Outcome::Permit,
        policy: PolicyRef {
            bundle: Some(Digest::of(b"bundle")),
            determining: vec!["p".into()],
        },
        risk: Risk::default(),
        waits: None,
    }
}

/// One record of each kind, with every optional member present in at least one of them.
fn every_kind() -> Vec<Record> {
    let (exec, time) = (ExecutionId::new([5; 16]), Millis::new(1));
    let halt = Halt {
        by: principal(),
        reason: "drill".into(),
        time,
    };
    let intent = intent().digest().unwrap();
    let keys = Keys {
        artifact: key(1).public(),
        log: key(2).public(),
        record: key(3).public(),
    };
    let operators = Operators {
        keys: vec![key(4).public()],
        needed: 1,
    };
    let denied = Decided {
        artifact: None,
        grant: None,
        outcome: Outcome::Deny,
        denial: Some(CheckedDenial {
            check: 8,
            code: DenialCode::NoPermit,
            reason: "r".into(),
        }),
        ..decided()
    };
    vec![
        Record::Genesis(Genesis {
            domain: DomainName::parse("placet.example/test").unwrap(),
            keys,
            operators,
            time,
        }),
        Record::Principal(PrincipalRecord {
            acts_for: vec![principal()],
            by: principal(),
            decided_by: None,
            groups: vec!["agents".into()],
            id: principal(),
            keys: vec![],
            status: PrincipalStatus::Active,
            time,
            uids: vec![1000],
        }),
        Record::Policy(PolicyActivated {
            bundle: Digest::of(b"b"),
            by: principal(),
            decided_by: None,
            governs: false,
            name: "starter".into(),
            revision: 1,
            signers: vec![key(4).public().id()],
            time,
        }),
        Record::Decided(Box::new(decided())),
        Record::Decided(Box::new(denied)),
        Record::Refused(Refused {
            attempt: Commitment::to("attempt", b"x", &Salt::new([2; 32])),
            caller: None,
            caller_uid: 0,
            denial: Denial::new(DenialCode::Malformed, "not JSON"),
            exec: Some(exec),
            stage: Stage::Artifact,
            time,
        }),
        Record::Started(Started {
            credentials: std::collections::BTreeSet::new(),
            exec,
            gateway: GatewayName::parse("process").unwrap(),
            intent,
            pinned: None,
            time,
        }),
        Record::Signal(Signal {
            code: DenialCode::Anomaly,
            count: 3,
            detail: "connect".into(),
            ends: false,
            exec,
            intent,
            kind: None,
            time,
            trip: None,
        }),
        Record::Connections(Connections {
            count: 1,
            exec,
            intent,
            list: Connections::commit(b"[]", &Salt::new([4; 32])),
            omitted: 2,
            time,
            usage: NetworkUsage::default(),
        }),
        Record::Born(Born {
            count: 1,
            exec,
            intent,
            list: Born::commit(b"[]", &Salt::new([5; 32])),
            omitted: 3,
            time,
        }),
        Record::Ended(Ended {
            cause: Some(DenialCode::Revoked),
            exec,
            exit: Some(Exit::Signal(9)),
            intent,
            outcome: RunEnd::Terminated,
            time,
            usage: Some(Usage {
                output: None,
                changes: Some(ChangeSummary {
                    bytes: 4,
                    count: 1,
                    digest: Digest::of(b"list"),
                    writes: placet_types::Writes::Kept,
                }),
                cpu_ms: 1,
                network: None,
                rss_kib_max: 2,
                wall_ms: 3,
            }),
        }),
        Record::Revoked(Revoked {
            by: principal(),
            reason: "r".into(),
            selector: Selector::Principal(principal()),
            time,
        }),
        Record::Revoked(Revoked {
            by: principal(),
            reason: "r".into(),
            selector: Selector::Everything,
            time,
        }),
        Record::Halted(halt),
        Record::Resumed(Resumed {
            by: principal(),
            decided_by: None,
            node: None,
            reason: "drill".into(),
            time,
        }),
        Record::Resumed(Resumed {
            by: principal(),
            decided_by: None,
            node: Some(Digest::of(b"machine")),
            reason: "drill".into(),
            time,
        }),
        Record::Erased(Erased {
            by: principal(),
            decided_by: None,
            index: Index::new(3),
            reason: "r".into(),
            time,
        }),
        Record::Answered(Box::new(Answered {
            asker: principal(),
            asking: vec!["points-ask".into()],
            caller: Caller::Unix(0),
            denial: None,
            environment: decided().facts.environment,
            found: Some(FoundBySearch {
                at: Index::new(3),
                count: 2,
            }),
            outcome: QuestionOutcome::Permit,
            policy: PolicyRef {
                bundle: Some(Digest::of(b"bundle")),
                determining: vec![],
            },
            question: Commitment::to("question", b"{}", &Salt::new([1; 32])),
            time,
        })),
        Record::Changes(ChangesReviewed {
            act: ChangesAct::Applied,
            by: principal(),
            changes: Some(Digest::of(b"list")),
            count: 2,
            exec,
            selection: Some(Digest::of(b"part")),
            time,
        }),
    ]
}

fn of_kind(kind: KindName) -> Record {
    let mut all = every_kind().into_iter();
    all.find(|record| record.kind() == kind).unwrap()
}

#[test]
fn every_kind_of_record_survives_its_encoding() {
    for record in every_kind() {
        let entry = Entry::seal(&record, &key(3)).unwrap();
        assert_eq!(entry.open(&key(3).public()).unwrap().into_record(), record);
        assert_eq!(entry.read().unwrap(), record);
        assert_eq!(
            Entry::seal(&record, &key(3)).unwrap(),
            entry,
            "encoding is deterministic"
        );
    }
}

#[test]
fn a_record_under_another_key_is_refused() {
    let entry = Entry::seal(&every_kind()[0], &key(9)).unwrap();
    assert!(matches!(
        entry.open(&key(3).public()),
        Err(EntryError::Envelope(_))
    ));
}

#[test]
fn any_flipped_byte_is_noticed() {
    for record in every_kind() {
        let good = Entry::seal(&record, &key(3)).unwrap().into_bytes();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(
                Entry::from_bytes(bad).open(&key(3).public()).is_err(),
                "byte {at}"
            );
        }
    }
}

/// A statement with one text replaced, in an envelope that is signed properly.
fn resealed(record: &Record, from: &str, to: &str) -> Entry {
    let text = String::from_utf8(statement(record).unwrap()).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(text, changed, "{from} does not occur");
    let envelope = Envelope::sign(PAYLOAD_TYPE, changed.into_bytes(), &key(3)).unwrap();
    Entry::from_bytes(envelope.encode())
}

#[test]
fn a_well_signed_statement_of_another_shape_is_refused() {
    let record = &every_kind()[3];
    let cases = [
        ("statement/v1", "Statement/v1", "statement/v2"),
        ("kind", ":decided:v1", ":decided:v2"),
        ("unknown kind", ":decided:v1", ":decidad:v1"),
        ("unknown member", "\"outcome\"", "\"another\":1,\"outcome\""),
        ("subject", "exec_05", "exec_06"),
        ("spelling", "{\"_type\"", "{ \"_type\""),
        (
            "an inexact number",
            "\"not_after\":9000",
            "\"not_after\":9007199254740993",
        ),
    ];
    for (name, from, to) in cases {
        let entry = resealed(record, from, to);
        assert!(entry.open(&key(3).public()).is_err(), "{name} was accepted");
    }
}

#[test]
fn a_subject_from_another_predicate_is_refused() {
    let entry = resealed(
        &of_kind(KindName::Halted),
        "\"reason\":\"drill\"",
        "\"reason\":\"other\"",
    );
    assert_eq!(entry.open(&key(3).public()), Err(EntryError::Subject));
}

#[test]
fn a_permitted_execution_takes_few_bytes() {
    let sizes: Vec<usize> = [KindName::Decided, KindName::Started, KindName::Ended]
        .into_iter()
        .map(|kind| {
            Entry::seal(&of_kind(kind), &key(3))
                .unwrap()
                .as_bytes()
                .len()
        })
        .collect();
    assert!(sizes.iter().sum::<usize>() < 5200, "{sizes:?}");
}

#[test]
fn a_glance_tells_what_reading_tells() {
    for record in every_kind() {
        let entry = Entry::seal(&record, &key(3)).unwrap();
        let glance = entry.glance().unwrap();
        assert_eq!(glance.kind, record.kind());
        // An attempt that was refused may name an execution; it is not about one.
        let exec = record
            .exec()
            .filter(|_| ![KindName::Refused, KindName::Changes].contains(&record.kind()));
        assert_eq!(glance.exec, exec, "{:?}", record.kind());
    }
}

#[test]
fn a_text_of_the_predicate_does_not_deceive_a_glance() {
    let decoy =
        r#""}]},"predicateType":"urn:placet:evidence:genesis:v1","subject":[{"name":"exec_0"#;
    let record = Record::Revoked(Revoked {
        by: principal(),
        reason: decoy.into(),
        selector: Selector::Policy(decoy.into()),
        time: Millis::new(1),
    });
    let glance = Entry::seal(&record, &key(3)).unwrap().glance();
    assert_eq!(
        glance,
        Some(Glance {
            exec: None,
            kind: KindName::Revoked
        })
    );
}

#[test]
fn what_is_no_entry_has_nothing_to_glance_at() {
    let sound = Entry::seal(&every_kind()[3], &key(3)).unwrap().into_bytes();
    let cases = [
        &b""[..],
        b"{}",
        br#"{"payload":""#,
        br#"{"payload":"","#,
        br#"{"payload":"a"}"#,
    ];
    for bytes in cases.into_iter().chain([&sound[1..], &sound[..40]]) {
        assert_eq!(Entry::from_bytes(bytes.to_vec()).glance(), None);
    }
    let other = resealed(&every_kind()[3], ":decided:v1", ":decided:v2");
    assert_eq!(other.glance(), None);
}
