//! Attestations over HTTP: with the node's nonce, of these claims, by the key that the artifact is bound to.

use placet_evidence::{AttestationStatement, Backing, Environment, Nonce};
use placet_types::{Digest, DomainName, Fixed, Millis, PlaceName, SigningKey, Tier};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::client::{Answer, Key};
use crate::place::{Node, Place, eventually};

/// Seed of the holder's key of [`Place::intent`].
const HOLDER: u8 = 99;

fn environment(kernel: &str) -> Fixed<Environment> {
    Fixed::new(Environment {
        arch: "x86_64".into(),
        boot: "boot".into(),
        container: Some(Digest::of(b"image")),
        distribution: "debian 12".into(),
        gateway: "0.1.0".into(),
        gateway_digest: None,
        kernel: kernel.into(),
        landlock_abi: 7,
        machine: Digest::of(b"machine"),
        region: Some(PlaceName::parse("eu-central-1").unwrap()),
        tier: Some(Tier::U1),
        weaker: Default::default(),
        zone: None,
    })
    .unwrap()
}

/// What a gateway with this seed signs for this node.
fn attested(node: &Node<'_>, seed: u8, change: impl FnOnce(&mut AttestationStatement)) -> Value {
    let given = node.get("/v1/attestations/nonce").expect(200);
    let nonce: Nonce = given["nonce"].as_str().unwrap().parse().unwrap();
    let mut statement = AttestationStatement {
        backing: Backing::SelfReported,
        domain: DomainName::parse(given["domain"].as_str().unwrap()).unwrap(),
        environment: environment("6.18.0"),
        issued: Millis::new(nonce.time().get() + 1),
        nonce,
    };
    change(&mut statement);
    let key = SigningKey::from_seed(&Zeroizing::new([seed; 32]));
    serde_json::to_value(statement.sign(&key).unwrap()).unwrap()
}

fn intent(place: &Place, attestation: Value) -> Value {
    let mut intent = place.intent("agent:coder", &["true"]);
    intent["environment"] = json!(environment("6.18.0"));
    intent["attestation"] = attestation;
    intent
}

#[test]
fn what_is_attested_over_http_is_verified_appraised_and_recorded() {
    let place = Place::new();
    let node = place.up();
    let good = attested(&node, HOLDER, |_| {});
    let permit = node
        .post("/v1/intents", &intent(&place, good.clone()))
        .expect(201);
    let path = format!("/v1/decisions/{}", permit["index"]);
    let record = node.get(&path).expect(200)["record"].clone();
    assert_eq!(record["appraisal"]["status"], "affirming", "{record}");
    assert_eq!(record["facts"]["attestation"], good);
    // Who attests nothing is appraised as nothing, and the starter bundle demands nothing.
    let bare = place.intent("agent:coder", &["true"]);
    let permit = node.post("/v1/intents", &bare).expect(201);
    let path = format!("/v1/decisions/{}", permit["index"]);
    assert!(
        node.get(&path).expect(200)["record"]
            .get("appraisal")
            .is_none()
    );
    let asked = |body: Value| node.post("/v1/appraisals", &body).expect(200);
    let found = asked(json!({ "environment": environment("6.18.0"), "attestation": good }));
    assert_eq!(found["appraisal"]["status"], "affirming", "{found}");
    let found = asked(json!({ "environment": environment("6.18.0") }));
    assert_eq!(
        (&found["appraisal"]["status"], &found["trusted"]),
        (&json!("none"), &json!(true))
    );

    let refused = |attestation: Value, why: &str| {
        let answer = node.post("/v1/intents", &intent(&place, attestation));
        let problem = answer.expect(403);
        assert_eq!(problem["code"], "environment_untrusted", "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(why),
            "{why}: {problem}"
        );
    };
    refused(attested(&node, 98, |_| {}), "another key");
    let kernel = attested(&node, HOLDER, |it| it.environment = environment("6.19.0"));
    refused(kernel, "does not verify");
    let domain = attested(&node, HOLDER, |it| {
        it.domain = DomainName::parse("placet.test/other").unwrap()
    });
    refused(domain, "does not verify");
    let nonce = attested(&node, HOLDER, |it| {
        it.nonce = Nonce::new(it.nonce.time(), [1; 16], [2; 16])
    });
    refused(nonce, "nonce");
    let issued = attested(&node, HOLDER, |it| {
        it.issued = Millis::new(it.issued.get() + 400_000)
    });
    refused(issued, "clock");
    let quote = json!({ "tpm_quote": { "key": "AQ", "quoted": "Ag", "signature": "Aw" } });
    let quoted = attested(&node, HOLDER, |it| {
        it.backing = serde_json::from_value(quote).unwrap()
    });
    refused(quoted, "tpm_quote");
    // What is no attestation at all is no intent.
    let mut unknown = good;
    unknown["backing"] = json!("sev_report");
    let answer = node.post("/v1/intents", &intent(&place, unknown));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(
        Key::new(HOLDER).base64(),
        place.intent("agent:coder", &["true"])["holder"]
    );
}

