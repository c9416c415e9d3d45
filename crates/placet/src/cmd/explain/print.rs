//! An explanation, for people.

use placet_evidence::{Caller, Ended, Grant, Record};
use placet_types::{DenialCode, ExecCheck, ProcessParams};

use super::{Known, Params, check_name};
use crate::cmd::decide::{print_scope, rerouted_to};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};
use crate::show;

pub(super) fn print(known: &Known, out: Out) {
    headline(known, out);
    who(known, out);
    what(known, out);
    why(known, out);
    facts(known, out);
    granted(known, out);
    later(known, out);
    change(known, out);
    let index = known.index;
    row(
        "proof",
        format!("placet log proof {index} --bundle > proof.json; placet verify proof.json"),
        out,
    );
}

fn row(name: &str, text: impl std::fmt::Display, out: Out) {
    out.line(format!("  {}{text}", paint(DIM, format!("{name:<10}"))));
}

fn headline(known: &Known, out: Out) {
    let word = match &known.decided.denial {
        None => paint(GOOD, "permitted"),
        Some(denial) => format!("{} {}", paint(BAD, "denied"), paint(BOLD, denial.code)),
    };
    let place = format!("record {}, {}", known.index, known.decided.facts.time);
    out.line(format!("{word} {}", paint(DIM, place)));
}

fn who(known: &Known, out: Out) {
    let caller = match &known.decided.facts.caller {
        Caller::Unix(uid) => format!("Unix user {uid}, by the kernel's word"),
        Caller::Execution(exec) => format!("through the door of {exec}"),
        Caller::Key(key) => format!("by proof of the key {key}"),
        Caller::Spiffe(id) => format!("by the certificate of {id}"),
        Caller::Token(token) => {
            let subject = show::shown(&token.subject);
            format!("{subject}, by a token of {}", token.issuer)
        }
    };
    row(
        "who",
        format!("{} ({caller})", known.decided.intent.principal),
        out,
    );
    if let Some(bearer) = &known.decided.facts.bearer {
        let subject = show::shown(&bearer.subject);
        let how = "by an access token that the gateway has verified";
        row("for", format!("{subject} of {}, {how}", bearer.issuer), out);
    }
    let chain = known.decided.grant.as_ref().map(|grant| &grant.delegation);
    if let Some(chain) = chain.filter(|chain| !chain.is_empty()) {
        row("acts for", show::list(chain), out);
    }
    if let Some(parent) = known.decided.intent.parent {
        row("parent", parent, out);
    }
}

fn what(known: &Known, out: Out) {
    let intent = &known.decided.intent;
    row(
        "what",
        format!("{} {}", intent.action, show::shown(&intent.resource.id)),
        out,
    );
    match (known.process(), &known.params) {
        (Some(params), _) => {
            row(
                "command",
                show::cut(&show::command_line(&params.argv), 400),
                out,
            );
            row("in", show::shown(params.cwd.as_str()), out);
            if params.workspace != params.cwd {
                row("workspace", show::shown(params.workspace.as_str()), out);
            }
            if let Some(purpose) = &params.purpose {
                row("purpose", show::shown(purpose), out);
            }
        }
        // A call or a connection: what it is to says the most already.
        (None, Params::Present(given)) if intent.action.as_str() != ProcessParams::ACTION => {
            row("given", show::cut(&given.params, 400), out);
        }
        (None, Params::Erased) => row("command", paint(WARN, "erased on purpose"), out),
        (None, _) => row(
            "command",
            paint(BAD, "missing or damaged; see `placet log fsck`"),
            out,
        ),
    }
    let asked = &intent.asked;
    let profile = asked
        .profile
        .as_ref()
        .map(|profile| format!("profile {profile}"));
    let lifetime = asked.lifetime_secs.map(|secs| format!("at most {secs}"));
    let check =
        (asked.exec_check == ExecCheck::Decide).then(|| "a decision about each program".to_owned());
    let asked: Vec<String> = [profile, lifetime, check].into_iter().flatten().collect();
    if !asked.is_empty() {
        row("asked for", asked.join(", "), out);
    }
}

