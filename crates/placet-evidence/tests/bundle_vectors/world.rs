//! A small domain with known keys: its records, its log with one witness, and bundles of them.

use std::collections::BTreeSet;

use placet_artifact::claims::{
    ArtifactId, Confirmation, Detail, DetailKind, Lease, NumericDate, PolicyRef as ClaimedPolicy,
};
use placet_artifact::jws::Algorithm;
use placet_artifact::{Claims, Envelope};
use placet_evidence::proof_bundle::FORMAT;
use placet_evidence::*;
use placet_tlog::{
    BatchTree, Checkpoint, CosignTime, Cosigner, Frontier, Hash, KeyName, LogProof, NoteSigner,
};
use placet_types::canonical;
use placet_types::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub(crate) const DOMAIN: &str = "placet.example/bundle";
/// Seeds of the keys, by role. They are in the published vectors, and guard nothing.
pub(crate) const ARTIFACT: u8 = 1;
pub(crate) const RECORD: u8 = 2;
pub(crate) const LOG: u8 = 3;
const WITNESS: u8 = 4;
pub(crate) const HOLDER: u8 = 5;
pub(crate) const STRANGER: u8 = 6;
pub(crate) const NBF: u64 = 1_800_000_000;
const PARAMS: &str = r#"{"argv":["git","status"]}"#;
pub(crate) const EXEC: ExecutionId = ExecutionId::new([0xe1; 16]);

