use super::*;

const TEXT: &str = r#"
description = "For tests."
read = ["/usr", "${home}/.gitconfig"]
write = ["${workspace}"]
exec = ["/usr/bin"]
env = ["PATH", "HOME"]
lifetime = "1h"
[limits]
cpu = "10m"
file_size = "1GiB"
memory = "4GiB"
open_files = 1024
processes = 256
tmp = "512MiB"
wall = "1h"
[lease]
interval = "5s"
staleness = "15s"
"#;

fn parse(text: &str) -> Result<Profile, Vec<crate::Problem>> {
    read(
        &ProfileName::parse("test").unwrap(),
        "profiles/test.toml",
        text,
    )
}

fn vars(workspace: &str, home: &str) -> Vars {
    let path = |text| AbsPath::parse(text).unwrap();
    Vars {
        workspace: path(workspace),
        home: path(home),
    }
}

fn first_message(text: &str) -> String {
    parse(text).unwrap_err()[0].message.clone()
}

#[test]
fn variables_are_filled_in_and_writable_trees_are_readable() {
    let scope = parse(TEXT)
        .unwrap()
        .scope(&vars("/home/a/p", "/home/a"))
        .unwrap();
    let roots = |set: &PathSet| set.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(roots(&scope.write), ["/home/a/p"]);
    assert_eq!(
        roots(&scope.read),
        ["/home/a/.gitconfig", "/home/a/p", "/usr"]
    );
    assert_eq!(scope.limits.tmp_bytes, 512 << 20);
    assert_eq!(parse(TEXT).unwrap().lease_ms(), 5000);
}

#[test]
fn a_tree_is_bounded_as_a_whole_only_where_a_profile_says_so() {
    let vars = vars("/home/a/p", "/home/a");
    let limits = |text: &str| parse(text).unwrap().scope(&vars).unwrap().limits;
    let none = limits(TEXT);
    assert_eq!(
        (none.tree_memory_bytes, none.tree_cpu_percent),
        (None, None)
    );
    let with = |lines: &str| TEXT.replace("wall =", &format!("{lines}\nwall ="));
    let both = limits(&with("tree_memory = \"2GiB\"\ntree_cpu_percent = 150"));
    assert_eq!(both.tree_memory_bytes, Some(2 << 30));
    assert_eq!(both.tree_cpu_percent, Some(150));
    for bad in [
        "tree_memory = \"8MiB\"",
        "tree_cpu_percent = 0",
        "tree_cpu_percent = 100001",
    ] {
        assert!(first_message(&with(bad)).contains("tree_"), "{bad}");
    }
}

#[test]
fn workspaces_that_hold_more_than_one_piece_of_work_are_refused() {
    let profile = parse(TEXT).unwrap();
    for workspace in [
        "/",
        "/home",
        "/home/a",
        "/usr",
        "/etc/nginx",
        "/tmp",
        "/var",
        "/usr/local/bin",
        "/home/a/.ssh",
        "/home/a/.config",
        "/home/a/.config/gh",
        "/home/a/.aws/x",
        "/proc/self",
        "/home/a/.local",
    ] {
        let denial = profile.scope(&vars(workspace, "/home/a")).unwrap_err();
        assert_eq!(denial.code, DenialCode::ScopeExceeded);
        assert!(denial.reason.contains(workspace), "{denial}");
    }
    for workspace in [
        "/home/a/p",
        "/tmp/x",
        "/srv/app",
        "/home/a/.config/nvim",
        "/usr/src/linux",
        "/home/b/p",
    ] {
        assert!(
            profile.scope(&vars(workspace, "/home/a")).is_ok(),
            "{workspace}"
        );
    }
    assert!(profile.scope(&vars("/root/p", "/root")).is_ok());
    assert!(profile.scope(&vars("/root", "/root")).is_err());
}

#[test]
fn a_home_that_is_the_root_directory_is_refused_where_it_is_used() {
    assert!(parse(TEXT).unwrap().scope(&vars("/srv/app", "/")).is_err());
    let without = TEXT.replace(", \"${home}/.gitconfig\"", "");
    assert!(
        parse(&without)
            .unwrap()
            .scope(&vars("/srv/app", "/"))
            .is_ok()
    );
}

