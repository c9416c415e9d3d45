use super::*;
use crate::testing::{Asked, policy};

const CEDAR: &str = "
@id(\"read\") @description(\"Agents may read.\")
permit(principal in Group::\"agents\", action == Action::\"process:run\", resource in Toolset::\"readers\")
when { context.in_workspace && context.risk.score < 70 }
unless { context.history.denial_streak >= 5 || context.args.contains(\"/etc/shadow\") };
@id(\"git\")
permit(principal in Group::\"agents\", action, resource == Program::\"/usr/bin/git\")
when { [\"status\", \"log\"].contains(context.verb) };
@id(\"ops\") @description(\"Operators.\")
permit(principal in Group::\"operators\", action, resource == Program::\"/usr/bin/git\");
@id(\"deep\") @description(\"Four deep.\") @severity(\"medium\")
forbid(principal, action, resource) when { context.depth > 4 };
";

fn explained(change: impl FnOnce(&mut Asked)) -> String {
    let mut asked = Asked::of("/usr/bin/cat", &["cat", "/etc/shadow"]);
    change(&mut asked);
    explain(&policy(CEDAR), &asked.request()).to_string()
}

#[test]
fn explain_names_what_the_nearest_permits_lack() {
    let text = explained(|asked| asked.risk.score = 85);
    let expected = "\
agent:coder asks for process:run on Program `/usr/bin/cat`.
no_permit: no policy permits it. The permits that come nearest:
  read (policies/a.cedar:2): Agents may read.
    `context.risk.score < 70` does not hold
      context.risk.score is 85
    `!(context.args.contains(\"/etc/shadow\"))` does not hold
      context.args is [\"/etc/shadow\"]
  git (policies/a.cedar:6): (no description)
    the resource Program::\"/usr/bin/cat\" is not Program::\"/usr/bin/git\"
    `[\"status\", \"log\"].contains(context.verb)` does not hold
      context.verb is \"/etc/shadow\"
";
    assert_eq!(text, expected);
}

#[test]
fn explain_names_the_forbidding_policy() {
    let text = explained(|asked| asked.depth = 5);
    let expected = "\
agent:coder asks for process:run on Program `/usr/bin/cat`.
policy_forbids: forbidden by
  deep (policies/a.cedar:11): Four deep.
    `context.depth > 4` holds
      context.depth is 5
";
    assert_eq!(text, expected);
}

#[test]
fn explain_names_the_permit_and_what_it_looked_at() {
    let text = explained(|asked| {
        *asked = Asked::of("/usr/bin/git", &["git", "status"]);
    });
    let expected = "\
agent:coder asks for process:run on Program `/usr/bin/git`.
permit: permitted by
  git (policies/a.cedar:6): (no description)
    `[\"status\", \"log\"].contains(context.verb)` holds
      context.verb is \"status\"
";
    assert_eq!(text, expected);
}

#[test]
fn explain_says_which_part_of_the_scope_does_not_match() {
    let text = explained(|asked| {
        *asked = Asked::of("/usr/bin/git", &["git", "push"]);
        asked.groups = vec![];
    });
    assert!(text.contains(
        "  ops (policies/a.cedar:9): Operators.\n    the principal Principal::\"agent:coder\" is not in Group::\"operators\"\n"
    ), "{text}");
}

#[test]
fn explain_says_when_nothing_comes_near() {
    let text = explained(|asked| {
        *asked = Asked::of("/usr/bin/vi", &["vi"]);
        asked.groups = vec![];
    });
    assert!(
        text.ends_with("no_permit: no policy permits it, and none comes near.\n"),
        "{text}"
    );
}

#[test]
fn explain_says_what_failed() {
    let cedar = "@id(\"f\") forbid(principal, action, resource) when { context.history.running + 9223372036854775807 > 0 };";
    let mut asked = Asked::of("/usr/bin/cat", &["cat"]);
    asked.history.running = 1;
    let text = explain(&policy(cedar), &asked.request()).to_string();
    assert!(
        text.contains("policy_error: a policy that might have forbidden it failed:\n  f "),
        "{text}"
    );
    assert!(text.contains("failed to evaluate: f: "), "{text}");
    asked.params = placet_types::canonical::Json::Null;
    let text = explain(&policy(cedar), &asked.request()).to_string();
    assert!(
        text.contains("failed to evaluate: the request itself: the parameters lack `argv`"),
        "{text}"
    );
}

#[test]
fn long_values_are_cut_short() {
    let mut asked = Asked::of("/usr/bin/git", &["git", &"é".repeat(500)]);
    asked.groups = vec!["agents".into()];
    let text = explain(&policy(CEDAR), &asked.request()).to_string();
    assert!(
        text.lines().all(|line| line.chars().count() < 200),
        "{text}"
    );
    assert!(text.contains('…'), "{text}");
}
