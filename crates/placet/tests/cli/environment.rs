//! Environments: attested by the gateway, appraised by the bundle, recorded, and decided about.

use std::fs;
use std::path::PathBuf;

use placet_evidence::{Attestation, Environment};
use placet_types::{Digest, DomainName, Fixed};
use serde_json::{Value, json};

use crate::domain::{DENIED, Domain, parsed, ran};

/// The last decision.
fn decided(domain: &Domain) -> Value {
    let tail = domain.ok(&["log", "tail", "-n", "99", "--json"]);
    let all = tail.lines().map(parsed);
    let mut decided = all.filter(|it| it["kind"] == "decided");
    decided.next_back().unwrap()["record"].clone()
}

fn bundle(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles")).join(name)
}

/// Runs with a file that says where the machine stands.
fn placed(domain: &Domain, text: &str, args: &[&str]) -> crate::domain::Ran {
    let file = domain.path("environment.toml");
    fs::write(&file, text).unwrap();
    ran(domain.command(args).env("PLACET_ENVIRONMENT", file))
}

#[test]
fn a_gateway_attests_and_whoever_has_the_log_can_check_its_signature() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    let record = decided(&domain);
    let appraisal = &record["appraisal"];
    assert_eq!(appraisal["status"], "affirming", "{record}");
    assert!(appraisal["age_secs"].as_u64().unwrap() < 60, "{record}");
    assert_eq!(appraisal["affirming"], json!(["landlock", "tier"]));
    let facts = &record["facts"];
    let attestation: Attestation = serde_json::from_value(facts["attestation"].clone()).unwrap();
    let environment: Environment = serde_json::from_value(facts["environment"].clone()).unwrap();
    let environment = Fixed::new(environment).unwrap();
    let status = domain.json(&["node", "status"]);
    let name = DomainName::parse(status["domain"].as_str().unwrap()).unwrap();
    let holder = facts["holder"].as_str().unwrap();
    attestation.verify(&name, &environment, holder).unwrap();
    let other = environment.changed(|it| it.kernel.push('x')).unwrap();
    attestation.verify(&name, &other, holder).unwrap_err();
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
    let shown = domain.json(&["environment"]);
    assert_eq!(shown["appraised"]["appraisal"]["status"], "affirming");
    assert_eq!(
        shown["environment"]["kernel"],
        facts["environment"]["kernel"]
    );
    let own = Digest::of(&fs::read(env!("CARGO_BIN_EXE_placet")).unwrap());
    assert_eq!(shown["environment"]["gateway_digest"], json!(own));
    let said = domain.ok(&["environment"]);
    assert!(
        said.contains("appraised as affirming") && said.contains("kernel"),
        "{said}"
    );
}

#[test]
fn where_a_machine_stands_is_configured_attested_and_decided_about() {
    let domain = Domain::new();
    domain.activate_changed(&[(
        "reference.toml",
        "landlock_abi_min = 3",
        "landlock_abi_min = 3\nregions = [\"eu-*\"]",
    )]);
    let run = ["run", "--", "true"];
    let nowhere = ran(&mut domain.command(&run));
    assert_eq!(nowhere.code, DENIED, "{nowhere:?}");
    for part in ["environment_untrusted", "region is not attested", "eu-*"] {
        assert!(nowhere.stderr.contains(part), "{part}: {nowhere:?}");
    }
    let elsewhere = placed(&domain, "region = \"us-east-1\"\n", &run);
    assert_eq!(elsewhere.code, DENIED, "{elsewhere:?}");
    assert!(elsewhere.stderr.contains("`us-east-1`"), "{elsewhere:?}");
    let here = placed(&domain, "region = \"eu-central-1\"\nzone = \"b\"\n", &run);
    assert_eq!(here.code, 0, "{here:?}");
    let record = decided(&domain);
    assert_eq!(record["facts"]["environment"]["region"], "eu-central-1");
    assert!(
        record["appraisal"]["affirming"]
            .as_array()
            .unwrap()
            .contains(&json!("region"))
    );
    // What is configured and cannot be read is not passed over.
    let wrong = placed(&domain, "regoin = \"eu-central-1\"\n", &run);
    assert!(
        wrong.code != 0 && wrong.stderr.contains("environment.toml"),
        "{wrong:?}"
    );
    fs::remove_file(domain.path("environment.toml")).unwrap();
    let gone = ran(domain
        .command(&run)
        .env("PLACET_ENVIRONMENT", domain.path("environment.toml")));
    assert!(
        gone.code != 0 && gone.stderr.contains("environment.toml"),
        "{gone:?}"
    );
}