fn why(known: &Known, out: Out) {
    if let Some(denial) = &known.decided.denial {
        let check = check_name(denial.check).unwrap_or("unknown");
        row(
            "check",
            format!("{} of 10 failed: {check}", denial.check),
            out,
        );
        row("reason", show::shown(&denial.reason), out);
    }
    for (id, rule) in known.rules() {
        let Some(rule) = rule else {
            row("policy", paint(BOLD, id), out);
            continue;
        };
        let effect = if rule.permits {
            paint(GOOD, "permits")
        } else {
            paint(BAD, "forbids")
        };
        let place = paint(DIM, format!("{}:{}", rule.file, rule.line));
        row(
            "policy",
            format!("{} {effect} {place}", paint(BOLD, id)),
            out,
        );
        if let Some(description) = &rule.description {
            row("", show::shown(description), out);
        }
    }
    match &known.policy {
        None => row("bundle", paint(BAD, "none was in force"), out),
        Some(Ok(policy)) => {
            let digest = show::short(&policy.digest());
            row(
                "bundle",
                format!(
                    "{} revision {} {}",
                    policy.name(),
                    policy.revision(),
                    paint(DIM, digest)
                ),
                out,
            );
        }
        Some(Err(why)) => row("bundle", paint(BAD, show::shown(why)), out),
    }
}

fn facts(known: &Known, out: Out) {
    let environment = &known.decided.facts.environment;
    row(
        "machine",
        format!(
            "{} kernel {} {}, Landlock ABI {}, enforcement tier {}, gateway {}",
            show::shown(&environment.distribution),
            show::shown(&environment.kernel),
            show::shown(&environment.arch),
            environment.landlock_abi,
            placet_types::tier::name(environment.tier),
            show::shown(&environment.gateway)
        ),
        out,
    );
    if !environment.weaker.is_empty() {
        row("not given", show::list(&environment.weaker), out);
    }
    let risk = &known.decided.risk;
    row(
        "risk",
        format!("{} of 100: {}", risk.score, show::list(&risk.factors)),
        out,
    );
}

fn granted(known: &Known, out: Out) {
    let Some(grant) = &known.decided.grant else {
        return;
    };
    let Grant {
        profile,
        not_before,
        not_after,
        lease_ms,
        rerouted,
        ..
    } = grant;
    row("execution", known.decided.facts.exec, out);
    row(
        "granted",
        format!("profile {profile}, from {not_before} until {not_after}"),
        out,
    );
    if !rerouted.is_empty() {
        row("rerouted", rerouted_to(rerouted), out);
    }
    row(
        "lease",
        format!("renewed every {}", show::duration(*lease_ms)),
        out,
    );
    match &known.scope {
        Some(scope) => print_scope(scope, out),
        None => row(
            "scope",
            paint(BAD, format!("{} is not kept here", grant.scope)),
            out,
        ),
    }
}

fn later(known: &Known, out: Out) {
    if known.decided.denial.is_some() {
        return;
    }
    if known.later.is_empty() {
        row("then", paint(DIM, "nothing yet"), out);
    }
    for (index, record) in &known.later {
        let words = show::words(record);
        let kind = record.kind().as_str();
        let place = paint(DIM, format!("record {index}, {}", record.time()));
        row(
            "then",
            format!("{kind} {} {place}", paint(words.style, words.what)),
            out,
        );
        if let Record::Ended(Ended {
            cause: Some(code), ..
        }) = record
        {
            let (meaning, remedy) = show::cause(*code);
            row("because", meaning, out);
            row("to change", remedy, out);
        }
    }
    known.talked.print(out);
    known.made.print(out);
}

fn change(known: &Known, out: Out) {
    let Some(denial) = &known.decided.denial else {
        return;
    };
    row("to change", denial.code.remedy(), out);
    let Some(explanation) = &known.explanation else {
        return;
    };
    let no_permit = denial.code == DenialCode::NoPermit;
    let (title, accounts) = if no_permit && explanation.near.is_empty() {
        ("no permit comes near", &explanation.near)
    } else if no_permit {
        (
            "the permits that come nearest, and what each lacks:",
            &explanation.near,
        )
    } else {
        ("what the policies looked at:", &explanation.determining)
    };
    out.line(format!("  {}", paint(DIM, title)));
    for account in accounts {
        for line in show::shown_lines(&account.to_string()) {
            out.line(format!("  {line}"));
        }
    }
    for fault in &explanation.evaluation.errors {
        let policy = fault.policy.as_deref().unwrap_or("the request itself");
        out.line(format!(
            "    {policy} failed: {}",
            show::shown(&fault.message)
        ));
    }
}
