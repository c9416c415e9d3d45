//! A small domain for the integration tests: keys, a log with one witness, one good call.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a broken fixture should stop the test"
)]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses its own part of the fixture, so no expectation holds for all"
)]

use std::collections::BTreeSet;

use placet_artifact::claims::{
    ArtifactId, Confirmation, Detail, DetailKind, Lease, NumericDate, PolicyRef, Thumbprint,
};
use placet_artifact::jws::Algorithm;
use placet_artifact::receipt::{DECIDED, PERMIT, STATEMENT_MEDIA_TYPE, STATEMENT_TYPE};
use placet_artifact::replay::ReplayError;
use placet_artifact::verify::{ActualParams, Skew, Standing};
use placet_artifact::{
    Claims, Envelope, Expected, Holder, HolderProof, MemoryGuard, Pins, Presented, Receipt,
    Refusal, ReplayGuard, Verified, Verifier,
};
use placet_tlog::{
    BatchTree, Checkpoint, CosignTime, Cosigner, Frontier, Hash, KeyName, LogProof, NoteSigner,
    Policy, SignedCheckpoint,
};
use placet_types::canonical::Json;
use placet_types::{
    AbsPath, ActionName, Asked, Commitment, Digest, DomainName, ExecCheck, ExecutionId, FixedScope,
    GatewayName, Index, Intent, Limits, Millis, Network, PathSet, PrincipalId, ProfileName,
    ResourceRef, Salt, Scope, Seconds, SigningKey, Tier, Writes,
};
use zeroize::Zeroizing;

pub(crate) mod alter;
pub(crate) mod cases;

pub(crate) const DOMAIN: &str = "placet.example/test";
pub(crate) const NBF: u64 = 1_800_000_000;
pub(crate) const EXP: u64 = NBF + 300;

/// Seeds of the fixture's keys, by role. They are in the published vectors, and guard nothing.
pub(crate) const ARTIFACT_SEED: u8 = 1;
pub(crate) const RECORD_SEED: u8 = 2;
pub(crate) const LOG_SEED: u8 = 3;
pub(crate) const WITNESS_SEED: u8 = 4;
pub(crate) const HOLDER_SEED: u8 = 5;
pub(crate) const ATTACKER_SEED: u8 = 6;

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

pub(crate) fn log_signer() -> NoteSigner {
    NoteSigner::new(KeyName::parse(DOMAIN).unwrap(), key(LOG_SEED))
}

pub(crate) fn witness() -> Cosigner {
    Cosigner::new(
        KeyName::parse("witness.example/w1").unwrap(),
        key(WITNESS_SEED),
    )
}

pub(crate) fn log_policy() -> Policy {
    Policy::builder()
        .log(log_signer().verifier_key().clone(), None)
        .and_then(|it| it.witness("w1", witness().verifier_key().clone(), None))
        .and_then(|it| it.quorum("w1"))
        .and_then(placet_tlog::policy::PolicyBuilder::build)
        .unwrap()
}

pub(crate) fn verifier() -> Verifier {
    Verifier::new(Pins {
        domain: DomainName::parse(DOMAIN).unwrap(),
        artifact_key: key(ARTIFACT_SEED).public(),
        record_key: key(RECORD_SEED).public(),
        log: log_policy(),
    })
    .unwrap()
}

pub(crate) fn paths(texts: &[&str]) -> PathSet {
    PathSet::new(texts.iter().map(|text| AbsPath::parse(text).unwrap()))
}

pub(crate) fn scope() -> Scope {
    Scope {
        credentials: placet_types::Credentials::default(),
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
        sockets: std::collections::BTreeSet::new(),
        tier: Tier::default(),
        trips: placet_types::Trips::none(),
        write: paths(&["/w"]),
    }
}

pub(crate) const PAYLOAD: &[u8] = br#"{"argv":["git","status"]}"#;

pub(crate) fn salt() -> Salt {
    Salt::new([7; 32])
}

pub(crate) fn intent() -> Intent {
    Intent {
        action: ActionName::parse("process:run").unwrap(),
        asked: Asked::default(),
        gateway: GatewayName::parse("process").unwrap(),
        params: Commitment::to("process:run", PAYLOAD, &salt()),
        parent: None,
        principal: PrincipalId::parse("agent:coder").unwrap(),
        resource: ResourceRef {
            digest: Some(Digest::of(b"git")),
            id: "/usr/bin/git".into(),
            kind: "Program".into(),
        },
    }
}

