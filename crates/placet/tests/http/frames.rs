//! The node's own socket, where the connection of a gateway carries what it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_artifact::Artifact;
use placet_authority::dir::DomainDir;
use placet_authority::node::wire::{Request, Response, SubmitBody};
use placet_authority::node::{Connection, Pushed, connect};
use placet_evidence::Environment;
use placet_types::{
    AbsPath, ActionName, Asked, Commitment, DenialCode, Digest, ExecutionId, Fixed, GatewayName,
    Intent, PrincipalId, ProcessParams, ResourceRef, Salt, SigningKey, Tier, canonical,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::place::{Place, eventually};

pub(crate) fn link(place: &Place) -> Connection {
    connect(&DomainDir::open(&place.dir()).unwrap()).unwrap()
}

/// A submission of the agent to run a program of this machine, hidden by a salt of its own.
pub(crate) fn submission(place: &Place, argv: &[&str], number: u64) -> Request {
    let path = |path: std::path::PathBuf| AbsPath::parse(path.to_str().unwrap()).unwrap();
    let program = std::fs::canonicalize(format!("/usr/bin/{}", argv[0])).unwrap();
    let params = ProcessParams {
        argv: argv.iter().map(|&text| text.to_owned()).collect(),
        cwd: path(place.work()),
        env: BTreeMap::new(),
        home: path(place.dir().parent().unwrap().to_owned()),
        purpose: None,
        script: None,
        workspace: path(place.work()),
    };
    let bytes = canonical::to_bytes(&params).unwrap();
    let salt = Salt::new(*Digest::of(&number.to_be_bytes()).as_bytes());
    let intent = Intent {
        action: ActionName::parse("process:run").unwrap(),
        asked: Asked::default(),
        gateway: GatewayName::parse("process").unwrap(),
        params: Commitment::to("process:run", &bytes, &salt),
        parent: None,
        principal: PrincipalId::parse("agent:coder").unwrap(),
        resource: ResourceRef {
            digest: Some(Digest::of(&std::fs::read(&program).unwrap())),
            id: program.to_str().unwrap().to_owned(),
            kind: "Program".into(),
        },
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Request::Submit(Box::new(SubmitBody {
        bearer: None,
        attestation: None,
        door: None,
        environment: environment(),
        holder: SigningKey::from_seed(&Zeroizing::new([9; 32])).public(),
        intent: text(intent.to_canonical().unwrap()),
        params: text(bytes),
        salt,
    }))
}

fn environment() -> Fixed<Environment> {
    Fixed::new(Environment {
        container: None,
        gateway_digest: None,
        region: None,
        zone: None,
        arch: "x86_64".into(),
        boot: "boot".into(),
        distribution: "debian 12".into(),
        gateway: "0.1.0".into(),
        kernel: "6.18.0".into(),
        landlock_abi: 7,
        machine: Digest::of(b"machine"),
        tier: Some(Tier::U1),
        weaker: Default::default(),
    })
    .unwrap()
}

fn start(exec: ExecutionId, artifact: Digest) -> Request {
    Request::Start {
        artifact,
        exec,
        gateway: GatewayName::parse("process").unwrap(),
        pinned: None,
        takes_secrets: false,
    }
}

/// What this connection is told about its execution, once it is told to end it.
fn told_to_end(link: &mut Connection) -> (ExecutionId, DenialCode) {
    eventually("the order to end", || {
        let pushed = link.pushed().unwrap_or_default();
        pushed.into_iter().find_map(|push| match push {
            Pushed::Ending { exec, cause } => Some((exec, cause)),
            Pushed::Beat { .. } => None,
        })
    })
}

#[test]
fn a_refused_start_leaves_what_runs_with_the_connection_that_carries_it() {
    let place = Place::new();
    let node = place.up();
    let mut own = link(&place);
    let permit = own.ask(&submission(&place, &["true"], 1)).unwrap();
    let Response::Permitted(permit) = permit else {
        panic!("{permit:?}");
    };
    let artifact = Artifact::parse(&permit.artifact).unwrap().digest();
    let answer = own.ask(&start(permit.exec, artifact)).unwrap();
    assert!(matches!(answer, Response::Recorded { .. }), "{answer:?}");
    // The same artifact again, by the same connection and by another one.
    let mut other = link(&place);
    for link in [&mut own, &mut other] {
        let answer = link.ask(&start(permit.exec, artifact)).unwrap();
        let Response::Denied { denial, .. } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(denial.code, DenialCode::Replayed);
    }
    drop(other);
    // It goes on, for longer than an orphan does, and is ended by whoever carries it.
    let lease = Duration::from_millis(permit.grant.lease_ms);
    std::thread::sleep(lease + Duration::from_millis(1500));
    let state = node
        .get(&format!("/v1/executions/{}", permit.exec))
        .expect(200);
    assert_eq!(state["execution"]["status"], "running");
    let act = json!({ "reason": "over", "selector": { "execution": permit.exec } });
    node.post("/v1/revocations", &act).expect(201);
    assert_eq!(told_to_end(&mut own), (permit.exec, DenialCode::Revoked));
}

#[test]
fn who_comes_back_to_a_connection_is_told_what_the_domain_offers_now() {
    let place = Place::new();
    let _node = place.up();
    let mut link = link(&place);
    let before = link.welcome().clone();
    assert!(!before.env.iter().any(|name| name == "OFFERED_SINCE"));
    place.activate_changed(
        2,
        &[(
            "profiles/operator.toml",
            "env = [",
            "env = [\n  \"OFFERED_SINCE\",",
        )],
    );
    link.greet_again().unwrap();
    let now = link.welcome();
    assert!(now.env.iter().any(|name| name == "OFFERED_SINCE"));
    assert_eq!(
        (&now.domain, &now.genesis),
        (&before.domain, &before.genesis)
    );
    // What is attested with it is of now as well.
    assert_ne!(now.nonce, before.nonce);
    assert_eq!(link.nonce_at_hand(), now.nonce);
}