pub(crate) fn seeds() -> Value {
    json!({
        "artifact": ARTIFACT, "holder": HOLDER, "log": LOG, "record": RECORD, "stranger": STRANGER,
        "witness": WITNESS,
    })
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn log_signer(seed: u8) -> NoteSigner {
    NoteSigner::new(KeyName::parse(DOMAIN).unwrap(), key(seed))
}

fn witness() -> Cosigner {
    let name = KeyName::parse("witness.example/w1").unwrap();
    Cosigner::new(name, key(WITNESS))
}

/// What is said before anything is signed.
pub(crate) struct World {
    pub(crate) genesis: Value,
    pub(crate) claims: Claims,
    pub(crate) permit: Value,
    pub(crate) denial: Value,
    pub(crate) deferral: Value,
    pub(crate) started: Value,
    pub(crate) ended: Value,
    pub(crate) attested: Value,
}

/// A permit with everything, the same without what need not be disclosed, a denial, a deferral, an end.
pub(crate) const PERMIT: usize = 0;
pub(crate) const DENIAL: usize = 2;
pub(crate) const DEFERRAL: usize = 3;
pub(crate) const END: usize = 4;
/// A denial to a gateway that attested.
pub(crate) const ATTESTED: usize = 5;

impl World {
    pub(crate) fn new() -> Self {
        let genesis = Genesis {
            domain: DomainName::parse(DOMAIN).unwrap(),
            keys: Keys {
                artifact: key(ARTIFACT).public(),
                log: key(LOG).public(),
                record: key(RECORD).public(),
            },
            operators: Operators {
                keys: vec![key(STRANGER).public()],
                needed: 1,
            },
            time: Millis::new(NBF * 1000),
        };
        let decided = decided();
        let intent = decided.intent.digest();
        let claims = claims(&decided);
        let permit = Decided {
            artifact: Some(artifact_digest(&issue(&claims, ARTIFACT))),
            ..decided.clone()
        };
        let (grant, artifact) = (None, None);
        let denial = Decided {
            denial: Some(CheckedDenial {
                check: 8,
                code: DenialCode::PolicyForbids,
                reason: "a policy forbids it".into(),
            }),
            outcome: Outcome::Deny,
            grant: grant.clone(),
            artifact,
            ..decided.clone()
        };
        let attested = attested(&denial);
        let deferral = Decided {
            outcome: Outcome::Defer,
            waits: Some(Waiting {
                needs: vec![Needed {
                    count: 1,
                    groups: vec!["leads".into()],
                }],
                until: Millis::new(NBF * 1000 + 60_000),
            }),
            grant,
            ..decided
        };
        let time = Millis::new(NBF * 1000 + 20);
        let started = json!({ "exec": EXEC, "gateway": "process", "intent": intent, "time": time });
        let ended = json!({
            "exec": EXEC, "exit": { "code": 0 }, "intent": intent, "outcome": "completed",
            "time": time,
        });
        let value = |record: &Decided| serde_json::to_value(record).unwrap();
        Self {
            genesis: serde_json::to_value(&genesis).unwrap(),
            claims,
            permit: value(&permit),
            denial: value(&denial),
            deferral: value(&deferral),
            attested: value(&attested),
            started,
            ended,
        }
    }

    pub(crate) fn genesis_entry(&self) -> String {
        entry("genesis", &self.genesis, RECORD)
    }

    /// The policy files: the domain's, one with another log, and some that trust nothing.
    pub(crate) fn policies(&self) -> Vec<String> {
        let witness = witness().verifier_key().to_string();
        let policy = |seed| {
            let log = log_signer(seed).verifier_key().to_string();
            format!("log {log}\nwitness w1 {witness}\nquorum w1\n")
        };
        let both = format!(
            "log {}\n{}",
            log_signer(STRANGER).verifier_key(),
            policy(LOG)
        );
        vec![
            policy(LOG),
            policy(STRANGER),
            both,
            "quorum none\n".into(),
            "log nonsense\n".into(),
            String::new(),
        ]
    }

    pub(crate) fn bundles(&self) -> Vec<Value> {
        let artifact = issue(&self.claims, ARTIFACT);
        let proven = |kind: &str, predicate: &Value| {
            let entries = [
                self.genesis_entry(),
                entry(kind, predicate, RECORD),
                entry("started", &self.started, RECORD),
                entry("ended", &self.ended, RECORD),
            ];
            log(&entries)
        };
        let bundle = |kind: &str, predicate: &Value| {
            let [genesis, record, started, ended] = proven(kind, predicate);
            let whole = json!({
                "format": FORMAT, "genesis": genesis, "policy": self.policies()[0], "record": record,
            });
            (whole, started, ended)
        };
        let (bare, started, ended) = bundle("decided", &self.permit);
        let mut permit = bare.clone();
        permit["artifact"] = json!(artifact);
        permit["disclosed"] = json!({ "params": PARAMS, "salt": salt() });
        permit["related"] = json!([started, ended]);
        vec![
            permit,
            bare,
            bundle("decided", &self.denial).0,
            bundle("decided", &self.deferral).0,
            bundle("ended", &self.ended).0,
            bundle("decided", &self.attested).0,
        ]
    }
}

/// An entry of the log, made without the code that reads it.
pub(crate) fn entry(kind: &str, predicate: &Value, seed: u8) -> String {
    let bytes = canonical_bytes;
    let subject = match kind {
        "decided" => json!({
            "digest": { "sha256": Digest::of(&bytes(&predicate["intent"])).hex() },
            "name": predicate["facts"]["exec"],
        }),
        "approval" | "born" | "connections" | "ended" | "signal" | "started" => json!({
            "digest": { "sha256": predicate["intent"].as_str().unwrap_or_default().trim_start_matches("sha256:") },
            "name": predicate["exec"],
        }),
        _ => json!({ "digest": { "sha256": Digest::of(&bytes(predicate)).hex() }, "name": kind }),
    };
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicate": predicate,
        "predicateType": format!("urn:placet:evidence:{kind}:v1"), "subject": [subject],
    });
    sealed(&statement, seed)
}

/// A statement in an envelope, whatever it says.
pub(crate) fn sealed(statement: &Value, seed: u8) -> String {
    let payload = canonical_bytes(statement);
    let envelope = Envelope::sign("application/vnd.in-toto+json", payload, &key(seed)).unwrap();
    String::from_utf8(envelope.encode()).unwrap()
}

fn canonical_bytes(value: &Value) -> Vec<u8> {
    let bounds = canonical::Bounds {
        bytes_max: 1 << 16,
        depth_max: 32,
    };
    let (_, bytes): (Value, _) =
        canonical::canonicalize(value.to_string().as_bytes(), bounds).unwrap();
    bytes
}