/// Puts the bundle in force that demands attested machines, with attestations that count for four seconds.
fn demand_attestation(place: &Place) {
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/attested");
    let to = place.path("attested");
    let mut copy = std::process::Command::new("cp");
    assert!(
        copy.arg("-r")
            .arg(from)
            .arg(&to)
            .status()
            .unwrap()
            .success()
    );
    let reference = to.join("reference.toml");
    let text = std::fs::read_to_string(&reference).unwrap();
    let short = text.replace("age_max = \"5m\"", "age_max = \"4s\"");
    assert_ne!(short, text);
    std::fs::write(&reference, short).unwrap();
    place.ok(&["policy", "activate", to.to_str().unwrap()]);
}

/// One that runs, attested.
fn running(place: &Place, node: &Node<'_>) -> String {
    let mut intent = place.intent("user:op", &["true"]);
    intent["environment"] = json!(environment("6.18.0"));
    intent["attestation"] = attested(node, HOLDER, |_| {});
    let permit = node.post("/v1/intents", &intent).expect(201);
    let exec = permit["exec"].as_str().unwrap().to_owned();
    let start = json!({ "artifact": permit["artifact"], "gateway": "http" });
    node.post(&format!("/v1/executions/{exec}/start"), &start)
        .expect(200);
    exec
}

/// How many signals of an execution say this.
fn signals(tail: &str, exec: &str, what: &str) -> usize {
    let of = |line: &&str| line.contains("\"kind\":\"signal\"") && line.contains(exec);
    tail.lines()
        .filter(of)
        .filter(|line| line.contains(what))
        .count()
}

fn renew(node: &Node<'_>, exec: &str, body: &Value) -> Answer {
    node.post(&format!("/v1/executions/{exec}/renew"), body)
}

#[test]
fn a_gateway_that_stops_attesting_or_attests_something_else_is_ended_with_its_cause() {
    let place = Place::new();
    let node = place.up();
    demand_attestation(&place);
    let (silent, faithful, moved) = (
        running(&place, &node),
        running(&place, &node),
        running(&place, &node),
    );
    let again = |change: &dyn Fn(&mut AttestationStatement)| json!({ "attestation": attested(&node, HOLDER, |it| change(it)) });
    let code = |answer: Answer, detail: &str| {
        let problem = answer.expect(403);
        assert_eq!(problem["code"], "environment_untrusted", "{problem}");
        let said = problem["detail"].as_str().unwrap();
        assert!(said.contains(detail), "{detail}: {problem}");
    };

    // What does not count changes nothing.
    let other = json!({ "attestation": attested(&node, 98, |_| {}) });
    code(renew(&node, &moved, &other), "another key");
    code(renew(&node, &moved, &other), "another key");
    let stale = again(&|it| it.nonce = Nonce::new(it.nonce.time(), [1; 16], [2; 16]));
    code(renew(&node, &moved, &stale), "nonce");
    let alone = json!({ "environment": environment("6.18.0") });
    renew(&node, &moved, &alone).expect(400);
    let renewed = renew(&node, &moved, &again(&|_| {})).expect(200);
    assert_eq!(renewed["attested"]["appraisal"]["status"], "affirming");
    assert!(renewed["attested"]["left_ms"].as_u64().unwrap() <= 4000);
    // Another kernel is another machine than the one that was decided about, whatever it is appraised as.
    let mut kernel = again(&|it| it.environment = environment("6.19.0"));
    kernel["environment"] = json!(environment("6.19.0"));
    code(renew(&node, &moved, &kernel), "other kernel");

    // The other two are renewed for longer than two attestations count; one of them attests.
    let (mut renewals, mut silenced) = (0, None);
    eventually("the silent one is refused", || {
        let body = again(&|_| {});
        renew(&node, &faithful, &body).expect(200);
        renewals += 1;
        if silenced.is_none() {
            let answer = renew(&node, &silent, &json!({}));
            if answer.status == 403 {
                code(answer, "must end");
                silenced = Some(renewals);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        silenced.filter(|at| renewals > at + 22)
    });
    let shown = node.get(&format!("/v1/executions/{faithful}")).expect(200);
    assert_eq!(
        shown["open"]["attested"]["appraisal"]["status"],
        "affirming"
    );
    let gateways = node.get("/v1/policy/nodes").expect(200)["gateways"].clone();
    assert_eq!(gateways[0]["appraisal"], "affirming", "{gateways}");
    let said = place.ok(&["node", "status"]);
    assert!(said.contains("appraised as affirming"), "{said}");
    assert!(place.ok(&["policy", "status"]).contains("attested "));

    for (exec, why) in [
        (&silent, "has not attested its environment again within 4 s"),
        (&moved, "other kernel"),
    ] {
        let ended = eventually("its end is recorded", || {
            let shown = node.get(&format!("/v1/executions/{exec}")).expect(200);
            (shown["execution"]["status"] == "terminated").then_some(shown)
        });
        let text = ended.to_string();
        assert!(text.contains("environment_untrusted"), "{ended}");
        let tail = place.ok(&["log", "tail", "-n", "60", "--json"]);
        assert_eq!(signals(&tail, exec, why), 1, "{tail}");
    }
    // What was refused is recorded, and no more often than it was another thing.
    let tail = place.ok(&["log", "tail", "-n", "60", "--json"]);
    assert_eq!(signals(&tail, &moved, "attests was refused"), 2, "{tail}");
    assert_eq!(signals(&tail, &moved, "another key"), 1, "{tail}");
    assert_eq!(signals(&tail, &faithful, "refused"), 0, "{tail}");
    drop(node);
    place.ok(&["log", "replay"]);
}
