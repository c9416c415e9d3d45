//! Authorize: an artifact counts once, unaltered, for the call that was decided. Everything else is
//! presented here too, and every refusal is recorded, as a gateway does.

use std::collections::BTreeSet;

use placet_artifact::claims::{Actor, ArtifactId, Claims, NumericDate, Thumbprint};
use placet_artifact::issue;
use placet_artifact::jws::Algorithm;
use placet_artifact::verify::Refusal;
use placet_authority::clock::Clock;
use placet_authority::keys::{self, Role};
use placet_authority::node::Connection;
use placet_authority::node::wire::{EndBody, Request, Response, SubmitBody};
use placet_enforce::Permit;
use placet_evidence::{Record, RunEnd, Stage as FailedAt};
use placet_process::attest::{self, OwnProgram};
use placet_tlog::Policy as LogPolicy;
use placet_tlog::note::{KeyName, SignatureKind, VerifierKey};
use placet_types::{
    AbsPath, Commitment, Denial, DenialCode, Digest, DomainName, ExecutionId, GatewayName, Index,
    Millis, PrincipalId, ProfileName, PublicKey, Salt, SigningKey,
};

use super::ground::Ground;
use super::presentation::{Presentation, key};
use super::report::Seen;
use super::stage::Stage;
use super::step::decided;
use crate::exit::Failure;

/// Something that is presented with one thing wrong.
struct Attack {
    what: &'static str,
    code: DenialCode,
    /// Makes the one thing wrong; has another permit at hand to take parts from.
    spoil: fn(&mut Presentation, &Bench) -> Result<(), Failure>,
}

/// Two permits that were obtained and are not used, and what else an attacker may have.
struct Bench {
    link: Connection,
    one: Presentation,
    other: Presentation,
    stolen: SigningKey,
}