/// A log with these entries first, and each of them with its proof.
pub(crate) fn log<const N: usize>(entries: &[String; N]) -> [Value; N] {
    log_by(entries, LOG)
}

/// The same, its checkpoint signed by this key.
pub(crate) fn log_by<const N: usize>(entries: &[String; N], seed: u8) -> [Value; N] {
    let mut leaves: Vec<Hash> = entries
        .iter()
        .map(|entry| Hash::leaf(entry.as_bytes()))
        .collect();
    leaves.extend((0..5_u8).map(|i| Hash::leaf(&[b'x', i])));
    let tree = BatchTree::new(&Frontier::new(), leaves).unwrap();
    let origin = KeyName::parse(DOMAIN).unwrap();
    let checkpoint = Checkpoint::new(origin, tree.size(), tree.root()).unwrap();
    let signed = checkpoint.sign(&log_signer(seed)).unwrap();
    let signed = signed
        .with_cosignature(&witness(), CosignTime::new(NBF).unwrap())
        .unwrap();
    std::array::from_fn(|at| {
        let index = u64::try_from(at).unwrap();
        let path = tree.prove_inclusion(index).unwrap();
        let proof = LogProof::new(index, path, signed.clone()).to_string();
        json!({ "entry": entries[at], "proof": proof })
    })
}

pub(crate) fn issue(claims: &Claims, seed: u8) -> String {
    placet_artifact::issue(claims, &key(seed), Algorithm::EdDsa)
        .unwrap()
        .to_string()
}

/// The digest by which a decision names its artifact.
pub(crate) fn artifact_digest(artifact: &str) -> Digest {
    Digest::of(artifact.rsplit_once('.').unwrap().0.as_bytes())
}

fn salt() -> Salt {
    Salt::new([7; 32])
}

fn scope() -> Scope {
    let paths =
        |texts: &[&str]| PathSet::new(texts.iter().map(|text| AbsPath::parse(text).unwrap()));
    Scope {
        credentials: Credentials::default(),
        env: BTreeSet::from(["LANG".to_owned()]),
        exec: paths(&["/usr/bin"]),
        redact: std::collections::BTreeSet::new(),
        egress: placet_types::Egress::default(),
        exec_check: ExecCheck::default(),
        writes: Writes::default(),
        exec_digests: placet_types::Images::Any,
        exec_in_writable: false,
        limits: Limits {
            cpu_secs: 60,
            file_size_bytes: 1 << 30,
            memory_bytes: 1 << 31,
            open_files: 256,
            processes: 64,
            tmp_bytes: 1 << 28,
            tree_cpu_percent: None,
            tree_memory_bytes: None,
            wall_secs: 120,
        },
        network: Network::None,
        pinned: BTreeSet::new(),
        read: paths(&["/usr", "/w"]),
        sockets: BTreeSet::new(),
        tier: Tier::default(),
        trips: Trips::none(),
        write: paths(&["/w"]),
    }
}

/// The same denial, with everything that an attesting gateway says, for somebody who has shown it an access token.
fn attested(denial: &Decided) -> Decided {
    let environment = denial.facts.environment.changed(|it| {
        it.container = Some(Digest::of(b"image"));
        it.gateway_digest = Some(Digest::of(b"gateway"));
        it.region = Some(PlaceName::parse("eu-central-1").unwrap());
        it.zone = Some(PlaceName::parse("eu-central-1b").unwrap());
    });
    let environment = environment.unwrap();
    let time = denial.facts.time;
    let statement = AttestationStatement {
        backing: Backing::SelfReported,
        domain: DomainName::parse(DOMAIN).unwrap(),
        environment: environment.clone(),
        issued: time,
        nonce: Nonce::new(time, [1; 16], [2; 16]),
    };
    Decided {
        appraisal: Some(Appraisal {
            affirming: [Claim::Tier, Claim::Landlock].into(),
            age_secs: Some(0),
            contraindicated: BTreeSet::new(),
            status: AppraisalStatus::Warning,
            warning: [Claim::Kernel].into(),
        }),
        facts: Facts {
            attestation: Some(statement.sign(&key(HOLDER)).unwrap()),
            bearer: Some(Box::new(TokenIdentity {
                claims: [("groups".into(), ["dev".into(), "ops".into()].into())].into(),
                issuer: "https://idp.example".into(),
                subject: "alice".into(),
            })),
            environment,
            ..denial.facts.clone()
        },
        ..denial.clone()
    }
}