/// The claims that a domain issues for [`intent`].
pub(crate) fn claims() -> Claims {
    let (intent, exec) = (intent(), ExecutionId::new([0xe1; 16]));
    Claims {
        act: None,
        aud: intent.gateway.clone(),
        authorization_details: [Detail {
            action: intent.action.clone(),
            resource: intent.resource.clone(),
            scope: FixedScope::new(scope()).unwrap(),
            kind: DetailKind::Execution,
        }],
        cnf: Confirmation {
            jkt: Thumbprint::of(&key(HOLDER_SEED).public()),
        },
        env: Digest::of(b"environment"),
        exec,
        exp: NumericDate::new(EXP),
        iat: NumericDate::new(NBF),
        intent: intent.digest().unwrap(),
        iss: DomainName::parse(DOMAIN).unwrap(),
        jti: ArtifactId::of(exec),
        lease: Lease {
            interval_ms: 5000,
            staleness_ms: 15_000,
        },
        nbf: NumericDate::new(NBF),
        params: intent.params,
        parent: None,
        policy: PolicyRef {
            bundle: Digest::of(b"bundle"),
            determining: BTreeSet::from(["allow-git".to_owned()]),
        },
        profile: ProfileName::parse("workspace").unwrap(),
        rerouted: BTreeSet::new(),
        sub: intent.principal.clone(),
        txn: exec,
        uses: 1,
    }
}

pub(crate) fn issue(claims: &Claims) -> String {
    placet_artifact::issue(claims, &key(ARTIFACT_SEED), Algorithm::EdDsa)
        .unwrap()
        .to_string()
}

pub(crate) fn issued() -> String {
    issue(&claims())
}

pub(crate) fn digest_of(artifact: &str) -> Digest {
    // An outsider's way: what is signed stands before the last dot.
    let signed = artifact
        .rsplit_once('.')
        .map_or(artifact, |(signed, _)| signed);
    Digest::of(signed.as_bytes())
}

/// The members of a `decided` record that tie it to an artifact, and one that does not.
pub(crate) struct Record {
    pub(crate) statement_type: String,
    pub(crate) predicate_type: String,
    pub(crate) outcome: String,
    pub(crate) artifact: String,
}

impl Record {
    pub(crate) fn of(artifact: &str) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.into(),
            predicate_type: DECIDED.into(),
            outcome: PERMIT.into(),
            artifact: digest_of(artifact).to_string(),
        }
    }

    pub(crate) fn statement(&self) -> Vec<u8> {
        let text = |text: &str| Json::String(text.into());
        let object = |members: Vec<(&str, Json)>| {
            Json::Object(
                members
                    .into_iter()
                    .map(|(name, it)| (name.into(), it))
                    .collect(),
            )
        };
        let predicate = object(vec![
            ("artifact", text(&self.artifact)),
            ("execution", text(&claims().exec.to_string())),
            ("outcome", text(&self.outcome)),
        ]);
        let subject = object(vec![
            (
                "digest",
                object(vec![("sha256", text(&claims().intent.hex()))]),
            ),
            ("name", text("intent")),
        ]);
        object(vec![
            ("_type", text(&self.statement_type)),
            ("predicate", predicate),
            ("predicateType", text(&self.predicate_type)),
            ("subject", Json::Array(vec![subject])),
        ])
        .to_canonical()
    }

    pub(crate) fn entry(&self) -> Vec<u8> {
        envelope(STATEMENT_MEDIA_TYPE, self.statement(), RECORD_SEED)
    }
}

pub(crate) fn envelope(payload_type: &str, payload: Vec<u8>, seed: u8) -> Vec<u8> {
    Envelope::sign(payload_type, payload, &key(seed))
        .unwrap()
        .encode()
}

/// A log with these entries among others, and the receipt of each.
pub(crate) fn log(entries: Vec<Vec<u8>>) -> Vec<Receipt> {
    receipts_under(entries, &|checkpoint| {
        let signed = checkpoint.sign(&log_signer()).unwrap();
        signed
            .with_cosignature(&witness(), CosignTime::new(NBF).unwrap())
            .unwrap()
    })
}