/// A claim, and another value for it.
type Alteration = (&'static str, fn(&mut Claims));

const ATTACKS: &[Attack] = &[
    Attack {
        what: "altered: a wider scope",
        code: DenialCode::InvalidSignature,
        spoil: |it, _| alter(it, widen),
    },
    Attack {
        what: "altered: a day longer",
        code: DenialCode::InvalidSignature,
        spoil: |it, _| {
            alter(it, |claims| {
                claims.exp = NumericDate::new(claims.exp.get() + 86_400)
            })
        },
    },
    Attack {
        what: "altered: one character of the signature",
        code: DenialCode::InvalidSignature,
        spoil: |it, _| {
            it.artifact = with_another_signature(&it.artifact);
            Ok(())
        },
    },
    Attack {
        what: "signed anew, with a key of one's own",
        code: DenialCode::InvalidSignature,
        spoil: |it, _| {
            it.artifact = issued(&it.claims()?, &key()?)?;
            Ok(())
        },
    },
    Attack {
        what: "signed with the stolen key, never decided",
        code: DenialCode::ReceiptInvalid,
        spoil: |it, bench| {
            let mut claims = it.claims()?;
            widen(&mut claims);
            it.artifact = issued(&claims, &bench.stolen)?;
            Ok(())
        },
    },
    Attack {
        what: "with the receipt of another decision",
        code: DenialCode::ReceiptInvalid,
        spoil: |it, bench| {
            it.receipt = bench.other.receipt.clone();
            Ok(())
        },
    },
    Attack {
        what: "for another call: cat Makefile",
        code: DenialCode::IntentMismatch,
        spoil: |it, bench| {
            it.intent = bench.other.intent.clone();
            it.params.clone_from(&bench.other.params);
            it.salt = bench.other.salt.clone();
            Ok(())
        },
    },
    Attack {
        what: "for the same call with other arguments",
        code: DenialCode::IntentMismatch,
        spoil: |it, bench| {
            it.params.clone_from(&bench.other.params);
            Ok(())
        },
    },
    Attack {
        what: "at another gateway",
        code: DenialCode::AudienceMismatch,
        spoil: |it, _| {
            it.gateway = GatewayName::parse("mail").map_err(Failure::new)?;
            Ok(())
        },
    },
    Attack {
        what: "in another domain that trusts the same keys",
        code: DenialCode::WrongDomain,
        spoil: |it, _| move_to_another_domain(it),
    },
    Attack {
        what: "by somebody who has found it",
        code: DenialCode::HolderMismatch,
        spoil: |it, _| {
            it.holder = key()?;
            Ok(())
        },
    },
    Attack {
        what: "once its window is over",
        code: DenialCode::Expired,
        spoil: |it, _| {
            it.now = it.claims()?.exp.as_millis();
            Ok(())
        },
    },
    Attack {
        what: "before its window",
        code: DenialCode::NotYetValid,
        spoil: |it, _| {
            it.now = Millis::new(it.claims()?.nbf.as_millis().get().saturating_sub(1));
            Ok(())
        },
    },
    Attack {
        what: "on another machine",
        code: DenialCode::EnvironmentUntrusted,
        spoil: |it, _| {
            it.environment = Digest::of(b"another machine");
            Ok(())
        },
    },
    Attack {
        what: "under another policy bundle",
        code: DenialCode::PolicyMismatch,
        spoil: |it, _| {
            it.policy = Digest::of(b"another bundle");
            Ok(())
        },
    },
];

/// Every claim that can have another value at all, but for those above: one that reads as well.
const ALTERATIONS: &[Alteration] = &[
    ("act", |claims| {
        claims.act = Actor::chain(vec![claims.sub.clone()])
    }),
    ("aud", |claims| {
        claims.aud = other_name(&claims.aud, GatewayName::parse)
    }),
    ("cnf", |claims| claims.cnf.jkt = Thumbprint::of(&stranger())),
    ("env", |claims| claims.env = Digest::of(b"")),
    ("exec", |claims| {
        claims.exec = ExecutionId::new([7; 16]);
        claims.jti = ArtifactId::of(claims.exec);
        claims.txn = claims.exec;
    }),
    ("iat", |claims| {
        claims.iat = NumericDate::new(claims.iat.get().saturating_sub(1))
    }),
    ("intent", |claims| claims.intent = Digest::of(b"")),
    ("iss", |claims| {
        claims.iss = other_name(&claims.iss, DomainName::parse)
    }),
    ("lease", |claims| claims.lease.interval_ms += 1),
    ("nbf", |claims| {
        claims.nbf = NumericDate::new(claims.nbf.get().saturating_sub(1))
    }),
    ("params", |claims| {
        claims.params = Commitment::to("", b"", &Salt::new([0; 32]))
    }),
    ("parent", |claims| {
        claims.parent = Some(ExecutionId::new([8; 16]));
        claims.txn = ExecutionId::new([8; 16]);
    }),
    ("policy", |claims| {
        claims.policy.determining = BTreeSet::from(["anything".to_owned()])
    }),
    ("profile", |claims| {
        claims.profile = other_name(&claims.profile, ProfileName::parse);
    }),
    ("sub", |claims| {
        claims.sub = other_name(&claims.sub, PrincipalId::parse)
    }),
];

/// Presents artifacts, rightly and wrongly.
pub(super) fn are_verified(stage: &mut Stage) -> Result<(), Failure> {
    let mut bench = Bench::new(&stage.ground, &*stage.clock)?;
    is_admitted_once(stage, &mut bench)?;
    for attack in ATTACKS {
        let mut spoilt = bench.one.copy();
        (attack.spoil)(&mut spoilt, &bench)?;
        let answer = spoilt.present_at(&mut spoilt.pep()?);
        let seen = refused(stage, &mut bench, &spoilt, answer, attack.code)?;
        stage.add(attack.what, attack.code.as_str(), seen)?;
    }
    every_claim_counts(stage, &mut bench)?;
    node_admits_once(stage, &mut bench)?;
    bench.lapse()
}

/// What can be wrong with what is presented, in words, in order.
pub(super) fn attacks() -> impl Iterator<Item = &'static str> {
    ATTACKS
        .iter()
        .map(|attack| attack.what)
        .chain(["the same, a second time"])
}

/// What an enforcement point said of one attack.
pub(super) struct Attempt {
    pub(super) refusal: Option<(DenialCode, String, String)>,
    /// Where that is recorded.
    pub(super) index: Option<Index>,
}

/// Has a command decided and presents its artifact with the one thing wrong that stands at this place
/// of [`attacks`]; records what came of it, as a gateway does, and gives the permit back unused.
pub(super) fn attempt(ground: &Ground, clock: &dyn Clock, at: usize) -> Result<Attempt, Failure> {
    let mut bench = Bench::new(ground, clock)?;
    let mut spoilt = bench.one.copy();
    let answer = if let Some(attack) = ATTACKS.get(at) {
        (attack.spoil)(&mut spoilt, &bench)?;
        spoilt.present_at(&mut spoilt.pep()?)
    } else {
        let mut pep = spoilt.pep()?;
        let first = spoilt.present_at(&mut pep);
        first.and_then(|_| spoilt.present_at(&mut pep))
    };
    let attempt = match answer {
        Ok(_) => Attempt {
            refusal: None,
            index: None,
        },
        Err(refusal) => Attempt {
            index: Some(bench.record(&spoilt, &refusal)?),
            refusal: Some((
                refusal.code,
                refusal.step.to_string(),
                refusal.reason.to_string(),
            )),
        },
    };
    bench.lapse()?;
    Ok(attempt)
}

