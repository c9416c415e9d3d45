//! Attestations over HTTP: with the node's nonce, of these claims, by the key that the artifact is bound to.

use placet_evidence::{AttestationStatement, Backing, Environment, Nonce};
use placet_types::{Digest, DomainName, Fixed, Millis, PlaceName, SigningKey, Tier};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::client::Key;
use crate::place::{Node, Place};

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