/// As [`log`], with a checkpoint signed as the caller likes.
pub(crate) fn receipts_under(
    mut entries: Vec<Vec<u8>>,
    sign: &dyn Fn(Checkpoint) -> SignedCheckpoint,
) -> Vec<Receipt> {
    let wanted = entries.len();
    entries.extend((0..5_u8).map(|i| vec![b'x', i]));
    let leaves = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let tree = BatchTree::new(&Frontier::new(), leaves).unwrap();
    let origin = KeyName::parse(DOMAIN).unwrap();
    let signed = sign(Checkpoint::new(origin, tree.size(), tree.root()).unwrap());
    (0..wanted)
        .map(|at| {
            let index = u64::try_from(at).unwrap();
            let path = tree.prove_inclusion(index).unwrap();
            let proof = LogProof::new(index, path, signed.clone())
                .to_string()
                .into_bytes();
            Receipt {
                entry: entries[at].clone(),
                proof,
            }
        })
        .collect()
}

/// The receipt of one artifact in a log of its own.
pub(crate) fn receipt_for(artifact: &str) -> Receipt {
    log(vec![Record::of(artifact).entry()]).remove(0)
}

/// What the gateway knows, owned, so that a test can change any part of it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) gateway: GatewayName,
    pub(crate) intent: Intent,
    pub(crate) payload: Vec<u8>,
    pub(crate) salt: Salt,
    pub(crate) environment: Digest,
    pub(crate) policy: Digest,
    pub(crate) standing: Standing,
    pub(crate) challenge: Vec<u8>,
    pub(crate) now: Millis,
    pub(crate) skew: Seconds,
    pub(crate) used_before: bool,
}

/// The call that [`claims`] authorize.
pub(crate) fn call() -> Call {
    Call {
        gateway: GatewayName::parse("process").unwrap(),
        intent: intent(),
        payload: PAYLOAD.to_vec(),
        salt: salt(),
        environment: Digest::of(b"environment"),
        policy: Digest::of(b"bundle"),
        standing: Standing::Live,
        challenge: b"challenge of this presentation".to_vec(),
        now: Millis::new(NBF * 1000),
        skew: Seconds::new(0),
        used_before: false,
    }
}

pub(crate) fn hold(artifact: &str, call: &Call) -> HolderProof {
    HolderProof::make(&key(HOLDER_SEED), &digest_of(artifact), &call.challenge)
}

/// A guard that remembers one artifact as used, whichever it is.
struct AlreadyUsed;

impl ReplayGuard for AlreadyUsed {
    fn use_up(&mut self, _: (ArtifactId, Index), _: Millis, _: Millis) -> Result<(), ReplayError> {
        Err(ReplayError::Replayed)
    }
}

impl Call {
    pub(crate) fn verify(
        &self,
        verifier: &Verifier,
        artifact: &str,
        receipt: &Receipt,
        holder: &HolderProof,
    ) -> Result<Verified, Refusal> {
        let mut fresh = MemoryGuard::new(8);
        let guard: &mut dyn ReplayGuard = if self.used_before {
            &mut AlreadyUsed
        } else {
            &mut fresh
        };
        self.verify_with(verifier, artifact, receipt, holder, guard)
    }

    pub(crate) fn verify_with(
        &self,
        verifier: &Verifier,
        artifact: &str,
        receipt: &Receipt,
        holder: &HolderProof,
        guard: &mut dyn ReplayGuard,
    ) -> Result<Verified, Refusal> {
        let standing = |_: &Claims| self.standing;
        let expected = Expected {
            gateway: &self.gateway,
            intent: &self.intent,
            params: ActualParams::Opening {
                payload: &self.payload,
                salt: &self.salt,
            },
            environment: &self.environment,
            policy: &self.policy,
            revocations: &standing,
            challenge: &self.challenge,
            now: self.now,
            skew: Skew::at_most(self.skew),
        };
        verifier.verify(
            &Presented {
                artifact,
                receipt,
                holder: Holder::Proven(holder),
            },
            &expected,
            guard,
        )
    }
}