impl Bench {
    fn new(ground: &Ground, clock: &dyn Clock) -> Result<Self, Failure> {
        let domain = ground.domain()?;
        let mut link = domain.node()?;
        let one = Presentation::obtain(ground, &mut link, clock, &["cat", "README.md"])?;
        let other = Presentation::obtain(ground, &mut link, clock, &["cat", "Makefile"])?;
        let stolen = keys::load(&domain.dir, Role::Artifact).map_err(Failure::new)?;
        Ok(Self {
            link,
            one,
            other,
            stolen,
        })
    }

    /// Has a refusal recorded, as every gateway does.
    fn record(&mut self, it: &Presentation, refusal: &Refusal) -> Result<Index, Failure> {
        let request = Request::Refused {
            denial: Denial::new(refusal.code, refusal.reason.clone()),
            exec: Some(it.exec),
            presented: it.artifact.clone(),
            stage: FailedAt::Artifact,
        };
        recorded(&self.link.ask(&request)?)
    }

    /// Gives both permits back unused.
    fn lapse(mut self) -> Result<(), Failure> {
        for exec in [self.one.exec, self.other.exec] {
            let outcome = RunEnd::Lapsed;
            let end = EndBody {
                cause: None,
                exec,
                exit: None,
                outcome,
                usage: None,
            };
            recorded(&self.link.ask(&Request::End(end))?)?;
        }
        Ok(())
    }
}

/// As it was issued it is admitted, so that what is refused below is refused for what was changed.
fn is_admitted_once(stage: &mut Stage, bench: &mut Bench) -> Result<(), Failure> {
    let honest = bench.one.copy();
    let mut pep = honest.pep()?;
    let seen = match honest.present_at(&mut pep) {
        Ok(permit) => Seen::holds(format!(
            "admitted, {} left to enforce",
            permit.exec().short()
        )),
        Err(refusal) => Seen::differs(refusal.to_string()),
    };
    stage.add("an artifact, as it was issued", "admitted", seen)?;
    let again = honest.present_at(&mut pep);
    let seen = refused(stage, bench, &honest, again, DenialCode::Replayed)?;
    stage.add(
        "the same, a second time",
        DenialCode::Replayed.as_str(),
        seen,
    )
}

fn every_claim_counts(stage: &mut Stage, bench: &mut Bench) -> Result<(), Failure> {
    let code = DenialCode::InvalidSignature;
    let (mut wrong, mut last) = (Vec::new(), None);
    for (name, change) in ALTERATIONS {
        let mut spoilt = bench.one.copy();
        alter(&mut spoilt, change)?;
        let answer = spoilt.present_at(&mut spoilt.pep()?);
        let seen = refused(stage, bench, &spoilt, answer, code)?;
        last = seen.index;
        wrong.extend((!seen.holds).then(|| format!("{name}: {}", seen.observed)));
    }
    let count = ALTERATIONS.len();
    let seen = if wrong.is_empty() {
        Seen::holds(format!("{code}, {count} times"))
    } else {
        Seen::differs(wrong.join(", "))
    };
    let what = format!("altered: {count} other claims, one at a time");
    stage.add(&what, code.as_str(), seen.at(last))
}

/// The log is what makes an artifact count once, whatever a gateway remembers.
fn node_admits_once(stage: &mut Stage, bench: &mut Bench) -> Result<(), Failure> {
    let records = stage.ground.records(Index::default())?;
    let mut decided = decided(&records);
    let used = decided.find_map(|(_, decided)| Some((decided.facts.exec, decided.artifact?)));
    let (exec, artifact) = used.ok_or_else(|| Failure::new("nothing was permitted so far"))?;
    let again = start(bench, exec, artifact)?;
    let seen = answered(&again, DenialCode::Replayed);
    stage.add(
        "a used artifact, started again at the node",
        DenialCode::Replayed.as_str(),
        seen,
    )?;
    let mixed = start(bench, bench.one.exec, artifact)?;
    let seen = answered(&mixed, DenialCode::IntentMismatch);
    stage.add(
        "a permit, started with another's artifact",
        DenialCode::IntentMismatch.as_str(),
        seen,
    )?;
    let nonsense = submit_nonsense(bench)?;
    let seen = answered(&nonsense, DenialCode::Malformed);
    stage.add(
        "an intent that does not parse",
        DenialCode::Malformed.as_str(),
        seen,
    )
}

fn start(bench: &mut Bench, exec: ExecutionId, artifact: Digest) -> Result<Response, Failure> {
    let gateway = bench.one.gateway.clone();
    Ok(bench.link.ask(&Request::Start {
        takes_secrets: false,
        artifact,
        exec,
        gateway,
        pinned: None,
    })?)
}

