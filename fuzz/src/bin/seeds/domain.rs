//! A small domain: records of every kind in a log, and a permit with all that proves it.

use std::collections::BTreeSet;

use placet_artifact::claims::{
    ArtifactId, Confirmation, Detail, DetailKind, Lease, NumericDate, PolicyRef, Thumbprint,
};
use placet_artifact::jws::Algorithm;
use placet_artifact::{Artifact, Claims};
use placet_evidence::proof_bundle::{Disclosed, FORMAT, ProofBundle, Proven};
use placet_evidence::{
    Answered, Attestation, AttestationStatement, Backing, Born, Caller, CheckedDenial, Decided,
    DefinitionApproved, Ended, Entry, Environment, Erased, Exit, Facts, FoundBySearch, Genesis,
    Grant, Halt, Keys, Nonce, Operators, Outcome, PolicyActivated, PrincipalRecord,
    PrincipalStatus, QuestionOutcome, Record, Refused, Resumed, Revoked, Risk, RunEnd, Selector,
    Signal, Stage, Started, Usage,
};
use placet_tlog::{
    BatchTree, Checkpoint, CosignTime, Cosigner, Frontier, Hash, KeyName, LogProof, NoteSigner,
    Policy,
};
use placet_types::{
    ActionName, Commitment, Denial, DenialCode, Digest, DomainName, ExecutionId, Fixed,
    GatewayName, Index, Intent, Millis, PrincipalId, ProfileName, SigningKey, canonical,
};
use zeroize::Zeroizing;

use crate::Corpus;
use crate::from_types::{PARAMS, intent, salt, scope};

const DOMAIN: &str = "placet.example/fuzz";
const TIME: Millis = Millis::new(1_800_000_000_000);
/// Where the permit stands among [`records`].
const PERMIT: usize = 3;

/// Writes entries of every kind, the permit's receipt and bundle, and what proves them.
pub(crate) fn write(corpus: &Corpus) {
    let artifact = artifact();
    let entries: Vec<Entry> = records(&artifact)
        .iter()
        .map(|record| Entry::seal(record, &key(2)).expect("a record that can be written"))
        .collect();
    let others = others();
    let sealed = others
        .iter()
        .map(|record| Entry::seal(record, &key(2)).expect("a record that can be written"));
    let others: Vec<(Entry, Record)> = sealed.zip(others.clone()).collect();
    let all = entries.iter().cloned().zip(records(&artifact));
    for (entry, record) in all.chain(others) {
        let name = format!(
            "{}-{}",
            record.kind().as_str(),
            Digest::of(entry.as_bytes()).hex()
        );
        corpus.put("entry", name.get(..24).unwrap_or(&name), entry.as_bytes());
    }
    corpus.trust("policy", log_policy().to_string());
    corpus.trust("artifact", artifact.as_str());
    corpus.put("artifact", "permit", artifact.as_str());
    corpus.put(
        "thumbprint",
        "holder",
        Thumbprint::of(&key(5).public()).as_str(),
    );
    corpus.put(
        "thumbprint",
        "padded",
        format!("{}=", Thumbprint::of(&key(6).public()).as_str()),
    );
    for (name, attestation) in attestations() {
        let bytes = canonical::to_bytes(&attestation).expect("an attestation is JSON");
        corpus.put("attestation", name, bytes);
    }
    corpus.put("receipt", "good", receipt(&entries, PERMIT));
    corpus.put("receipt", "of-another", receipt(&entries, PERMIT + 1));
    let permit = bundle(&entries, PERMIT, Some(&artifact));
    corpus.put("verify_bundle", "permit", &permit);
    corpus.put("proof_bundle", "permit", &permit);
    let denial = bundle(&entries, PERMIT + 1, None);
    corpus.put("verify_bundle", "denial", &denial);
    corpus.put("proof_bundle", "denial", &denial);
}

