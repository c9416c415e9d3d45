//! The vectors in `spec/vectors/tlog.json`: made here, checked in, and run as an outsider would.
//!
//! `PLACET_REGENERATE_VECTORS=1 cargo test -p placet-tlog --test vectors` writes the file again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod make;
mod run;

use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/tlog.json");

fn committed() -> Value {
    serde_json::from_slice(&std::fs::read(FILE).unwrap()).unwrap()
}

#[test]
fn the_committed_vectors_are_what_the_code_makes() {
    let made = make::file();
    if std::env::var_os("PLACET_REGENERATE_VECTORS").is_some() {
        let text = format!("{}\n", serde_json::to_string_pretty(&made).unwrap());
        std::fs::write(FILE, text).unwrap();
    }
    assert_eq!(
        committed(),
        made,
        "run again with PLACET_REGENERATE_VECTORS=1 if that is intended"
    );
}

#[test]
fn every_committed_vector_has_the_outcome_it_states() {
    let file = committed();
    let mut count = 0;
    for (section, cases) in file["sections"].as_object().unwrap() {
        for case in cases.as_array().unwrap() {
            let outcome = run::run(section, &case["input"]);
            assert_eq!(
                run::outcome_json(&outcome),
                case["outcome"],
                "{section}: {}",
                case["name"]
            );
            count += 1;
        }
    }
    assert_eq!(file["count"], count, "cases were lost");
}

#[test]
fn every_section_has_good_and_bad_vectors() {
    for (section, cases) in committed()["sections"].as_object().unwrap() {
        let valid = |wanted: bool| {
            let mut cases = cases.as_array().unwrap().iter();
            cases.any(|case| case["outcome"]["valid"] == wanted)
        };
        assert!(valid(true) && valid(false), "{section}");
    }
}
