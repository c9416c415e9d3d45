mod approvals;
mod declared;

use placet_types::{DenialCode, Seconds};

use super::*;
use crate::Bundle;
use crate::testing::{Asked, files, params, policy, problems};

fn only(changes: &[(&str, Option<&str>)]) -> String {
    let found = problems(changes);
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

fn cedar_problem(text: &str) -> String {
    only(&[("policies/a.cedar", Some(text))])
}

fn evaluate(cedar: &str, asked: &Asked) -> Evaluation {
    let policy = policy(cedar);
    policy.shadow_check(&asked.request()).unwrap();
    policy.evaluate(&asked.request())
}

fn cat() -> Asked {
    Asked::of("/usr/bin/cat", &["cat", "-n", "a"])
}

// Compiling -----------------------------------------------------------------------------------

#[test]
fn syntax_errors_name_file_line_and_what_was_expected() {
    let message = cedar_problem(
        "@id(\"a\")\npermit(principal, action, resource)\nwhen { context.depth === 3 };",
    );
    assert!(message.starts_with("policies/a.cedar:3: "), "{message}");
    assert!(message.contains("[syntax]"), "{message}");
}

#[test]
fn policies_are_validated_strictly_against_the_vocabulary() {
    for (condition, word) in [
        ("context.dpeth > 3", "dpeth"),
        ("context.depth > \"3\"", "unexpected type"),
        ("resource.digest == \"x\"", "optional attribute"),
        ("principal.email == \"x\"", "email"),
    ] {
        let text =
            format!("@id(\"x\") permit(principal, action, resource)\nwhen {{ {condition} }};");
        let message = cedar_problem(&format!("// first\n{text}"));
        assert!(message.starts_with("policies/a.cedar:2: "), "{message}");
        assert!(
            message.contains(word) && message.contains("[validation]"),
            "{message}"
        );
    }
}

#[test]
fn every_policy_has_an_id_of_its_own() {
    assert!(cedar_problem("permit(principal, action, resource);").contains("has no @id"));
    assert!(
        cedar_problem("@id(\"a b\") permit(principal, action, resource);").contains("@id: 1 to")
    );
    let one = "@id(\"a\") permit(principal, action, resource);";
    let message = only(&[("policies/b.cedar", Some(&format!("\n{one}")))]);
    assert_eq!(
        message,
        "policies/b.cedar:2: @id(\"a\") stands at policies/a.cedar:1 already [duplicate-id]"
    );
}

#[test]
fn annotations_that_nobody_carries_out_are_refused() {
    for (annotation, word) in [
        ("@approvals(\"2\")", "write `2 of leads"),
        ("@reroute(\"x\")", "there is no profiles/x.toml"),
        (
            "@profile(\"p\") @reroute(\"p\")",
            "@reroute names the profile",
        ),
        ("@obligation(\"x\")", "@obligation is unknown"),
        ("@lifetime(\"300\")", "write 30s"),
        ("@profile(\"nowhere\")", "there is no profiles/nowhere.toml"),
        ("@profile(\"A B\")", "profile"),
        ("@severity(\"bad\")", "low, medium, high or critical"),
    ] {
        let message = cedar_problem(&format!(
            "@id(\"a\") {annotation} permit(principal, action, resource);"
        ));
        assert!(message.contains(word), "{annotation}: {message}");
    }
    for annotation in ["@profile(\"p\")", "@lifetime(\"1h\")"] {
        let message = cedar_problem(&format!(
            "@id(\"a\") {annotation} forbid(principal, action, resource);"
        ));
        assert!(message.contains("means nothing on a forbid"), "{message}");
    }
}

#[test]
fn wordlists_are_looked_up_by_policies() {
    let entities = "[groups.agents]\ndescription = \"\"\n[toolsets.readers]\ndescription = \"\"\nprograms = []\n\
                    [wordlists.remote]\ndescription = \"d\"\nwords = [\"push\", \"pull\"]\n";
    let cedar = "@id(\"p\") permit(principal, action, resource);
        @id(\"f\") forbid(principal, action, resource) when { context.args.containsAny(Wordlist::\"remote\".words) };";
    let changes = [
        ("entities.toml", Some(entities)),
        ("policies/a.cedar", Some(cedar)),
    ];
    let policy = Policy::compile(&Bundle::read(&files(&changes)).unwrap()).unwrap();
    let effect = |argv: &[&str]| {
        let asked = Asked::of("/usr/bin/git", argv);
        policy.shadow_check(&asked.request()).unwrap();
        policy.evaluate(&asked.request()).effect
    };
    assert_eq!(effect(&["git", "-C", "x", "push"]), Effect::Forbid);
    assert_eq!(effect(&["git", "status"]), Effect::Permit);
    let misspelt = cedar.replace("\"remote\"", "\"remoet\"");
    let message = only(&[
        ("entities.toml", Some(entities)),
        ("policies/a.cedar", Some(&misspelt)),
    ]);
    assert!(
        message.contains("Wordlist::\"remoet\" is not defined"),
        "{message}"
    );
}

#[test]
fn a_misspelt_toolset_is_an_error() {
    let message =
        cedar_problem("@id(\"a\") forbid(principal, action, resource in Toolset::\"raeders\");");
    assert!(
        message.contains("Toolset::\"raeders\" is not defined in entities.toml"),
        "{message}"
    );
}

#[test]
fn a_bundle_adds_to_the_vocabulary_and_cannot_change_it() {
    let schema = "entity Tool;\naction \"tool:use\" in [\"execute\"] appliesTo { principal: [Principal], \
                  resource: [Tool], context: { risk: Risk } };";
    let cedar = "@id(\"a\") forbid(principal, action in Action::\"execute\", resource) when { context.risk.score > 9 };\n\
                 @id(\"b\") permit(principal, action == Action::\"tool:use\", resource is Tool);";
    let sound = [
        ("schema.cedarschema", Some(schema)),
        ("policies/a.cedar", Some(cedar)),
    ];
    assert_eq!(problems(&sound), Vec::<String>::new());
    for own in [
        "entity Program;",
        "action \"process:run\" appliesTo { principal: [Principal], resource: [Program] };",
    ] {
        let message = only(&[("schema.cedarschema", Some(own))]);
        assert!(message.contains("beside the core vocabulary"), "{message}");
    }
    let message = only(&[("schema.cedarschema", Some("entity A;\nentity B in [C;"))]);
    assert!(message.starts_with("schema.cedarschema:2: "), "{message}");
}

#[test]
fn groups_that_stand_in_each_other_are_refused() {
    let text = "[groups.a]\ndescription = \"\"\nin = [\"b\"]\n[groups.b]\ndescription = \"\"\nin = [\"a\"]\n\
                [toolsets.readers]\ndescription = \"\"\nprograms = []\n";
    assert!(only(&[("entities.toml", Some(text))]).contains("cycle"));
}

// Evaluating ----------------------------------------------------------------------------------

#[test]
fn nothing_is_permitted_by_default() {
    let found = evaluate("", &cat());
    assert_eq!(found.effect, Effect::NoPermit);
    assert_eq!(found.effect.denial_code(), Some(DenialCode::NoPermit));
    assert!(found.determining.is_empty() && found.obligations.profiles.is_empty());
}

#[test]
fn any_forbid_denies_and_every_one_is_named() {
    let cedar = "@id(\"p\") permit(principal, action, resource);
        @id(\"z\") forbid(principal, action, resource in Toolset::\"readers\");
        @id(\"f\") forbid(principal in Group::\"all\", action, resource);
        @id(\"g\") forbid(principal, action, resource) when { context.depth > 3 };";
    let found = evaluate(cedar, &cat());
    assert_eq!(
        (found.effect, found.determining),
        (Effect::Forbid, vec!["f".into(), "z".into()])
    );
    let vi = Asked {
        groups: vec![],
        ..Asked::of("/usr/bin/vi", &["vi"])
    };
    assert_eq!(evaluate(cedar, &vi).effect, Effect::Permit);
}

/// Overflow: the one error that strict validation leaves.
const FAILING: &str = "context.history.running + 9223372036854775807 > 0";

fn busy() -> Asked {
    let mut asked = cat();
    asked.history.running = 1;
    asked
}

#[test]
fn a_forbid_that_fails_denies() {
    let cedar = format!(
        "@id(\"p\") permit(principal, action, resource);
         @id(\"f\") forbid(principal, action, resource) when {{ {FAILING} }};"
    );
    let found = evaluate(&cedar, &busy());
    assert_eq!(
        (found.effect, found.determining),
        (Effect::Error, vec!["f".to_owned()])
    );
    assert_eq!(found.effect.denial_code(), Some(DenialCode::PolicyError));
    assert_eq!(found.errors.len(), 1);
    assert!(
        found.errors[0].message.contains("overflow"),
        "{:?}",
        found.errors
    );
    assert_eq!(found.obligations, Obligations::default());
    let cedar = cedar.replace(
        "permit(principal, action, resource)",
        "permit(principal in Group::\"x\", action, resource)",
    );
    assert_eq!(
        evaluate(&cedar, &busy()).effect,
        Effect::Error,
        "also where nothing permits"
    );
}

#[test]
fn a_forbid_that_applies_is_named_before_one_that_fails() {
    let cedar = format!(
        "@id(\"f\") forbid(principal, action, resource) when {{ {FAILING} }};
         @id(\"g\") forbid(principal, action, resource);"
    );
    let found = evaluate(&cedar, &busy());
    assert_eq!(
        (found.effect, found.determining),
        (Effect::Forbid, vec!["g".to_owned()])
    );
    assert_eq!(found.errors.len(), 1);
}

#[test]
fn a_permit_that_fails_does_not_permit() {
    let failing = format!("@id(\"p\") permit(principal, action, resource) when {{ {FAILING} }};");
    assert_eq!(evaluate(&failing, &busy()).effect, Effect::NoPermit);
    let other = format!("{failing} @id(\"q\") permit(principal, action, resource);");
    let found = evaluate(&other, &busy());
    assert_eq!(
        (found.effect, found.determining),
        (Effect::Permit, vec!["q".to_owned()])
    );
    assert_eq!(found.errors[0].policy.as_deref(), Some("p"));
}

#[test]
fn obligations_come_from_every_determining_permit() {
    let cedar = "@id(\"p\") permit(principal, action, resource);
        @id(\"q\") @profile(\"q\") @lifetime(\"10m\") permit(principal, action, resource);
        @id(\"r\") @profile(\"q\") @lifetime(\"5m\") permit(principal, action, resource);
        @id(\"s\") @lifetime(\"1s\") permit(principal in Group::\"others\", action, resource);";
    let found = evaluate(cedar, &cat()).obligations;
    let names: Vec<_> = found.profiles.iter().map(ProfileName::as_str).collect();
    assert_eq!(
        names,
        ["p", "q"],
        "a permit without a profile stands for the default one"
    );
    assert_eq!(found.lifetime, Some(Seconds::new(300)));
}

#[test]
fn a_reroute_takes_the_place_of_a_profile_and_is_said() {
    let cedar = "@id(\"a\") @reroute(\"q\") permit(principal, action, resource);";
    let found = evaluate(cedar, &cat()).obligations;
    assert_eq!(found.profiles, found.rerouted, "and not the default one");
    let both = format!("{cedar} @id(\"b\") @profile(\"p\") permit(principal, action, resource);");
    let found = evaluate(&both, &cat()).obligations;
    let names = |all: &[ProfileName]| {
        all.iter()
            .map(|p| p.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&found.profiles),
        ["p", "q"],
        "both profiles have to allow it"
    );
    assert_eq!(names(&found.rerouted), ["q"]);
}

#[test]
fn policies_see_the_request_as_the_vocabulary_says() {
    let mut asked = Asked::of(
        "/usr/bin/python3.11",
        &["/opt/bin/py", "-m", "--", "x.y", "-v"],
    );
    asked.delegation = vec![placet_types::PrincipalId::parse("user:alice").unwrap()];
    asked.depth = 2;
    asked.profile = Some(ProfileName::parse("q").unwrap());
    asked.history.since_last_permit_secs = None;
    asked.risk.score = 7;
    asked.risk.factors = vec!["burst".into()];
    for condition in [
        "principal == Principal::\"agent:coder\" && principal.kind == \"agent\" && principal.name == \"coder\"",
        "principal in Group::\"agents\" && principal in Group::\"all\"",
        "action in Action::\"execute\"",
        "resource == Program::\"/usr/bin/python3.11\" && resource.name == \"python3.11\"",
        "resource has digest && resource.digest like \"sha256:*\" && resource.path == \"/usr/bin/python3.11\"",
        "context.args == [\"-m\", \"--\", \"x.y\", \"-v\"]",
        "context.called == \"py\" && context.verb == \"x.y\" && context.line == \"/opt/bin/py -m -- x.y -v\"",
        "context.cwd == \"/w/p/src\" && context.workspace == \"/w/p\" && context.in_workspace",
        "!context.program_in_workspace && context.purpose == \"\" && context.profile == \"q\"",
        "context.delegated && context.delegation.contains(Principal::\"user:alice\") && context.depth == 2",
        "context.history.since_last_permit_secs == 4294967295 && !context.history.seen_resource",
        "context.history.denial_streak + context.history.denials_hour + context.history.permits_hour == 0",
        "context.risk.score == 7 && context.risk.factors == [\"burst\"]",
        "context.environment.trusted && context.environment.tier == \"U1\" && context.environment.landlock_abi == 7",
        "context.environment.arch == \"x86_64\" && context.environment.kernel like \"6.*\"",
        "context.environment.distribution == \"debian 12\" && context.environment.machine like \"sha256:*\"",
        "context.time == datetime(\"2026-11-21T12:00:00Z\") && context.hour == 12 && context.weekday == 6",
    ] {
        let cedar =
            format!("@id(\"p\") permit(principal, action, resource) when {{ {condition} }};");
        let found = evaluate(&cedar, &asked);
        assert_eq!(
            found.effect,
            Effect::Permit,
            "{condition}: {:?}",
            found.errors
        );
    }
}

#[test]
fn a_program_in_the_workspace_is_known_as_such() {
    let cedar =
        "@id(\"p\") permit(principal, action, resource) when { context.program_in_workspace };";
    assert_eq!(
        evaluate(cedar, &Asked::of("/w/p/run", &["./run"])).effect,
        Effect::Permit
    );
    assert_eq!(
        evaluate(cedar, &Asked::of("/w/pp/run", &["./run"])).effect,
        Effect::NoPermit
    );
}

#[test]
fn what_no_policy_can_speak_of_is_denied() {
    let anything = "@id(\"p\") permit(principal, action, resource);";
    let mut asked = cat();
    asked.action = placet_types::ActionName::parse("mcp:call").unwrap();
    assert_eq!(evaluate(anything, &asked).effect, Effect::NoPermit);
    asked = cat();
    asked.action = placet_types::ActionName::parse("execute:x").unwrap();
    assert_eq!(evaluate(anything, &asked).effect, Effect::NoPermit);
    asked = cat();
    asked.resource.kind = "Toolset".into();
    assert_eq!(evaluate(anything, &asked).effect, Effect::NoPermit);
}

#[test]
fn parameters_of_another_shape_are_an_error_whatever_policies_look_at() {
    use placet_types::canonical::Json;
    let anything = "@id(\"p\") permit(principal, action, resource);";
    let mut asked = cat();
    for broken in [
        Json::Null,
        params(&[]),
        Json::Object(std::collections::BTreeMap::new()),
    ] {
        asked.params = broken;
        assert_eq!(evaluate(anything, &asked).effect, Effect::Error);
    }
    if let Json::Object(members) = &mut asked.params {
        members.insert("argv".into(), Json::Array(vec![Json::Number(1.0)]));
    }
    assert_eq!(evaluate(anything, &asked).effect, Effect::Error);
}

#[test]
fn template_links_count_like_policies() {
    let changes = [
        ("policies/a.cedar", Some("")),
        (
            "templates/t.cedar",
            Some(
                "@id(\"t\") @profile(\"q\") permit(principal in ?principal, action, resource == ?resource);",
            ),
        ),
        (
            "links.toml",
            Some(
                "[[link]]\nid = \"l1\"\ntemplate = \"t\"\nprincipal = 'Group::\"agents\"'\nresource = 'Program::\"/usr/bin/cat\"'\n\
                  [[link]]\nid = \"l2\"\ntemplate = \"t\"\nprincipal = 'Group::\"others\"'\nresource = 'Program::\"/usr/bin/cat\"'\n",
            ),
        ),
    ];
    let policy = Policy::compile(&Bundle::read(&files(&changes)).unwrap()).unwrap();
    let found = policy.evaluate(&cat().request());
    assert_eq!(
        (found.effect, found.determining),
        (Effect::Permit, vec!["l1".to_owned()])
    );
    assert_eq!(
        found.obligations.profiles,
        [ProfileName::parse("q").unwrap()]
    );
    policy.shadow_check(&cat().request()).unwrap();
    let other = Asked::of("/usr/bin/ls", &["ls"]);
    assert_eq!(policy.evaluate(&other.request()).effect, Effect::NoPermit);
}

#[test]
fn links_are_checked() {
    let template = (
        "templates/t.cedar",
        Some("@id(\"t\") permit(principal in ?principal, action, resource);"),
    );
    let link = |text: &str| {
        only(&[
            template,
            ("links.toml", Some(&format!("\n[[link]]\n{text}"))),
        ])
    };
    for (text, word) in [
        (
            "id = \"l\"\ntemplate = \"u\"\nprincipal = 'Group::\"g\"'",
            "no template `u`",
        ),
        ("id = \"l\"\ntemplate = \"t\"", "principal"),
        (
            "id = \"a\"\ntemplate = \"t\"\nprincipal = 'Group::\"g\"'",
            "stands at policies/a.cedar:1",
        ),
        (
            "id = \"l\"\ntemplate = \"t\"\nprincipal = 'nobody'",
            "names no entity",
        ),
        (
            "id = \"l\"\ntemplate = \"t\"\nprincipal = 'Robot::\"g\"'",
            "Robot",
        ),
    ] {
        let message = link(text);
        assert!(
            message.contains(word) && message.starts_with("links.toml:2"),
            "{word}: {message}"
        );
    }
}

#[test]
fn a_distrusted_index_gives_the_same_answers() {
    let policy = policy("@id(\"p\") permit(principal in Group::\"agents\", action, resource);");
    let before = policy.evaluate(&cat().request());
    policy.distrust_index();
    assert_eq!(policy.evaluate(&cat().request()), before);
}

#[test]
fn groups_count_in_the_cache_too() {
    let policy = policy("@id(\"p\") permit(principal in Group::\"agents\", action, resource);");
    let mut asked = cat();
    assert_eq!(policy.evaluate(&asked.request()).effect, Effect::Permit);
    asked.groups.clear();
    assert_eq!(policy.evaluate(&asked.request()).effect, Effect::NoPermit);
    asked.groups = vec!["agent".into(), "s".into()];
    assert_eq!(policy.evaluate(&asked.request()).effect, Effect::NoPermit);
}

#[test]
fn threads_share_a_policy() {
    let policy =
        policy("@id(\"p\") permit(principal, action, resource == Program::\"/usr/bin/t7\");");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..300 {
                    let asked = Asked::of(&format!("/usr/bin/t{}", i % 10), &["t"]);
                    let expected = if i % 10 == 7 {
                        Effect::Permit
                    } else {
                        Effect::NoPermit
                    };
                    assert_eq!(policy.evaluate(&asked.request()).effect, expected);
                }
            });
        }
    });
}

#[test]
fn validity_is_a_half_open_window() {
    use placet_types::Millis;
    let text = "name = \"b\"\nrevision = 1\ndescription = \"d\"\ndefault_profile = \"p\"\n\
                not_before = 1970-01-01T00:00:01Z\nexpires = 1970-01-01T00:00:02Z\n";
    let bundle = Bundle::read(&files(&[("bundle.toml", Some(text))])).unwrap();
    let validity = Policy::compile(&bundle).unwrap().validity();
    let holds = [999, 1000, 1999, 2000].map(|millis| validity.holds_at(Millis::new(millis)));
    assert_eq!(holds, [false, true, true, false]);
}
