//! `placet log`: reading, proving, exporting, erasing.

use std::fs;
use std::io::{BufRead as _, BufReader};

use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::proof::LogProof;
use placet_tlog::tile::BundleId;
use placet_tlog::{Hash, Policy};
use serde_json::Value;

use crate::domain::{Domain, UNVERIFIED, parsed, placet, ran};

/// Records of [`Domain::with_history`]: genesis, two principals, a bundle, three each for the
/// permits, one for the denial.
const RECORDS: usize = 11;

#[test]
fn tail_prints_one_line_for_each_record_in_order() {
    let domain = Domain::with_history();
    let text = domain.ok(&["log", "tail"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), RECORDS, "{text}");
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line.split_whitespace().nth(3).unwrap())
        .collect();
    let permit = ["decided", "started", "ended"];
    let begin = ["genesis", "principal", "principal", "policy"];
    assert_eq!(kinds, [&begin[..], &permit, &permit, &["decided"]].concat());
    for (line, part) in [
        (0, "placet.test/cli began"),
        (3, "starter revision 1 in force"),
        (4, "permit process:run"),
        (6, "completed, exit 0"),
        (9, "failed, exit 3"),
        (10, "deny policy_forbids process:run"),
    ] {
        assert!(lines[line].contains(part), "{part}: {}", lines[line]);
    }
    // The execution of a decision, its start and its end are the same, and so is who asked.
    for line in &lines[4..7] {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[4].len(), words[5]), (15, "user:op"), "{line}");
    }
    assert!(!text.contains('\u{1b}'), "colours in a pipe: {text:?}");
    let last = domain.ok(&["log", "tail", "-n", "2"]);
    assert_eq!(last.lines().collect::<Vec<_>>(), lines[RECORDS - 2..]);
    assert_eq!(domain.ok(&["log", "tail", "-n", "0"]), "");
}

#[test]
fn tail_as_json_is_one_value_a_line_with_the_whole_record() {
    let domain = Domain::with_history();
    let text = domain.ok(&["log", "tail", "--json"]);
    let values: Vec<Value> = text.lines().map(parsed).collect();
    assert_eq!(values.len(), RECORDS);
    for (at, value) in values.iter().enumerate() {
        assert_eq!(value["index"], at);
        assert!(
            value["time"].is_u64() && value["kind"].is_string(),
            "{value}"
        );
    }
    assert_eq!(values[0]["record"]["domain"], "placet.test/cli");
    assert_eq!(values[10]["record"]["denial"]["code"], "policy_forbids");
    assert_eq!(values[4]["exec"], values[6]["exec"]);
}