/// A copy of the bundle that demands attested machines.
fn attested_bundle(domain: &Domain) -> PathBuf {
    let dir = domain.path("attested");
    fs::create_dir(&dir).unwrap();
    for member in ["bundle.toml", "reference.toml"] {
        fs::copy(bundle("attested").join(member), dir.join(member)).unwrap();
    }
    for folder in ["policies", "profiles", "tests"] {
        fs::create_dir(dir.join(folder)).unwrap();
        for entry in fs::read_dir(bundle("attested").join(folder)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.join(folder).join(entry.file_name())).unwrap();
        }
    }
    dir
}

#[test]
fn what_runs_longer_than_an_attestation_counts_is_attested_again_by_its_gateway() {
    let domain = Domain::new();
    let dir = attested_bundle(&domain);
    let reference = dir.join("reference.toml");
    let text = fs::read_to_string(&reference).unwrap();
    assert!(text.contains("age_max = \"5m\""));
    fs::write(
        &reference,
        text.replace("age_max = \"5m\"", "age_max = \"6s\""),
    )
    .unwrap();
    domain.ok(&["policy", "activate", dir.to_str().unwrap()]);
    let mut run = domain
        .command(&["run", "--", "sleep", "10"])
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    while run.try_wait().unwrap().is_none() {
        let status = domain.json(&["node", "status"]);
        if let Some(age) = status["gateways"][0]["attested_secs"].as_u64() {
            assert_eq!(status["gateways"][0]["appraisal"], "affirming", "{status}");
            seen.push(age);
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(run.wait().unwrap().code(), Some(0), "{seen:?}");
    // It grew older, and young again, and never too old.
    assert!(seen.windows(2).any(|two| two[1] < two[0]), "{seen:?}");
    assert!(seen.iter().all(|age| *age <= 6), "{seen:?}");
    let ended = domain.ok(&["log", "tail", "-n", "9", "--json"]);
    assert!(!ended.contains("environment_untrusted"), "{ended}");
}

#[test]
fn a_policy_that_demands_more_trust_than_there_is_denies_and_says_what_is_in_the_way() {
    let domain = Domain::new();
    let dir = attested_bundle(&domain);
    let at = dir.to_str().unwrap();
    domain.ok(&["policy", "activate", at]);
    let run = ["run", "--", "true"];
    domain.ok(&run);
    assert_eq!(decided(&domain)["appraisal"]["status"], "affirming");
    let change = |file: &str, changes: &[(&str, &str)]| {
        let path = dir.join(file);
        let mut text = fs::read_to_string(&path).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{file} has no {from}");
            text = text.replacen(from, to, 1);
        }
        fs::write(path, text).unwrap();
    };
    // Whatever distribution this is, it is accepted with a warning from here on; and one policy wants more.
    change(
        "reference.toml",
        &[("\"debian *\", \"ubuntu *\", \"fedora *\"", "\"plan9 *\"")],
    );
    change("bundle.toml", &[("revision = 2", "revision = 3")]);
    domain.ok(&["policy", "activate", at]);
    domain.ok(&run);
    let appraisal = decided(&domain)["appraisal"].clone();
    assert_eq!(appraisal["status"], "warning");
    assert_eq!(appraisal["warning"], json!(["distribution"]));
    change(
        "policies/attested.cedar",
        &[("@appraisal(\"warning\")", "@appraisal(\"affirming\")")],
    );
    change(
        "tests/attested.toml",
        &[(
            "status = \"warning\", warning = [\"distribution\"] }\nexpect = \"permit\"",
            "status = \"warning\", warning = [\"distribution\"] }\nexpect = \"environment_untrusted\"",
        )],
    );
    change("bundle.toml", &[("revision = 3", "revision = 4")]);
    domain.ok(&["policy", "activate", at]);
    let denied = ran(&mut domain.command(&run));
    assert_eq!(denied.code, DENIED, "{denied:?}");
    for part in [
        "environment_untrusted",
        "`affirming`",
        "distribution",
        "placet environment",
    ] {
        assert!(denied.stderr.contains(part), "{part}: {denied:?}");
    }
    let record = decided(&domain);
    assert_eq!(record["denial"]["code"], "environment_untrusted");
    assert_eq!(record["policy"]["determining"], json!(["attested-run"]));
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn what_was_attested_is_verified_offline_and_appraised_again_with_the_bundle_of_then() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    let tail = domain.ok(&["log", "tail", "-n", "99", "--json"]);
    let mut all = tail.lines().map(parsed);
    let last = all.rfind(|it| it["kind"] == "decided").unwrap();
    let index = last["index"].to_string();
    let proof = domain.path("proof.json");
    fs::write(&proof, domain.ok(&["log", "proof", "--bundle", &index])).unwrap();
    let at = proof.to_str().unwrap();
    let steps = |more: &[&str]| {
        let args = [&["verify", at, "--json"], more].concat();
        let shown = parsed(&ran(&mut domain.command(&args)).stdout);
        let of = |name: &str| {
            let steps = shown["steps"].as_array().unwrap().clone();
            let step = steps.into_iter().find(|it| it["step"] == name);
            step.map_or(Value::Null, |it| it["outcome"].clone())
        };
        (
            of("attestation"),
            of("appraisal"),
            shown["verified"].clone(),
        )
    };
    let (holds, fails) = (json!("holds"), json!("fails"));
    // The domain on this machine keeps the bundle; a stranger has it from elsewhere, or not at all.
    assert_eq!(steps(&[]), (holds.clone(), holds.clone(), json!(true)));
    let policy = domain.policy_file();
    let stranger = ["--policy", policy.to_str().unwrap()];
    let found = steps(&stranger);
    assert_eq!(found, (holds.clone(), Value::Null, json!(true)));
    let starter = domain.path("starter");
    let starter = starter.to_str().unwrap();
    domain.ok(&["policy", "init", starter]);
    let with = |rules: &str| steps(&[&stranger[..], &["--rules", rules]].concat());
    assert_eq!(with(starter), (holds.clone(), holds.clone(), json!(true)));
    let other = attested_bundle(&domain);
    let found = with(other.to_str().unwrap());
    assert_eq!(found, (holds, fails, json!(false)));
    let text = domain.ok(&["verify", at]);
    assert!(text.contains("judged by the reference values"), "{text}");
}

#[test]
fn the_gateways_own_program_is_measured_where_the_bundle_looks_at_it() {
    let own = Digest::of(&fs::read(env!("CARGO_BIN_EXE_placet")).unwrap());
    for (digest, code) in [(own, 0), (Digest::of(b"another"), DENIED)] {
        let domain = Domain::new();
        domain.activate_changed(&[(
            "reference.toml",
            "landlock_abi_min = 3",
            &format!("landlock_abi_min = 3\ngateway_digests = [\"{digest}\"]"),
        )]);
        let run = ran(&mut domain.command(&["run", "--", "true"]));
        assert_eq!(run.code, code, "{run:?}");
        let environment = &decided(&domain)["facts"]["environment"];
        assert_eq!(environment["gateway_digest"], json!(own));
        assert!(
            code == 0 || run.stderr.contains("gateway program"),
            "{run:?}"
        );
    }
}