/// One of each kind.
fn attestations() -> [(&'static str, Attestation); 2] {
    let own = AttestationStatement {
        backing: Backing::SelfReported,
        domain: DomainName::parse(DOMAIN).expect("a name"),
        environment: environment(),
        issued: TIME,
        nonce: Nonce::new(TIME, [1; 16], [2; 16]),
    };
    let quote = r#"{"tpm_quote":{"key":"AQ","quoted":"Ag","signature":"Aw"}}"#;
    let quoted = AttestationStatement {
        backing: serde_json::from_str(quote).expect("a quote"),
        ..own.clone()
    };
    let sign = |it: AttestationStatement| it.sign(&key(5)).expect("a statement is JSON");
    [("own", sign(own)), ("quoted", sign(quoted))]
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn principal(name: &str) -> PrincipalId {
    PrincipalId::parse(name).expect("a principal's name")
}

fn exec() -> ExecutionId {
    ExecutionId::new([0xe1; 16])
}

fn log_signer() -> NoteSigner {
    NoteSigner::new(KeyName::parse(DOMAIN).expect("a key name"), key(3))
}

fn witness() -> Cosigner {
    Cosigner::new(
        KeyName::parse("witness.example/w").expect("a key name"),
        key(4),
    )
}

fn log_policy() -> Policy {
    Policy::builder()
        .log(log_signer().verifier_key().clone(), None)
        .and_then(|it| it.witness("w", witness().verifier_key().clone(), None))
        .and_then(|it| it.quorum("w"))
        .and_then(placet_tlog::policy::PolicyBuilder::build)
        .expect("a policy of one log and one witness")
}

/// The proof of the entry at `index`.
fn proof(entries: &[Entry], index: usize) -> String {
    let leaves = entries
        .iter()
        .map(|entry| Hash::leaf(entry.as_bytes()))
        .collect();
    let tree = BatchTree::new(&Frontier::new(), leaves).expect("a small tree");
    let origin = KeyName::parse(DOMAIN).expect("a key name");
    let checkpoint = Checkpoint::new(origin, tree.size(), tree.root()).expect("a checkpoint");
    let time = CosignTime::new(TIME.get() / 1000).expect("a time");
    let signed = checkpoint
        .sign(&log_signer())
        .and_then(|signed| Ok(signed.with_cosignature(&witness(), time)?))
        .expect("a signed checkpoint");
    let index = u64::try_from(index).expect("a small index");
    let path = tree.prove_inclusion(index).expect("an entry of the tree");
    LogProof::new(index, path, signed).to_string()
}

fn receipt(entries: &[Entry], index: usize) -> Vec<u8> {
    let entry = entries[index].as_bytes();
    let len = u16::try_from(entry.len()).expect("a short entry");
    [&len.to_be_bytes(), entry, proof(entries, index).as_bytes()].concat()
}

fn proven(entries: &[Entry], index: usize) -> Proven {
    let entry = String::from_utf8(entries[index].as_bytes().to_vec()).expect("entries are text");
    Proven {
        entry,
        proof: proof(entries, index),
    }
}

fn bundle(entries: &[Entry], index: usize, artifact: Option<&Artifact>) -> Vec<u8> {
    let related = if artifact.is_some() {
        vec![proven(entries, index + 2)]
    } else {
        vec![]
    };
    let disclosed = Disclosed {
        params: PARAMS.into(),
        salt: salt(),
    };
    let bundle = ProofBundle {
        artifact: artifact.map(ToString::to_string),
        disclosed: artifact.map(|_| disclosed),
        format: FORMAT.into(),
        genesis: proven(entries, 0),
        policy: log_policy().to_string(),
        record: proven(entries, index),
        related,
    };
    bundle.encode().expect("a bundle is JSON")
}

fn environment() -> Fixed<Environment> {
    Fixed::new(Environment {
        container: None,
        gateway_digest: None,
        region: None,
        zone: None,
        arch: "x86_64".into(),
        boot: "b1".into(),
        distribution: "debian 12".into(),
        gateway: "0.1.0".into(),
        kernel: "6.12".into(),
        landlock_abi: 6,
        machine: Digest::of(b"machine"),
        tier: Some(placet_types::Tier::U1),
        weaker: Default::default(),
    })
    .expect("an environment is JSON")
}

fn facts(exec: ExecutionId) -> Facts {
    Facts {
        attestation: None,
        bearer: None,
        caller: Caller::Unix(1000),
        environment: environment(),
        exec,
        holder: Thumbprint::of(&key(5).public()).as_str().to_owned(),
        time: TIME,
    }
}

fn artifact() -> Artifact {
    placet_artifact::issue(&claims(), &key(1), Algorithm::EdDsa).expect("sound claims")
}

fn claims() -> Claims {
    let intent = intent();
    let seconds = TIME.get() / 1000;
    Claims {
        act: None,
        aud: intent.gateway.clone(),
        authorization_details: [Detail {
            action: intent.action.clone(),
            resource: intent.resource.clone(),
            scope: Fixed::new(scope()).expect("a scope is JSON"),
            kind: DetailKind::Execution,
        }],
        cnf: Confirmation {
            jkt: Thumbprint::of(&key(5).public()),
        },
        env: environment().digest(),
        exec: exec(),
        exp: NumericDate::new(seconds + 300),
        iat: NumericDate::new(seconds),
        intent: intent.digest().expect("an intent is JSON"),
        iss: DomainName::parse(DOMAIN).expect("a domain's name"),
        jti: ArtifactId::of(exec()),
        lease: Lease {
            interval_ms: 5000,
            staleness_ms: 15_000,
        },
        nbf: NumericDate::new(seconds),
        params: intent.params,
        parent: None,
        policy: PolicyRef {
            bundle: Digest::of(b"bundle"),
            determining: BTreeSet::from(["agents".to_owned()]),
        },
        profile: ProfileName::parse("agent").expect("a profile's name"),
        rerouted: BTreeSet::new(),
        sub: intent.principal.clone(),
        txn: exec(),
        uses: 1,
    }
}

fn permit(artifact: &Artifact) -> Decided {
    let scope = canonical::to_bytes(&scope()).expect("a scope is JSON");
    Decided {
        appraisal: None,
        artifact: Some(artifact.digest()),
        denial: None,
        facts: facts(exec()),
        grant: Some(Grant {
            approved_by: Vec::new(),
            delegation: vec![],
            depth: 0,
            lease_ms: 5000,
            not_after: Millis::new(TIME.get() + 300_000),
            not_before: TIME,
            profile: ProfileName::parse("agent").expect("a profile's name"),
            rerouted: vec![],
            root: exec(),
            scope: Digest::of(&scope),
            staleness_ms: 15_000,
        }),
        intent: Fixed::new(intent()).expect("an intent is JSON"),
        outcome: Outcome::Permit,
        policy: placet_evidence::PolicyRef {
            bundle: Some(Digest::of(b"bundle")),
            determining: vec!["agents".into()],
        },
        risk: Risk::default(),
        waits: None,
    }
}

fn denial(artifact: &Artifact) -> Decided {
    let code = DenialCode::NoPermit;
    Decided {
        artifact: None,
        denial: Some(CheckedDenial {
            check: 8,
            code,
            reason: "no permit".into(),
        }),
        facts: facts(ExecutionId::new([0xe2; 16])),
        grant: None,
        intent: Fixed::new(Intent {
            parent: Some(exec()),
            ..intent()
        })
        .expect("an intent is JSON"),
        outcome: Outcome::Deny,
        ..permit(artifact)
    }
}

/// One record of each kind; the permit at [`PERMIT`], a denial, and the start after it.
fn records(artifact: &Artifact) -> Vec<Record> {
    let (by, time) = (principal("user:ada"), TIME);
    let intent = intent().digest().expect("an intent is JSON");
    let halt = Halt {
        by: by.clone(),
        reason: "drill".into(),
        time,
    };
    vec![
        genesis(),
        Record::Principal(PrincipalRecord {
            acts_for: vec![by.clone()],
            by: by.clone(),
            decided_by: None,
            groups: vec!["agents".into()],
            id: principal("agent:coder"),
            keys: vec![],
            status: PrincipalStatus::Active,
            time,
            uids: vec![1000],
        }),
        Record::Policy(PolicyActivated {
            bundle: Digest::of(b"bundle"),
            by: by.clone(),
            decided_by: None,
            governs: false,
            name: "starter".into(),
            revision: 1,
            signers: vec![key(7).public().id()],
            time,
        }),
        Record::Decided(Box::new(permit(artifact))),
        Record::Decided(Box::new(denial(artifact))),
        Record::Started(Started {
            credentials: std::collections::BTreeSet::new(),
            exec: exec(),
            gateway: gateway(),
            intent,
            pinned: None,
            time,
        }),
        Record::Signal(Signal {
            code: DenialCode::Anomaly,
            count: 3,
            detail: "connect".into(),
            ends: false,
            exec: exec(),
            intent,
            kind: None,
            time,
            trip: None,
        }),
        Record::Ended(Ended {
            cause: Some(DenialCode::Revoked),
            exec: exec(),
            exit: Some(Exit::Signal(9)),
            intent,
            outcome: RunEnd::Terminated,
            time,
            usage: Some(Usage {
                output: None,
                changes: None,
                cpu_ms: 1,
                network: None,
                rss_kib_max: 2,
                wall_ms: 3,
            }),
        }),
        refused(),
        Record::Revoked(Revoked {
            by: by.clone(),
            reason: "leaked".into(),
            selector: Selector::Subtree(exec()),
            time,
        }),
        Record::Halted(halt),
        Record::Resumed(Resumed {
            by: by.clone(),
            decided_by: None,
            node: Some(Digest::of(b"machine")),
            reason: "repaired".into(),
            time,
        }),
        Record::Erased(Erased {
            by,
            decided_by: None,
            index: Index::new(3),
            reason: "asked to".into(),
            time,
        }),
    ]
}

/// Records of the kinds that the small log has none of.
fn others() -> Vec<Record> {
    let (by, time) = (principal("user:ada"), TIME);
    vec![
        Record::Born(Born {
            count: 1,
            exec: exec(),
            intent: intent().digest().expect("an intent is JSON"),
            list: Commitment::to("born", b"[]", &salt()),
            omitted: 2,
            time,
        }),
        Record::Answered(Box::new(Answered {
            asker: by.clone(),
            asking: vec!["asking".into()],
            caller: Caller::Unix(1000),
            denial: None,
            environment: facts(exec()).environment,
            found: Some(FoundBySearch {
                at: Index::new(7),
                count: 3,
            }),
            outcome: QuestionOutcome::Permit,
            policy: placet_evidence::PolicyRef {
                bundle: Some(Digest::of(b"bundle")),
                determining: vec![],
            },
            question: Commitment::to("question", b"{}", &salt()),
            time,
        })),
        Record::Definition(DefinitionApproved {
            decided_by: None,
            by,
            digest: Digest::of(b"definition"),
            id: "files/read_file".into(),
            kind: "McpTool".into(),
            reason: "looked at it".into(),
            time,
        }),
    ]
}

fn genesis() -> Record {
    Record::Genesis(Genesis {
        domain: DomainName::parse(DOMAIN).expect("a domain's name"),
        keys: Keys {
            artifact: key(1).public(),
            log: key(3).public(),
            record: key(2).public(),
        },
        operators: Operators {
            keys: vec![key(7).public()],
            needed: 1,
        },
        time: TIME,
    })
}

fn refused() -> Record {
    Record::Refused(Refused {
        attempt: Commitment::to("attempt", b"{", &salt()),
        caller: None,
        caller_uid: 1000,
        denial: Denial::new(DenialCode::Malformed, "not JSON"),
        exec: None,
        stage: Stage::Intent,
        time: TIME,
    })
}

fn gateway() -> GatewayName {
    GatewayName::parse("process").expect("a gateway's name")
}

/// The action that [`intent`] asks for.
pub(crate) fn action() -> ActionName {
    ActionName::parse("process:run").expect("an action's name")
}
