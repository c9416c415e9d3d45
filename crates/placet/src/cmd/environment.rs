//! `placet environment`: what this machine attests, and how the bundle in force appraises it.

use placet_authority::node::wire::{AppraiseBody, Request, Response};
use placet_evidence::{
    Appraisal, AppraisalStatus, AttestationStatement, Backing, Claim, Environment,
};
use placet_process::attest::{self, OwnProgram};
use placet_types::{SigningKey, tier};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::Global;
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, GOOD, Out, WARN, paint};
use crate::show;

/// Attests as a gateway does, with a key that is used for nothing else, and asks the node what it makes of it.
pub(crate) fn environment(global: &Global, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let memory = domain.dir.digests();
    let environment = attest::environment(&domain.name, OwnProgram::Measured(&memory));
    let environment = environment.map_err(Failure::new)?;
    let mut link = domain.node()?;
    let now = clock().wall();
    let statement = AttestationStatement {
        backing: Backing::SelfReported,
        domain: domain.name.clone(),
        environment: environment.clone(),
        issued: now,
        nonce: link.nonce(now)?,
    };
    let body = AppraiseBody {
        attestation: Some(statement.sign(&key()?).map_err(Failure::new)?),
        environment: environment.clone(),
    };
    let appraised = match link.ask(&Request::Appraise(Box::new(body)))? {
        Response::Appraised(appraised) => appraised,
        Response::Error(denial) => return Err(denial.into()),
        _ => {
            return Err(Failure::unverified(
                "the node gave an answer that does not fit",
            ));
        }
    };
    out.value(&json!({ "environment": environment, "appraised": appraised }));
    let appraisal = &appraised.appraisal;
    out.line(format!(
        "appraised as {}, attested {} s ago; {} s count",
        status(appraisal.status),
        appraisal.age_secs.unwrap_or_default(),
        appraised.age_max_secs
    ));
    for (claim, value) in claims(&environment) {
        let name = claim.in_words();
        out.line(format!(
            "  {name:<16} {}  {}",
            verdict(appraisal, claim),
            show::shown(&value)
        ));
    }
    for reason in &appraised.reasons {
        out.line(format!(
            "{} {}",
            paint(BAD, "not trusted:"),
            show::shown(reason)
        ));
    }
    Ok(if appraised.trusted {
        Status::Ok
    } else {
        Status::Unverified
    })
}

fn key() -> Result<SigningKey, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(Failure::new)?;
    Ok(SigningKey::from_seed(&seed))
}

fn claims(it: &Environment) -> [(Claim, String); 11] {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "(not configured)".to_owned());
    let digest = |it: Option<placet_types::Digest>| it.map(|it| it.to_string());
    [
        (Claim::Tier, tier::name(it.tier).to_owned()),
        (Claim::Kernel, it.kernel.clone()),
        (Claim::Landlock, it.landlock_abi.to_string()),
        (Claim::Architecture, it.arch.clone()),
        (Claim::Distribution, it.distribution.clone()),
        (Claim::GatewayVersion, it.gateway.clone()),
        (Claim::Gateway, or_none(digest(it.gateway_digest))),
        (Claim::Machine, it.machine.to_string()),
        (Claim::Container, or_none(digest(it.container))),
        (
            Claim::Region,
            or_none(it.region.as_ref().map(ToString::to_string)),
        ),
        (
            Claim::Zone,
            or_none(it.zone.as_ref().map(ToString::to_string)),
        ),
    ]
}

fn status(status: AppraisalStatus) -> String {
    let style = match status {
        AppraisalStatus::None | AppraisalStatus::Warning => WARN,
        AppraisalStatus::Contraindicated => BAD,
        AppraisalStatus::Affirming => GOOD,
    };
    paint(style, status.as_str())
}

fn verdict(appraisal: &Appraisal, claim: Claim) -> String {
    if appraisal.contraindicated.contains(&claim) {
        return paint(BAD, "ruled out");
    }
    if appraisal.warning.contains(&claim) {
        return paint(WARN, "warning  ");
    }
    if appraisal.affirming.contains(&claim) {
        return paint(GOOD, "affirmed ");
    }
    paint(BOLD, "-        ")
}