#[test]
fn profiles_that_would_let_code_out_are_refused() {
    for (from, to, word) in [
        ("\"${workspace}\"]", "\"/\"]", "must not be writable"),
        ("\"${workspace}\"]", "\"/usr/lib\"]", "must not be writable"),
        (
            "\"${workspace}\"]",
            "\"${home}\"]",
            "must not be writable as a whole",
        ),
        ("\"/usr/bin\"]", "\"${workspace}/bin\"]", "exec_in_writable"),
        ("\"/usr/bin\"]", "]", "names no program"),
        ("\"HOME\"", "\"LD_PRELOAD\"", "must not be passed on"),
        ("\"HOME\"", "\"A=B\"", "no name of an environment variable"),
        ("\"/usr\"", "\"/usr/../etc\"", "is no path"),
        ("\"/usr\"", "\"${workspace}x\"", "is no path"),
        ("\"/usr\"", "\"${user}/x\"", "is no path"),
        ("\"/usr\"", "\"relative\"", "is no path"),
        ("\"/usr\"", "\"${home}/\"", "is no path"),
        ("processes = 256", "processes = 0", "nothing could start"),
        (
            "[lease]",
            "[trips]\nprograms = 0\n[lease]",
            "nothing could start",
        ),
        ("[lease]", "[trips]\nrefused = 1\n[lease]", "unknown field"),
        ("env =", "pinned = [\"Makefile\"]\nenv =", "is no path"),
        ("\"15s\"", "\"4s\"", "stale before"),
        ("\"4GiB\"", "\"4GB\"", "no size"),
        ("env =", "envs =", "unknown field"),
    ] {
        assert!(TEXT.contains(from));
        let message = first_message(&TEXT.replacen(from, to, 1));
        assert!(message.contains(word), "{to}: {message}");
    }
}

#[test]
fn programs_in_writable_trees_need_their_own_word() {
    let text = TEXT.replace(
        "\"/usr/bin\"]",
        "\"/usr/bin\", \"${workspace}\"]\nexec_in_writable = true",
    );
    assert!(
        parse(&text)
            .unwrap()
            .scope(&vars("/srv/app", "/home/a"))
            .unwrap()
            .exec_in_writable
    );
}

#[test]
fn digests_of_programs_go_into_the_scope_and_an_empty_list_is_none() {
    let one = format!("sha256:{}", "ab".repeat(32));
    let with = |list: &str| TEXT.replace("env =", &format!("exec_digests = [{list}]\nenv ="));
    let vars = vars("/srv/app", "/home/a");
    let scope = parse(&with(&format!("\"{one}\"")))
        .unwrap()
        .scope(&vars)
        .unwrap();
    let text = serde_json::to_value(&scope).unwrap();
    assert_eq!(text["exec_digests"], serde_json::json!([one]));
    let any = parse(TEXT).unwrap().scope(&vars).unwrap();
    assert!(
        serde_json::to_value(&any)
            .unwrap()
            .get("exec_digests")
            .is_none()
    );
    assert!(parse(&with("")).is_err() && parse(&with("\"sha256:ab\"")).is_err());
}

#[test]
fn trip_limits_and_pinned_files_go_into_the_scope() {
    let text = TEXT.replace(
        "[lease]",
        "[trips]\nrefused_connects = 0\ncpu_total = \"10m\"\nnetwork_bytes = \"1GiB\"\n[lease]",
    );
    let text = text.replace("env =", "pinned = [\"${workspace}/Makefile\"]\nenv =");
    let scope = parse(&text)
        .unwrap()
        .scope(&vars("/srv/app", "/home/a"))
        .unwrap();
    let trips: Vec<_> = scope.trips.iter().collect();
    assert_eq!(
        trips,
        [
            (placet_types::Trip::CpuTotalSecs, 600),
            (placet_types::Trip::NetworkBytes, 1 << 30),
            (placet_types::Trip::RefusedConnects, 0),
        ]
    );
    let pinned: Vec<_> = scope.pinned.iter().map(ToString::to_string).collect();
    assert_eq!(pinned, ["/srv/app/Makefile"]);
}