/// A permit, but for its artifact.
fn decided() -> Decided {
    let time = Millis::new(NBF * 1000);
    let environment = Environment {
        container: None,
        gateway_digest: None,
        region: None,
        zone: None,
        arch: "x86_64".into(),
        boot: "b".into(),
        distribution: "debian 13".into(),
        gateway: "0.1.0".into(),
        kernel: "6.18".into(),
        landlock_abi: 7,
        machine: Digest::of(b"machine"),
        tier: Some(Tier::U1),
        weaker: BTreeSet::new(),
    };
    let intent = Intent {
        action: ActionName::parse("process:run").unwrap(),
        asked: Asked::default(),
        gateway: GatewayName::parse("process").unwrap(),
        params: Commitment::to("process:run", PARAMS.as_bytes(), &salt()),
        parent: None,
        principal: PrincipalId::parse("agent:coder").unwrap(),
        resource: ResourceRef {
            digest: Some(Digest::of(b"git")),
            id: "/usr/bin/git".into(),
            kind: "Program".into(),
        },
    };
    Decided {
        appraisal: None,
        artifact: None,
        denial: None,
        facts: Facts {
            attestation: None,
            bearer: None,
            caller: Caller::Unix(1000),
            environment: Fixed::new(environment).unwrap(),
            exec: EXEC,
            holder: Thumbprint::of(&key(HOLDER).public()).to_string(),
            time,
        },
        grant: Some(Grant {
            approved_by: vec![PrincipalId::parse("user:lead").unwrap()],
            delegation: vec![PrincipalId::parse("user:alice").unwrap()],
            depth: 0,
            lease_ms: 2000,
            not_after: Millis::new((NBF + 300) * 1000),
            not_before: time,
            profile: ProfileName::parse("workspace").unwrap(),
            rerouted: vec![ProfileName::parse("workspace").unwrap()],
            root: EXEC,
            scope: Digest::of(&canonical::to_bytes(&scope()).unwrap()),
            staleness_ms: 5000,
        }),
        intent: Fixed::new(intent).unwrap(),
        outcome: Outcome::Permit,
        policy: PolicyRef {
            bundle: Some(Digest::of(b"bundle")),
            determining: vec!["allow-git".into()],
        },
        risk: Risk {
            factors: vec!["new resource".into()],
            score: 12,
        },
        waits: None,
    }
}

fn claims(decided: &Decided) -> Claims {
    let intent = &decided.intent;
    Claims {
        act: placet_artifact::claims::Actor::chain(vec![intent.principal.clone()]),
        aud: intent.gateway.clone(),
        authorization_details: [Detail {
            action: intent.action.clone(),
            resource: intent.resource.clone(),
            scope: FixedScope::new(scope()).unwrap(),
            kind: DetailKind::Execution,
        }],
        cnf: Confirmation {
            jkt: Thumbprint::of(&key(HOLDER).public()),
        },
        env: decided.facts.environment.digest(),
        exec: EXEC,
        exp: NumericDate::new(NBF + 300),
        iat: NumericDate::new(NBF),
        intent: intent.digest(),
        iss: DomainName::parse(DOMAIN).unwrap(),
        jti: ArtifactId::of(EXEC),
        lease: Lease {
            interval_ms: 2000,
            staleness_ms: 5000,
        },
        nbf: NumericDate::new(NBF),
        params: intent.params,
        parent: None,
        policy: ClaimedPolicy {
            bundle: Digest::of(b"bundle"),
            determining: BTreeSet::from(["allow-git".to_owned()]),
        },
        profile: ProfileName::parse("workspace").unwrap(),
        rerouted: BTreeSet::from([ProfileName::parse("workspace").unwrap()]),
        sub: PrincipalId::parse("user:alice").unwrap(),
        txn: EXEC,
        uses: 1,
    }
}
