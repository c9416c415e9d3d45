//! Actions that a bundle declares, decided by the whole authority.

use std::collections::BTreeMap;

use placet_artifact::Claims;
use placet_artifact::jws::Compact;
use placet_authority::submission::IntentForm;
use placet_authority::{Act, Answer, Authority, Submission};
use placet_decision::Params;
use placet_evidence::{Caller, TokenIdentity};
use placet_policy::BundleFiles;
use placet_types::canonical::Json;
use placet_types::{
    ActionName, Asked, CallParams, Commitment, DenialCode, Digest, GatewayName, Intent,
    ResourceRef, Salt,
};

use crate::support::{
    AGENT, OPERATOR, UID, World, another_key, archive, assert_replays, denied, environment,
    principal, revision,
};

const SCHEMA: &str = "entity Account { owner: String };\n\
    action \"payment:send\" in [\"execute\"] appliesTo {\n\
      principal: [Principal], resource: [Account], context: { amount: Long } };\n";
const POLICY: &str = "@id(\"pay\") @profile(\"readonly\")\n\
    permit(principal in Group::\"agents\", action == Action::\"payment:send\", resource)\n\
    when { context.amount <= 100 && resource.owner == \"rick\" };\n";

fn paying() -> BundleFiles {
    let mut files = revision(2).0;
    files.insert("schema.cedarschema".into(), SCHEMA.into());
    files.insert("policies/pay.cedar".into(), POLICY.into());
    files.into_iter().collect()
}

fn pay(amount: f64, salt: u8) -> Submission {
    let params = CallParams {
        meta: None,
        arguments: None,
        context: BTreeMap::from([("amount".to_owned(), Json::Number(amount))]),
        resource: BTreeMap::from([("owner".to_owned(), Json::String("rick".into()))]),
    };
    let (bytes, salt) = (params.to_canonical(), Salt::new([salt; 32]));
    let intent = Intent {
        action: ActionName::parse("payment:send").unwrap(),
        asked: Asked::default(),
        gateway: GatewayName::parse("payments").unwrap(),
        params: Commitment::to("payment:send", &bytes, &salt),
        parent: None,
        principal: principal(AGENT),
        resource: ResourceRef {
            digest: None,
            id: "A-1".into(),
            kind: "Account".into(),
        },
    };
    Submission {
        bearer: None,
        attestation: None,
        intent: IntentForm::Bytes(intent.to_canonical().unwrap()),
        params: Params::new(bytes, salt),
        holder: another_key().public(),
        environment: environment(Some(placet_types::Tier::U1)),
        caller: Caller::Unix(UID),
        caller_uid: UID,
    }
}

fn authority(world: &World) -> Authority {
    let authority = world.open();
    let (archive, bundle) = archive(&paying(), Some(&world.operator_key()));
    let act = Act::Activate { archive, bundle };
    authority.act(act, principal(OPERATOR)).unwrap().unwrap();
    authority
}

#[test]
fn a_declared_action_is_permitted_without_files() {
    let world = World::new();
    let authority = authority(&world);
    let Answer::Permitted(permitted) = authority.submit(pay(100.0, 1)).unwrap() else {
        panic!("permitted");
    };
    let scope = &permitted.scope;
    assert!(scope.read.iter().next().is_none() && scope.exec.iter().next().is_none());
    assert!(scope.env.is_empty() && scope.limits.wall_secs > 0);
    let compact = Compact::parse(permitted.artifact.as_str()).unwrap();
    let claims = Claims::decode(compact.payload()).unwrap();
    assert_eq!(claims.detail().action.as_str(), "payment:send");
    assert_eq!(claims.aud.as_str(), "payments");
    assert_eq!(denied(&authority, pay(101.0, 2)).code, DenialCode::NoPermit);
    assert_replays(&authority);
}

#[test]
fn parameters_of_another_action_are_malformed() {
    let world = World::new();
    let authority = authority(&world);
    let process = crate::support::submission(&["ls"], None);
    let mixed = Submission {
        intent: pay(1.0, 3).intent,
        ..process
    };
    assert_eq!(denied(&authority, mixed).code, DenialCode::Malformed);
    // The commitment of a process run, opened by what a payment would give.
    let mut intent = Intent::decode(pay(1.0, 4).intent.as_bytes()).unwrap();
    let bytes = br#"{"context":{"amount":1}}"#.to_vec();
    let salt = Salt::new(*Digest::of(b"salt").as_bytes());
    intent.action = ActionName::parse("process:run").unwrap();
    intent.params = Commitment::to("process:run", &bytes, &salt);
    let odd = Submission {
        intent: IntentForm::Bytes(intent.to_canonical().unwrap()),
        params: Params::new(bytes, salt),
        ..pay(1.0, 4)
    };
    assert_eq!(denied(&authority, odd).code, DenialCode::Malformed);
}

/// A gateway that asks for somebody, whose token it has verified.
fn asks_for(subject: &str, salt: u8) -> Submission {
    let bearer = TokenIdentity {
        claims: BTreeMap::new(),
        issuer: "https://idp.example".into(),
        subject: subject.into(),
    };
    Submission {
        bearer: Some(Box::new(bearer)),
        ..pay(1.0, salt)
    }
}

#[test]
fn a_gateway_asks_for_somebody_as_whom_the_rules_say_that_is_and_as_nobody_else() {
    let world = World::new();
    let authority = world.open();
    let mut files = paying();
    let rule = format!(
        "[[identity]]\ndescription = \"d\"\nprincipal = \"{AGENT}\"\n\
         oidc = {{ issuer = \"https://idp.example\", subject = \"builder\" }}\n"
    );
    files.0.insert("identities.toml".into(), rule.into_bytes());
    let (archive, bundle) = archive(&files, Some(&world.operator_key()));
    let act = Act::Activate { archive, bundle };
    authority.act(act, principal(OPERATOR)).unwrap().unwrap();
    let Answer::Permitted(permitted) = authority.submit(asks_for("builder", 5)).unwrap() else {
        panic!("permitted");
    };
    let record = authority.with_state(|state| state.execution(&permitted.exec).is_some());
    assert!(record);
    // The gateway's own user may act as the agent, and still not for just anybody.
    let refused = denied(&authority, asks_for("stranger", 6));
    assert_eq!(
        (refused.check, refused.code),
        (4, DenialCode::IdentityUnmapped)
    );
    assert_replays(&authority);
}
