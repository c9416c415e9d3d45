//! The published vectors of proof bundles: made here, and run as an outsider would run them.
//!
//! `PLACET_UPDATE_VECTORS=1` writes the files anew. A case is a bundle and what is altered in it; the
//! outcome is every step that verification takes, with how it goes. The console's TypeScript runs the
//! same file, so that both stop at the same step, whatever is altered.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a broken fixture should stop the test"
)]

mod cases;
mod kinds;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use placet_evidence::proof_bundle::{StepOutcome, verify};
use placet_evidence::{Claim, KindName};
use placet_types::DenialCode;
use serde_json::{Value, json};

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors")).join(name)
}

/// A published file, written anew first where that is asked for.
fn read(name: &str) -> Value {
    static UPDATED: OnceLock<()> = OnceLock::new();
    UPDATED.get_or_init(|| {
        if std::env::var_os("PLACET_UPDATE_VECTORS").is_some() {
            let write = |name, value: &Value| {
                // A line for each case.
                let text = value.to_string().replace(r#"{"bundle":"#, "\n{\"bundle\":");
                std::fs::write(file(name), text + "\n").unwrap();
            };
            write("bundle.json", &written());
            write("vocabulary.json", &vocabulary());
        }
    });
    serde_json::from_slice(&std::fs::read(file(name)).unwrap()).unwrap()
}

/// The words that a verifier has to know.
fn vocabulary() -> Value {
    let kinds: Vec<&str> = KindName::ALL.iter().map(|kind| kind.as_str()).collect();
    let weaker: Vec<&str> = placet_types::Weakness::ALL
        .iter()
        .map(|weakness| weakness.word())
        .collect();
    json!({ "claims": Claim::ALL, "codes": DenialCode::ALL, "kinds": kinds, "weaker": weaker })
}

fn written() -> Value {
    let world = world::World::new();
    let policies = world.policies();
    let bundles = world.bundles();
    let mut traces: Vec<Value> = Vec::new();
    let mut items = Vec::new();
    for case in cases::all(&world, &bundles) {
        let bundle = altered(&bundles[case.bundle], &case.edits);
        let trace = trace(&bundle, policies[case.policy].as_bytes());
        let place = traces.iter().position(|other| *other == trace);
        let place = place.unwrap_or_else(|| {
            traces.push(trace);
            traces.len() - 1
        });
        items.push(json!({
            "bundle": case.bundle, "edits": case.edits, "name": case.name, "policy": case.policy,
            "trace": place,
        }));
    }
    json!({
        "about": "Proof bundles under a policy file, and every step that verification takes \
                  (spec/evidence.md). A case names its bundle and its policy by their places in the \
                  lists, and what is altered in the bundle: the member at a JSON pointer is replaced \
                  by `value`, is removed, or has the character `to` in the place `at`. Every key's \
                  seed is 32 times the byte given.",
        "seed_bytes": world::seeds(), "policies": policies, "bundles": bundles, "traces": traces,
        "cases": items,
    })
}

/// The bundle with everything altered that a case names.
fn altered(bundle: &Value, edits: &[Value]) -> Value {
    let mut bundle = bundle.clone();
    for edit in edits {
        let pointer = edit["pointer"].as_str().unwrap();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = bundle.pointer_mut(parent).unwrap();
        if let Some(items) = parent.as_array_mut() {
            let at: usize = name.parse().unwrap();
            items[at] = new_value(items.get(at), edit);
            continue;
        }
        let members = parent.as_object_mut().unwrap();
        if edit["remove"] == true {
            members.remove(name).unwrap();
        } else {
            let value = new_value(members.get(name), edit);
            members.insert(name.to_owned(), value);
        }
    }
    bundle
}

fn new_value(old: Option<&Value>, edit: &Value) -> Value {
    let (Some(at), Some(to)) = (edit["at"].as_u64(), edit["to"].as_str()) else {
        return edit["value"].clone();
    };
    let old = old.unwrap().as_str().unwrap();
    // Characters, which readers of other languages count alike here; bytes they do not.
    let text = old.chars().enumerate().map(|(place, char)| {
        let here = u64::try_from(place).unwrap() == at;
        if here {
            to.to_owned()
        } else {
            char.to_string()
        }
    });
    Value::String(text.collect())
}

fn trace(bundle: &Value, policy: &[u8]) -> Value {
    let report = verify(bundle.to_string().as_bytes(), policy);
    let steps = report.steps.iter().map(|step| {
        let outcome = match step.outcome {
            StepOutcome::Holds(_) => "holds",
            StepOutcome::Fails(_) => "fails",
            StepOutcome::CannotTell(_) => "cannot_tell",
        };
        json!([step.name, outcome])
    });
    Value::Array(steps.collect())
}

#[test]
fn the_published_bundles_are_these_cases() {
    assert_eq!(
        read("vocabulary.json"),
        vocabulary(),
        "PLACET_UPDATE_VECTORS=1 writes it anew"
    );
    assert_eq!(
        read("bundle.json"),
        written(),
        "PLACET_UPDATE_VECTORS=1 writes it anew"
    );
}

#[test]
fn every_published_bundle_is_verified_step_by_step_as_published() {
    let file = read("bundle.json");
    let place = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let bundle = &file["bundles"][place(&case["bundle"])];
        let bundle = altered(bundle, case["edits"].as_array().unwrap());
        let policy = file["policies"][place(&case["policy"])].as_str().unwrap();
        let expected = &file["traces"][place(&case["trace"])];
        assert_eq!(
            trace(&bundle, policy.as_bytes()),
            *expected,
            "{}",
            case["name"]
        );
    }
    assert!(cases.len() > 900, "{}", cases.len());
}

#[test]
fn a_record_of_every_kind_is_among_them_whole_and_altered() {
    let file = read("bundle.json");
    let named = |kind: &KindName, how: &str| {
        let start = format!("a record of kind {}{how}", kind.as_str());
        let cases = file["cases"].as_array().unwrap().iter();
        let names = cases.filter_map(|case| case["name"].as_str());
        names.filter(|name| name.starts_with(&start)).count()
    };
    for kind in KindName::ALL {
        assert!(named(&kind, ", whole") > 0, "{}", kind.as_str());
        assert!(named(&kind, ": ") > 3, "{}", kind.as_str());
    }
}

#[test]
fn every_step_fails_in_some_case_and_no_altered_character_goes_unseen() {
    let file = read("bundle.json");
    let mut failed: BTreeMap<String, usize> = BTreeMap::new();
    for case in file["cases"].as_array().unwrap() {
        let trace = &file["traces"][usize::try_from(case["trace"].as_u64().unwrap()).unwrap()];
        let last = trace
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step[1] == "fails");
        let step = last.map_or("none", |step| step[0].as_str().unwrap());
        *failed.entry(step.to_owned()).or_default() += 1;
        let name = case["name"].as_str().unwrap();
        // The copy of the policy file in a bundle is for reading, and so is what a proof says of keys
        // that the policy does not name.
        let counts = name.starts_with("character") && !name.contains(" /policy ");
        assert!(!counts || step != "none", "{name} goes unseen");
    }
    let steps = [
        "policy",
        "bundle",
        "genesis in the log",
        "genesis",
        "log key",
        "record in the log",
        "record",
        "artifact keys",
        "artifact",
        "bindings",
        "parameters",
        "related record",
        "same execution",
    ];
    for step in steps {
        assert!(
            failed.contains_key(step),
            "no case fails at {step}: {failed:?}"
        );
    }
}