#[test]
fn tail_follows_what_another_process_writes_and_ends_with_its_reader() {
    let domain = Domain::new();
    let mut tail = domain.start(&["log", "tail", "-n", "1", "-f", "--json"]);
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || parsed(&lines.next().unwrap().unwrap());
    assert_eq!(next()["kind"], "policy");
    domain.ok(&["run", "--", "true"]);
    let kinds: Vec<Value> = (0..3).map(|_| next()["kind"].clone()).collect();
    assert_eq!(kinds, ["decided", "started", "ended"]);
    // With its reader gone it ends at the next record.
    drop(lines);
    domain.ok(&["run", "--", "true"]);
    let status = tail.wait().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_entry_is_the_leaf_to_the_byte_and_its_proof_verifies_with_the_public_file_alone() {
    let domain = Domain::with_history();
    let policy = Policy::parse(&fs::read(domain.policy_file()).unwrap()).unwrap();
    for index in 0..RECORDS {
        let index = index.to_string();
        let entry = domain.ok(&["log", "entry", &index]);
        assert!(entry.starts_with('{') && entry.ends_with('}'), "{entry}");
        let proof = domain.ok(&["log", "proof", &index]);
        let proof = LogProof::parse(proof.as_bytes()).unwrap();
        assert_eq!(proof.index().to_string(), index);
        proof
            .verify(&policy, &Hash::leaf(entry.as_bytes()))
            .unwrap();
        assert!(proof.verify(&policy, &Hash::leaf(b"another")).is_err());
        assert_eq!(domain.json(&["log", "entry", &index])["entry"], entry);
    }
    let checkpoint = domain.ok(&["log", "checkpoint"]);
    let signed = SignedCheckpoint::parse(checkpoint.as_bytes()).unwrap();
    assert_eq!(signed.claim().size(), RECORDS as u64);
    signed.open(&[policy.logs()[0].key()]).unwrap();
    assert_eq!(
        domain.json(&["log", "checkpoint"])["checkpoint"],
        checkpoint
    );
    let file = fs::read_to_string(domain.policy_file()).unwrap();
    assert_eq!(domain.ok(&["log", "policy"]), file);
    assert_eq!(domain.json(&["log", "policy"])["policy"], file);
}

#[test]
fn a_record_is_named_by_its_index_its_decision_its_execution_or_its_artifact() {
    let domain = Domain::with_history();
    let exec = domain.executions()[0]["exec"].as_str().unwrap().to_owned();
    let artifact = exec.replace("exec_", "art_");
    let expected = domain.ok(&["log", "proof", "4"]);
    for name in ["dec_4", &exec, &exec[..20], &artifact, &artifact[..16]] {
        assert_eq!(domain.ok(&["log", "proof", name]), expected, "{name}");
    }
}

#[test]
fn what_names_no_record_is_an_error_that_says_what_to_give() {
    let domain = Domain::with_history();
    let beyond = domain.fails(1, &["log", "entry", "11"]);
    assert!(beyond.contains("the log has 11 records"), "{beyond}");
    for name in ["11", "dec_999", "18446744073709551615"] {
        let said = domain.fails(1, &["log", "proof", name]);
        assert!(said.contains("the log has 11 records"), "{name}: {said}");
    }
    for name in [
        "",
        "exec_",
        "exec_XY",
        "nonsense",
        "exec_000000000000000000000000000000000",
    ] {
        let said = domain.fails(1, &["log", "proof", name]);
        assert!(
            said.contains("names no record") && said.contains("hint"),
            "{name}: {said}"
        );
    }
    let unknown = domain.fails(
        1,
        &["log", "proof", "exec_00000000000000000000000000000000"],
    );
    assert!(unknown.contains("no decision is about"), "{unknown}");
    // Three executions: some first digit names several, or every one names at most one.
    let digits = "0123456789abcdef".chars();
    let firsts: Vec<String> = domain
        .executions()
        .iter()
        .map(|one| one["exec"].as_str().unwrap()[..6].to_owned())
        .collect();
    for digit in digits {
        let name = format!("exec_{digit}");
        let several = firsts.iter().filter(|first| **first == name).count();
        let ran = domain.run(&["log", "proof", &name]);
        assert_eq!(ran.code, i32::from(several != 1), "{name}: {ran:?}");
        assert_eq!(
            ran.stderr.contains("more than one"),
            several > 1,
            "{name}: {ran:?}"
        );
    }
    // The command line itself.
    domain.fails(2, &["log", "entry", "first"]);
    domain.fails(2, &["log", "proof", "4", "--disclose"]);
    domain.fails(2, &["log", "entry", "0", "--verbose"]);
}

#[test]
fn failures_are_json_as_well_when_that_is_asked_for() {
    let domain = Domain::new();
    let ran = domain.run(&["log", "entry", "99", "--json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    let said = parsed(&ran.stderr);
    assert!(
        said["error"].as_str().unwrap().contains("none at 99"),
        "{said}"
    );
}

#[test]
fn without_a_domain_every_command_says_how_to_make_one() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_str().unwrap();
    for args in [
        &["log", "tail"][..],
        &["log", "fsck"],
        &["executions"],
        &["explain", "4"],
        &["lineage", "tree"],
        &["policy", "status"],
    ] {
        let ran = ran(&mut placet(&[args, &["--domain", dir]].concat()));
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("placet init"), "{args:?}: {ran:?}");
    }
    assert_eq!(
        fs::read_dir(root.path()).unwrap().count(),
        0,
        "a command that failed left something"
    );
}

#[test]
fn a_disclosed_parameter_is_gone_after_its_erasure_and_the_record_stays() {
    let domain = Domain::with_history();
    let bundle = parsed(&domain.ok(&["log", "proof", "10", "--bundle", "--disclose"]));
    let params = parsed(bundle["disclosed"]["params"].as_str().unwrap());
    assert_eq!(params["argv"], serde_json::json!(["git", "push"]));
    assert_eq!(params["purpose"], "share it");
    let before = domain.ok(&["log", "entry", "10"]);
    let erased = domain.json(&["log", "erase", "10", "--reason", "asked to"]);
    assert_eq!(
        (&erased["erased"], &erased["index"]),
        (&Value::from(10), &Value::from(11))
    );
    let said = domain.fails(1, &["log", "proof", "10", "--bundle", "--disclose"]);
    assert!(
        said.contains("were erased") && said.contains("leave --disclose out"),
        "{said}"
    );
    assert_eq!(domain.ok(&["log", "entry", "10"]), before);
    let bundle = parsed(&domain.ok(&["log", "proof", "10", "--bundle"]));
    assert!(bundle.get("disclosed").is_none(), "{bundle}");
    assert!(
        domain
            .ok(&["log", "tail", "-n", "1"])
            .contains("payload of 10: asked to")
    );
    // Nowhere in the directory is what was erased.
    domain.stop();
    let bytes = fs::read(domain.segment()).unwrap();
    let secret = b"share it";
    assert!(!bytes.windows(secret.len()).any(|part| part == secret));
}

#[test]
fn only_records_with_parameters_can_be_disclosed_or_erased() {
    let domain = Domain::with_history();
    let said = domain.fails(1, &["log", "proof", "0", "--bundle", "--disclose"]);
    assert!(said.contains("of kind `genesis`"), "{said}");
    let said = domain.fails(1, &["log", "erase", "5", "--reason", "r"]);
    assert!(said.contains("no private parameters"), "{said}");
    domain.fails(1, &["log", "erase", "77", "--reason", "r"]);
    domain.fails(2, &["log", "erase", "10"]);
    assert_eq!(domain.ok(&["log", "tail"]).lines().count(), RECORDS);
}

#[test]
fn an_export_is_a_static_tiled_log_that_leads_from_its_checkpoint_to_every_entry() {
    let domain = Domain::with_history();
    let out = domain.path("export");
    let done = domain.json(&["log", "export", out.to_str().unwrap()]);
    assert_eq!(done["size"], RECORDS);
    let checkpoint = fs::read_to_string(out.join("checkpoint")).unwrap();
    assert_eq!(checkpoint, domain.ok(&["log", "checkpoint"]));
    let bundle = BundleId::changed(0, RECORDS as u64).next().unwrap();
    let bytes = fs::read(out.join(bundle.to_string())).unwrap();
    let entries = placet_tlog::tile::decode_entries(bundle.width(), &bytes).unwrap();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(
            entry,
            &domain.ok(&["log", "entry", &index.to_string()]).as_bytes()
        );
    }
    assert_eq!(entries.len(), RECORDS);
    let said = domain.fails(1, &["log", "export", out.to_str().unwrap()]);
    assert!(
        said.contains("not empty") && said.contains("hint"),
        "{said}"
    );
    let file = domain.work().join("note");
    domain.fails(1, &["log", "export", file.to_str().unwrap()]);
}

