//! `placet doctor`: what this machine can enforce, why not more, and what would change it.

use placet_sandbox::{Capabilities, Feature, State, Tier};
use serde_json::{Value, json};

use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};

pub(crate) fn doctor(out: Out) -> Result<Status, Failure> {
    let found = placet_sandbox::probe();
    out.value(&as_value(&found));
    print(&found, out);
    Ok(if found.tier() >= Some(Tier::U1) {
        Status::Ok
    } else {
        Status::Unverified
    })
}

fn name(tier: Option<Tier>) -> String {
    tier.map_or_else(|| "none".to_owned(), |tier| tier.to_string())
}

fn as_value(found: &Capabilities) -> Value {
    let features: Vec<Value> = found.features.iter().map(feature_value).collect();
    json!({
        "tier": name(found.tier()), "kernel": found.kernel_release,
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
    out.line(format!("  kernel          {}", found.kernel_release));
    out.line(format!("  Landlock        ABI {}", found.landlock_abi));
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
    out.line(format!("  {:<15} {mark}  {}", feature.name, feature.gives));
    if let State::Absent { why, remedy } = &feature.state {
        out.line(format!("    {} {why}", paint(DIM, "why not:")));
        out.line(format!("    {} {remedy}", paint(DIM, "to change that:")));
    }
}
