//! `placet doctor`: what this machine can enforce, why not more, and what would change it.

use placet_sandbox::{Capabilities, Feature, State, Tier};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::cmd::gateway;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};

pub(crate) fn doctor(global: &Global, out: Out) -> Result<Status, Failure> {
    let found = placet_sandbox::examine();
    // The machine is looked at with and without a domain.
    let domain = Domain::open(global).ok();
    let mut value = as_value(&found);
    if let (Some(domain), Some(members)) = (&domain, value.as_object_mut()) {
        members.insert("gateways".to_owned(), gateway::as_value(domain));
    }
    out.value(&value);
    print(&found, out);
    if let Some(domain) = &domain {
        gateway::show(domain, out);
    }
    Ok(if found.tier() >= Some(Tier::U1) {
        Status::Ok
    } else {
        Status::Unverified
    })
}

/// What stands in the way of the next tier, each with what would change it.
pub(crate) fn obstacles() -> Vec<String> {
    let found = placet_sandbox::examine();
    let next = Tier::ALL
        .into_iter()
        .find(|tier| Some(*tier) > found.tier());
    let missing = next.into_iter().flat_map(|tier| found.missing(tier));
    let lines = missing.filter_map(|feature| match &feature.state {
        State::Present => None,
        State::Absent { why, remedy } => Some(format!("{} ({why}): {remedy}", feature.name)),
    });
    lines.collect()
}

fn name(tier: Option<Tier>) -> String {
    tier.map_or_else(|| "none".to_owned(), |tier| tier.to_string())
}

fn as_value(found: &Capabilities) -> Value {
    let features: Vec<Value> = found.features.iter().map(feature_value).collect();
    let weaker = found.tier().map_or(&[] as &[_], Tier::weaker);
    let weaker: Vec<&str> = weaker.iter().map(|one| one.word()).collect();
    json!({
        "tier": name(found.tier()), "weaker": weaker, "kernel": found.kernel_release,
        "landlock_abi": found.landlock_abi, "features": features,
    })
}

fn feature_value(feature: &Feature) -> Value {
    let needed_by: Vec<String> = feature.needed_by.iter().map(Tier::to_string).collect();
    let mut value = json!({
        "name": feature.name, "needed_by": needed_by, "gives": feature.gives,
        "present": feature.is_present(),
    });
    if let (State::Absent { why, remedy }, Some(members)) = (&feature.state, value.as_object_mut())
    {
        members.insert("why_not".to_owned(), json!(why));
        members.insert("remedy".to_owned(), json!(remedy));
    }
    value
}

fn print(found: &Capabilities, out: Out) {
    out.line(format!(
        "enforcement tier  {}",
        paint(BOLD, name(found.tier()))
    ));
    let weaker = found.tier().map_or(&[] as &[_], Tier::weaker);
    for one in weaker {
        out.line(format!(
            "  {} {}: {}",
            paint(WARN, "not given:"),
            one.word(),
            one.meaning()
        ));
    }
    out.line(format!("  kernel           {}", found.kernel_release));
    out.line(format!("  Landlock         ABI {}", found.landlock_abi));
    for feature in &found.features {
        print_feature(feature, out);
    }
}

fn print_feature(feature: &Feature, out: Out) {
    let mark = match (&feature.state, feature.needed_by) {
        (State::Present, _) => paint(GOOD, "yes"),
        (State::Absent { .. }, []) => paint(WARN, "no"),
        (State::Absent { .. }, _) => paint(BAD, "no"),
    };
    out.line(format!("  {:<16} {mark}  {}", feature.name, feature.gives));
    if let State::Absent { why, remedy } = &feature.state {
        out.line(format!("    {} {why}", paint(DIM, "why not:")));
        if !feature.needed_by.is_empty() {
            let tiers: Vec<String> = feature.needed_by.iter().map(Tier::to_string).collect();
            let needed = paint(DIM, "needed by:");
            out.line(format!("    {needed} tier {}", tiers.join(", ")));
        }
        out.line(format!("    {} {remedy}", paint(DIM, "to change that:")));
    }
}
