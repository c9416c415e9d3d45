//! Actions that a bundle declares: their context, their resources, their types.

use placet_types::CallParams;
use placet_types::canonical::{Bounds, Json};

use crate::policy::Effect;
use crate::testing::{Asked, files, problems};
use crate::{Bundle, Evaluation, Given, Policy, Request};

const SCHEMA: &str = r#"
entity Account { owner: String };
action "payment:send" in ["execute"] appliesTo {
  principal: [Principal], resource: [Account],
  context: { amount: decimal, count: Long, tags: Set<String>, note?: String },
};
"#;

const POLICIES: &str = r#"
@id("small") permit(principal in Group::"agents", action == Action::"payment:send", resource)
when { context.amount.lessThan(decimal("100.0")) && resource.owner == "rick" };
@id("calm") forbid(principal, action in Action::"execute", resource)
when { context.risk.score > 50 };
@id("noted") forbid(principal, action == Action::"payment:send", resource)
when { context has note && context.note like "*urgent*" };
"#;

fn policy() -> Policy {
    let bundle = Bundle::read(&files(&[
        ("policies/a.cedar", Some(POLICIES)),
        ("schema.cedarschema", Some(SCHEMA)),
    ]));
    Policy::compile(&bundle.unwrap()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn params(context: &str, owner: &str) -> CallParams {
    let Json::Object(context) = Json::parse(context.as_bytes(), Bounds::MESSAGE).unwrap() else {
        panic!("an object");
    };
    let owner = ("owner".to_owned(), Json::String(owner.to_owned()));
    CallParams {
        meta: None,
        arguments: None,
        context,
        resource: [owner].into(),
    }
}

fn pay(policy: &Policy, params: &CallParams, change: impl Fn(&mut Asked)) -> Evaluation {
    let mut asked = Asked::of("/usr/bin/cat", &["cat"]);
    asked.action = "payment:send".parse().unwrap();
    asked.resource.kind = "Account".into();
    asked.resource.id = "A-1".into();
    asked.resource.digest = None;
    change(&mut asked);
    let request = Request {
        params: Given::Call(params),
        ..asked.request()
    };
    let evaluation = policy.evaluate(&request);
    assert_eq!(evaluation, policy.evaluate_in_full(&request));
    evaluation
}

#[test]
fn a_declared_action_is_decided_by_its_own_attributes() {
    let policy = policy();
    let small = params(r#"{"amount":"12.5","count":1,"tags":["a"]}"#, "rick");
    let answer = pay(&policy, &small, |_| {});
    assert_eq!(
        (answer.effect, answer.determining),
        (Effect::Permit, vec!["small".to_owned()])
    );
    let fraction = params(r#"{"amount":12.5,"count":1,"note":null,"tags":[]}"#, "rick");
    assert_eq!(pay(&policy, &fraction, |_| {}).effect, Effect::Permit);
    let large = params(r#"{"amount":"100.0","count":1,"tags":[]}"#, "rick");
    assert_eq!(pay(&policy, &large, |_| {}).effect, Effect::NoPermit);
    // The resource is what this request says it is, not what an earlier one said.
    let other = params(r#"{"amount":"12.5","count":1,"tags":["a"]}"#, "morty");
    assert_eq!(pay(&policy, &other, |_| {}).effect, Effect::NoPermit);
    let urgent = params(
        r#"{"amount":"1.0","count":1,"note":"urgent!","tags":[]}"#,
        "rick",
    );
    assert_eq!(pay(&policy, &urgent, |_| {}).determining, ["noted"]);
}

#[test]
fn a_policy_on_every_action_sees_the_common_facts_of_a_declared_one() {
    let small = params(r#"{"amount":"12.5","count":1,"tags":[]}"#, "rick");
    let answer = pay(&policy(), &small, |asked| asked.risk.score = 60);
    assert_eq!(
        (answer.effect, answer.determining),
        (Effect::Forbid, vec!["calm".to_owned()])
    );
}

#[test]
fn what_does_not_fit_the_declaration_is_an_error_and_denies() {
    let policy = policy();
    for context in [
        // Another type.
        r#"{"amount":true,"count":1,"tags":[]}"#,
        r#"{"amount":"12.5","count":"1","tags":[]}"#,
        r#"{"amount":"12.5","count":1,"tags":[1]}"#,
        r#"{"amount":"x","count":1,"tags":[]}"#,
        r#"{"amount":0.12345,"count":1,"tags":[]}"#,
        // Missing, or null, or more than is declared.
        r#"{"count":1,"tags":[]}"#,
        r#"{"amount":null,"count":1,"tags":[]}"#,
        r#"{"amount":"1.0","count":1,"more":1,"tags":[]}"#,
        r#"{"amount":"1.0","count":1,"tags":[null]}"#,
        // What the log says is not the caller's to say.
        r#"{"amount":"1.0","count":1,"risk":{"factors":[],"score":0},"tags":[]}"#,
    ] {
        let answer = pay(&policy, &params(context, "rick"), |_| {});
        assert_eq!(answer.effect, Effect::Error, "{context}");
        assert_eq!(answer.errors.len(), 1, "{context}");
    }
    let good = params(r#"{"amount":"1.0","count":1,"tags":[]}"#, "rick");
    let other_kind = pay(&policy, &good, |asked| asked.resource.kind = "Group".into());
    assert_ne!(other_kind.effect, Effect::Permit);
    let unknown = pay(&policy, &good, |asked| {
        asked.action = "payment:take".parse().unwrap()
    });
    assert_eq!(unknown.effect, Effect::NoPermit);
    let process = pay(&policy, &good, |asked| {
        asked.action = "process:run".parse().unwrap()
    });
    assert_ne!(process.effect, Effect::Permit);
}

#[test]
fn a_declaration_cannot_take_the_place_of_a_common_fact() {
    let schema = SCHEMA.replace("count: Long", "history: Long");
    let found = problems(&[("schema.cedarschema", Some(&schema))]);
    assert!(
        found.iter().any(|line| line.contains("declares `history`")),
        "{found:?}"
    );
}

#[test]
fn a_bundle_tests_its_own_actions() {
    let test = r#"
[defaults]
principal = "agent:coder"
groups = ["agents"]
action = "payment:send"
resource = { kind = "Account", id = "A-1", attributes = { owner = "rick" } }
context = { amount = "12.5", count = 1, tags = [] }

[[test]]
name = "small"
expect = "permit"
policies = ["small"]

[[test]]
name = "large"
context = { amount = "1000.0", count = 1, tags = ["x"] }
expect = "no_permit"
"#;
    let bundle = Bundle::read(&files(&[
        ("policies/a.cedar", Some(POLICIES)),
        ("schema.cedarschema", Some(SCHEMA)),
        ("tests/t.toml", Some(test)),
    ]))
    .unwrap();
    let report = crate::run_tests(&bundle, &Policy::compile(&bundle).unwrap());
    assert!(report.passed(), "{:#?}", report.results);
    assert_eq!(report.results.len(), 2);
}

/// What a bundle says of tools that it has no schema for.
const TOOLS: &str = r#"
@id("inside") permit(principal, action == Action::"mcp:call", resource) when {
  resource.server == "files" && context.args.hasTag("path") &&
  context.args.getTag("path") has path && context.args.getTag("path").path like "/data/*"
};
@id("small") permit(principal, action == Action::"mcp:call", resource) when {
  resource.name == "pay" && context.args.hasTag("order.amount") &&
  context.args.getTag("order.amount") has number &&
  context.args.getTag("order.amount").number.lessThanOrEqual(decimal("100.00"))
};
@id("seen") permit(principal, action == Action::"mcp:list", resource is McpTool);
@id("calm") forbid(principal, action in Action::"execute", resource)
  when { context.history.permits_resource_hour >= 3 };
"#;

fn call(action: &str, tool: &str, arguments: &str) -> Evaluation {
    let about = "name = \"b\"\nrevision = 1\ndescription = \"d\"\ndefault_profile = \"p\"\n\
                 vocabularies = [\"mcp\"]\n";
    let changes = [
        ("bundle.toml", Some(about)),
        ("policies/a.cedar", Some(TOOLS)),
    ];
    let bundle = Bundle::read(&files(&changes)).unwrap();
    let policy = Policy::compile(&bundle).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let read = |text: &str| {
        let Json::Object(members) = Json::parse(text.as_bytes(), Bounds::MESSAGE).unwrap() else {
            panic!("an object");
        };
        members
    };
    let (server, name) = tool.split_once('/').unwrap();
    let hints = [
        "annotated",
        "read_only",
        "destructive",
        "idempotent",
        "open_world",
    ];
    let mut resource = read(&format!(r#"{{"server":"{server}","name":"{name}"}}"#));
    resource.extend(hints.map(|hint| (hint.to_owned(), Json::Bool(false))));
    let is_call = action == "mcp:call";
    let params = CallParams {
        meta: None,
        arguments: is_call.then(|| read(arguments)),
        context: if is_call {
            read(r#"{"request":"sha256:00"}"#)
        } else {
            read("{}")
        },
        resource,
    };
    let mut asked = Asked::of("/usr/bin/cat", &["cat"]);
    asked.action = action.parse().unwrap();
    asked.resource.kind = "McpTool".into();
    asked.resource.id = tool.into();
    asked.history.permits_resource_hour = 2;
    let request = Request {
        params: Given::Call(&params),
        ..asked.request()
    };
    let full = policy.evaluate_in_full(&request);
    assert_eq!(policy.evaluate(&request), full);
    full
}

#[test]
fn arguments_without_a_schema_are_typed_by_what_they_are() {
    for (tool, arguments, effect) in [
        ("files/read", r#"{"path":"/data/a"}"#, Effect::Permit),
        (
            "files/read",
            r#"{"path":"/data/../etc/passwd"}"#,
            Effect::NoPermit,
        ),
        ("files/read", r#"{"path":"data/a"}"#, Effect::NoPermit),
        (
            "files/read",
            r#"{"path":["/data/a","/data/b/c"]}"#,
            Effect::NoPermit,
        ),
        (
            "files/read",
            r#"{"path":["/data/a/x","/data/a/y"]}"#,
            Effect::Permit,
        ),
        ("files/read", r#"{"Path":"/data/a"}"#, Effect::NoPermit),
        ("bank/pay", r#"{"order":{"amount":99.5}}"#, Effect::Permit),
        (
            "bank/pay",
            r#"{"order":{"amount":100.01}}"#,
            Effect::NoPermit,
        ),
        ("bank/pay", r#"{"order":{"amount":"1"}}"#, Effect::NoPermit),
        (
            "bank/pay",
            r#"{"order.amount":1,"order":{"amount":9000}}"#,
            Effect::Error,
        ),
    ] {
        assert_eq!(
            call("mcp:call", tool, arguments).effect,
            effect,
            "{arguments}"
        );
    }
    assert_eq!(call("mcp:list", "bank/pay", "").effect, Effect::Permit);
}