fn submit_nonsense(bench: &mut Bench) -> Result<Response, Failure> {
    let body = SubmitBody {
        bearer: None,
        attestation: None,
        door: None,
        environment: attest::environment(&bench.link.welcome().domain, OwnProgram::Unmeasured)
            .map_err(Failure::new)?,
        holder: bench.one.holder.public(),
        intent: "{\"action\":\"process:run\",\"action\":\"process:run\"}".to_owned(),
        params: "{}".to_owned(),
        salt: bench.one.salt.clone(),
    };
    Ok(bench.link.ask(&Request::Submit(Box::new(body)))?)
}

/// Compares what an enforcement point said with what it had to say, and finds the record of it.
fn refused(
    stage: &Stage,
    bench: &mut Bench,
    it: &Presentation,
    answer: Result<Permit, Refusal>,
    code: DenialCode,
) -> Result<Seen, Failure> {
    let Err(refusal) = answer else {
        return Ok(Seen::differs("admitted"));
    };
    let index = bench.record(it, &refusal)?;
    let recorded = stage.ground.records(index)?.into_iter().next().is_some_and(|(_, record)| {
        matches!(record, Record::Refused(refused) if refused.denial.code == refusal.code)
    });
    let observed = format!("{} at step {}", refusal.code, refusal.step);
    let seen = match (refusal.code == code, recorded) {
        (true, true) => Seen::holds(observed),
        (_, false) => Seen::differs(format!("{observed}, not recorded")),
        (false, true) => Seen::differs(observed),
    };
    Ok(seen.at(index))
}

/// Compares what the node said with what it had to say.
fn answered(response: &Response, code: DenialCode) -> Seen {
    let Response::Denied { denial, index, .. } = response else {
        return Seen::differs(unfit(response).message);
    };
    let observed = denial.code.as_str();
    let seen = if denial.code == code {
        Seen::holds(observed)
    } else {
        Seen::differs(observed)
    };
    seen.at(*index)
}

fn recorded(response: &Response) -> Result<Index, Failure> {
    let Response::Recorded { index } = response else {
        return Err(unfit(response));
    };
    Ok(*index)
}

fn unfit(response: &Response) -> Failure {
    if let Response::Error(denial) = response {
        Failure::new(denial)
    } else {
        Failure::unverified("the node gave an answer that does not fit")
    }
}

fn alter(it: &mut Presentation, change: impl Fn(&mut Claims)) -> Result<(), Failure> {
    let mut claims = it.claims()?;
    change(&mut claims);
    it.replace_claims(&claims)
}

/// The whole file system, to read and to write.
fn widen(claims: &mut Claims) {
    let [detail] = &mut claims.authorization_details;
    let Ok(root) = AbsPath::parse("/") else {
        return;
    };
    let wider = detail.scope.changed(|scope| {
        scope.read.insert(root.clone());
        scope.write.insert(root);
    });
    if let Ok(wider) = wider {
        detail.scope = wider;
    }
}

fn with_another_signature(artifact: &str) -> String {
    // The first character of the signature: its last one has bits that do not count.
    match artifact.rsplit_once('.') {
        Some((input, signature)) => {
            let other = if signature.starts_with('A') { 'B' } else { 'A' };
            let rest: String = signature.chars().skip(1).collect();
            format!("{input}.{other}{rest}")
        }
        None => artifact.to_owned(),
    }
}

fn issued(claims: &Claims, key: &SigningKey) -> Result<String, Failure> {
    let artifact = issue(claims, key, Algorithm::EdDsa).map_err(Failure::new)?;
    Ok(artifact.as_str().to_owned())
}

/// Pins the keys of this domain under the name of another.
fn move_to_another_domain(it: &mut Presentation) -> Result<(), Failure> {
    let name = "elsewhere.example/domain";
    let log = it
        .pins
        .log
        .logs()
        .first()
        .ok_or_else(|| Failure::new("the policy names no log"))?;
    let origin = KeyName::parse(name).map_err(Failure::new)?;
    let key = VerifierKey::new(origin, SignatureKind::Ed25519, *log.key().public_key());
    it.pins.log = LogPolicy::builder()
        .log(key, None)
        .and_then(placet_tlog::policy::PolicyBuilder::no_quorum)
        .and_then(placet_tlog::policy::PolicyBuilder::build)
        .map_err(Failure::new)?;
    it.pins.domain = DomainName::parse(name).map_err(Failure::new)?;
    Ok(())
}

fn stranger() -> PublicKey {
    SigningKey::from_seed(&zeroize::Zeroizing::new([7; 32])).public()
}

/// A name that reads like this one and is another.
fn other_name<T: Clone + std::fmt::Display, E>(name: &T, parse: fn(&str) -> Result<T, E>) -> T {
    parse(&format!("{name}x")).unwrap_or_else(|_| name.clone())
}