#[test]
fn reading_the_log_needs_neither_a_node_nor_a_private_key() {
    let domain = Domain::with_history();
    domain.stop();
    for file in fs::read_dir(domain.dir().join("keys")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    domain.ok(&["log", "tail"]);
    domain.ok(&["log", "proof", "10"]);
    domain.ok(&["log", "fsck"]);
    domain.ok(&["log", "replay"]);
    domain.ok(&["executions"]);
    domain.ok(&["lineage", "tree"]);
    domain.ok(&["explain", "10"]);
    domain.ok(&["policy", "status"]);
    assert_eq!(domain.json(&["node", "status"])["running"], false);
    // A permit's bundle holds its artifact, which only the key can make again; a denial has none.
    let said = domain.fails(1, &["log", "proof", "4", "--bundle"]);
    assert!(said.contains("artifact.key"), "{said}");
}

#[test]
fn a_log_that_another_key_signed_is_not_read() {
    let (domain, other) = (Domain::with_history(), Domain::named("placet.test/cli"));
    domain.stop();
    let sound = fs::read(domain.policy_file()).unwrap();
    fs::copy(other.policy_file(), domain.policy_file()).unwrap();
    for args in [
        &["log", "tail"][..],
        &["executions"],
        &["log", "proof", "4"],
        &["explain", "4"],
    ] {
        let said = domain.fails(UNVERIFIED, args);
        assert!(
            said.contains("not signed by the given log key"),
            "{args:?}: {said}"
        );
        assert!(said.contains("placet log fsck"), "{args:?}: {said}");
    }
    let ran = domain.run(&["log", "fsck", "--json"]);
    assert_eq!(
        (ran.code, parsed(&ran.stdout)["head"].as_str()),
        (UNVERIFIED, Some("not_signed"))
    );
    // Whatever it is, it is no policy file.
    fs::write(domain.policy_file(), "log\n").unwrap();
    let said = domain.fails(UNVERIFIED, &["log", "tail"]);
    assert!(said.contains("domain.tlog-policy"), "{said}");
    fs::write(domain.policy_file(), sound).unwrap();
    domain.ok(&["log", "tail"]);
}
