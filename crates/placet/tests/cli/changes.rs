//! Work on a copy: what is kept of it, how it is reviewed, applied and discarded, and what an execution
//! cannot smuggle through that.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::domain::{DENIED, Domain, UNVERIFIED, await_some, parsed};

/// Runs a script on a copy; gives the execution.
fn on_a_copy(domain: &Domain, script: &str) -> String {
    on(domain, "copy", script)
}

fn on(domain: &Domain, profile: &str, script: &str) -> String {
    let ran = domain.run(&["run", "--profile", profile, "--", "sh", "-ec", script]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("to a copy"), "{ran:?}");
    let last = domain.executions().pop().unwrap();
    last["exec"].as_str().unwrap().to_owned()
}

fn listed(domain: &Domain, exec: &str) -> Value {
    domain.json(&["changes", "show", exec])["list"]["changes"].clone()
}

/// Everything below a directory: path, kind, permissions and content.
fn tree(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let what = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_file() {
            fs::read_to_string(&path).unwrap_or_default()
        } else {
            String::new()
        };
        all.push(format!("{path:?} {:o} {what}", metadata.mode()));
        if metadata.is_dir() {
            all.extend(tree(&path));
        }
    }
    all.sort();
    all
}

/// A workspace with one file of each kind.
fn workspace() -> Domain {
    let domain = Domain::new();
    let work = domain.work();
    fs::write(work.join("a"), "one\ntwo\n").unwrap();
    fs::write(work.join("tool"), "#!/bin/sh\n").unwrap();
    fs::create_dir_all(work.join("dir/deep")).unwrap();
    fs::write(work.join("dir/deep/file"), "deep\n").unwrap();
    fs::write(work.join("dir/kept"), "kept\n").unwrap();
    symlink("a", work.join("link")).unwrap();
    domain
}

const WORK: &str = "echo three >> a; chmod 755 tool; rm -r dir/deep; mkdir new; echo hi > new/f; \
     ln -sfn dir link; printf 'x\\000y' > binary; cat a";

#[test]
fn work_on_a_copy_leaves_the_tree_alone_until_it_is_applied() {
    let domain = workspace();
    let before = tree(&domain.work());
    let exec = on_a_copy(&domain, WORK);
    assert_eq!(tree(&domain.work()), before);
    let shown = domain.ok(&["changes", "show", &exec]);
    for part in [
        "changed  a",
        "+three",
        "mode 0644 to 0755",
        "removed  dir/deep/file",
        "added    new/f",
        "to dir",
        "compared by digest only",
        "8 changes",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let names = domain.ok(&["changes", "show", "--name-only", &exec]);
    let expected = "a\nbinary\ndir/deep\ndir/deep/file\nlink\nnew\nnew/f\ntool\n";
    assert_eq!(names, expected);
    assert!(domain.ok(&["changes", "list"]).contains(&exec));

    assert!(
        domain
            .ok(&["changes", "apply", &exec])
            .contains("applied 8 changes")
    );
    let work = domain.work();
    assert_eq!(
        fs::read_to_string(work.join("a")).unwrap(),
        "one\ntwo\nthree\n"
    );
    assert_eq!(fs::read_to_string(work.join("new/f")).unwrap(), "hi\n");
    assert_eq!(fs::read_link(work.join("link")).unwrap(), Path::new("dir"));
    assert_eq!(
        fs::metadata(work.join("tool")).unwrap().mode() & 0o7777,
        0o755
    );
    assert!(!work.join("dir/deep").exists() && work.join("dir/kept").exists());
    nothing_is_left(&domain);
    let log = domain.ok(&["log", "tail", "-n", "9"]);
    assert!(
        log.contains("applied 8 changes") && log.contains("in a copy, kept"),
        "{log}"
    );
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

fn nothing_is_left(domain: &Domain) {
    let kept = fs::read_dir(domain.dir().join("changes")).unwrap();
    assert_eq!(kept.count(), 0);
    let staged = fs::read_dir(domain.work()).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with(".placet-apply")
    });
    assert!(!staged);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(domain.dir().to_str().unwrap()), "{mounts}");
}

#[test]
fn a_part_can_be_applied_and_the_rest_later() {
    let domain = workspace();
    let exec = on_a_copy(&domain, WORK);
    domain.ok(&["changes", "apply", &exec, "new", "a"]);
    assert!(domain.work().join("new/f").exists() && domain.work().join("dir/deep").exists());
    let said = domain.fails(1, &["changes", "apply", &exec, "nothing"]);
    assert!(said.contains("was not changed"), "{said}");
    // Nothing else is kept, so nothing has to be named.
    let said = domain.ok(&["changes", "apply"]);
    assert!(said.contains("3 were there already"), "{said}");
    assert!(!domain.work().join("dir/deep").exists());
    nothing_is_left(&domain);
    on_a_copy(&domain, "echo more > new/g");
    on_a_copy(&domain, "echo more > new/h");
    let said = domain.fails(1, &["changes", "show"]);
    assert!(said.contains("which?"), "{said}");
}

#[test]
fn what_was_changed_meanwhile_is_a_conflict_and_nothing_is_half_applied() {
    let domain = workspace();
    let exec = on_a_copy(&domain, WORK);
    fs::write(domain.work().join("tool"), "somebody else's\n").unwrap();
    fs::write(domain.work().join("binary"), "somebody else's\n").unwrap();
    let before = tree(&domain.work());
    let said = domain.fails(1, &["changes", "apply", &exec]);
    for part in [
        "2 changes do not fit",
        "tool: the original changed",
        "binary: something",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(tree(&domain.work()), before);
    domain.ok(&["changes", "apply", &exec, "a", "new"]);
    domain.ok(&["changes", "discard", &exec]);
    nothing_is_left(&domain);
}

#[test]
fn what_changes_below_a_running_copy_is_a_conflict() {
    let domain = workspace();
    let script = "echo more >> a; touch ready; sleep 5";
    let child = domain.start(&["run", "--profile", "copy", "--", "sh", "-c", script]);
    let uppers = || {
        let changes = fs::read_dir(domain.dir().join("changes")).ok()?;
        changes
            .flatten()
            .find(|entry| entry.path().join("0/upper/ready").exists())
    };
    await_some("the copy", uppers);
    fs::write(domain.work().join("a"), "somebody else's\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let exec = domain.executions().pop().unwrap()["exec"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = domain.fails(1, &["changes", "apply", &exec, "a"]);
    assert!(
        said.contains("the original changed while the execution ran"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(domain.work().join("a")).unwrap(),
        "somebody else's\n"
    );
    domain.ok(&["changes", "discard", &exec]);
}

#[test]
fn a_dry_run_really_runs_and_leaves_only_its_list() {
    let domain = workspace();
    let before = tree(&domain.work());
    let exec = on(&domain, "dryrun", WORK);
    assert_eq!(tree(&domain.work()), before);
    let ended = parsed(
        domain
            .ok(&["log", "tail", "-n", "1", "--json"])
            .lines()
            .last()
            .unwrap(),
    );
    let text = ended.to_string();
    assert!(
        text.contains("\"writes\":\"discarded\"") && text.contains("\"count\":8"),
        "{text}"
    );
    assert!(domain.ok(&["changes", "show", &exec]).contains("new/f"));
    let said = domain.fails(1, &["changes", "apply", &exec]);
    assert!(said.contains("dry run"), "{said}");
    let upper = domain.dir().join("changes").join(&exec).join("0");
    assert!(!upper.exists());
    domain.ok(&["changes", "discard", &exec]);
    nothing_is_left(&domain);
}

#[test]
fn links_that_an_execution_planted_are_never_followed() {
    let domain = workspace();
    let outside = domain.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "outside\n").unwrap();
    let target = outside.to_str().unwrap();
    let script =
        format!("ln -s {target} out; ln -s {target}/file leaf; rm -r dir; ln -s {target} dir");
    let exec = on_a_copy(&domain, &script);
    let shown = domain.ok(&["changes", "show", &exec]);
    assert!(shown.contains("leads out of the tree"), "{shown}");
    // Somebody swaps a directory on the way for a link to elsewhere, just before.
    let second = on_a_copy(
        &domain,
        "echo changed > dir/kept; mkdir dir/sub; echo x > dir/sub/x",
    );
    fs::rename(domain.work().join("dir"), domain.work().join("moved")).unwrap();
    symlink(&outside, domain.work().join("dir")).unwrap();
    let said = domain.fails(1, &["changes", "apply", &second]);
    assert!(said.contains("over a link or a mount"), "{said}");
    fs::remove_file(domain.work().join("dir")).unwrap();
    fs::rename(domain.work().join("moved"), domain.work().join("dir")).unwrap();
    domain.ok(&["changes", "apply", &exec, "out", "leaf"]);
    assert_eq!(fs::read_link(domain.work().join("out")).unwrap(), outside);
    assert_eq!(tree(&outside).len(), 1);
    assert_eq!(
        fs::read_to_string(outside.join("file")).unwrap(),
        "outside\n"
    );
}

#[test]
fn setuid_bits_are_shown_and_not_applied_and_links_do_not_carry_writes() {
    let domain = workspace();
    let twin = domain.path("twin");
    fs::hard_link(domain.work().join("a"), &twin).unwrap();
    let exec = on_a_copy(
        &domain,
        "echo more >> a; cp /bin/true su; chmod 6755 su; ln a second; chmod 1777 dir",
    );
    assert!(
        domain
            .ok(&["changes", "show", &exec])
            .contains("has a setuid or setgid bit")
    );
    domain.ok(&["changes", "apply", &exec]);
    let mode = |name: &str| fs::metadata(domain.work().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("su"), mode("dir")), (0o755, 0o777));
    assert_eq!(fs::read_to_string(&twin).unwrap(), "one\ntwo\n");
    assert_eq!(
        fs::metadata(domain.work().join("second")).unwrap().nlink(),
        1
    );
}

#[test]
fn what_is_no_file_is_shown_and_refused() {
    let domain = workspace();
    let exec = on_a_copy(
        &domain,
        "mkfifo pipe; mknod null c 1 3 2>/dev/null && exit 9; mknod gone c 0 0 2>/dev/null && exit 8; rm a; mkdir a; echo in > a/in; rm -r dir; echo file > dir",
    );
    let shown = domain.ok(&["changes", "show", &exec]);
    for part in [
        "named pipe",
        "cannot be applied",
        "file became directory",
        "directory became file",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let said = domain.fails(1, &["changes", "apply", &exec]);
    assert!(
        said.contains("pipe: it is no file, directory or link"),
        "{said}"
    );
    domain.ok(&["changes", "apply", &exec, "a", "dir"]);
    assert_eq!(
        fs::read_to_string(domain.work().join("a/in")).unwrap(),
        "in\n"
    );
    assert_eq!(
        fs::read_to_string(domain.work().join("dir")).unwrap(),
        "file\n"
    );
}

#[test]
fn strange_names_are_spelled_and_applied_as_they_are() {
    let domain = workspace();
    let script = r#"printf 'x' > "$(printf 'line\nfeed')"; printf 'y' > "$(printf 'raw\377byte')"; printf '\033[2Jz\n' > esc; printf 'w' > '.wh.a'; printf 'o' > '.wh..wh..opq'"#;
    let exec = on_a_copy(&domain, script);
    let shown = domain.ok(&["changes", "show", &exec]);
    assert!(
        shown.contains("line\\x0afeed") && shown.contains("raw\\xffbyte"),
        "{shown}"
    );
    assert!(!shown.contains("\u{1b}[2J"), "{shown}");
    domain.ok(&["changes", "apply", &exec, "line\\x0afeed"]);
    domain.ok(&["changes", "apply", &exec]);
    let read = |name: &[u8]| fs::read(domain.work().join(OsStr::from_bytes(name))).unwrap();
    assert_eq!(
        (read(b"line\nfeed"), read(b"raw\xffbyte")),
        (b"x".to_vec(), b"y".to_vec())
    );
    assert!(domain.work().join("a").exists() && domain.work().join(".wh.a").exists());
}

#[test]
fn what_git_would_run_later_is_warned_about() {
    let domain = workspace();
    fs::create_dir_all(domain.work().join(".git/hooks")).unwrap();
    let exec = on_a_copy(
        &domain,
        "echo 'rm -rf ~' > .git/hooks/post-checkout; echo x > .git/config",
    );
    let shown = domain.ok(&["changes", "show", &exec]);
    assert!(
        shown.contains("is a hook") && shown.contains("configures git"),
        "{shown}"
    );
    let applied = domain.ok(&["changes", "apply", &exec]);
    assert!(applied.contains("is a hook"), "{applied}");
}

#[test]
fn kept_changes_that_were_altered_are_refused() {
    let domain = workspace();
    let exec = on_a_copy(&domain, "echo three >> a");
    let dir = domain.dir().join("changes").join(&exec);
    fs::write(dir.join("0/upper/a"), "one\ntwo\nevil!\n").unwrap();
    domain.fails(UNVERIFIED, &["changes", "apply", &exec]);
    let list = fs::read_to_string(dir.join("list.json")).unwrap();
    fs::write(dir.join("list.json"), list.replace("\"a\"", "\"b\"")).unwrap();
    let said = domain.fails(UNVERIFIED, &["changes", "show", &exec]);
    assert!(said.contains("not the one that the log names"), "{said}");
    assert_eq!(
        fs::read_to_string(domain.work().join("a")).unwrap(),
        "one\ntwo\n"
    );
    domain.ok(&["changes", "discard", &exec]);
    nothing_is_left(&domain);
}

#[test]
fn a_copy_is_bounded_and_what_outgrows_it_is_ended() {
    let domain = workspace();
    domain.activate_changed(&[("profiles/copy.toml", "tmp = \"4GiB\"", "tmp = \"2MiB\"")]);
    let script = "head -c 8000000 /dev/zero > big; sleep 30";
    let ran = domain.run(&["run", "--profile", "copy", "--", "sh", "-c", script]);
    assert_eq!(ran.code, crate::domain::TERMINATED, "{ran:?}");
    assert!(
        ran.stderr.contains("anomaly") && ran.stderr.contains("grew past 2 MiB"),
        "{ran:?}"
    );
    nothing_is_left(&domain);
}

#[test]
fn the_directory_of_the_changes_cannot_be_reached_from_inside() {
    let domain = workspace();
    let dir = domain.dir();
    let script = format!(
        "ls {0}/changes 2>/dev/null && exit 5; cat {0}/changes/*/0/upper/a 2>/dev/null && exit 6; \
         umount . 2>/dev/null && exit 7; \
         setfattr -n user.overlay.opaque -v y dir 2>/dev/null && exit 8; echo x > a; cat a",
        dir.display()
    );
    let exec = on_a_copy(&domain, &script);
    let names = domain.ok(&["changes", "show", "--name-only", &exec]);
    assert_eq!(names, "a\n");
}

#[test]
fn marks_of_the_overlay_cannot_be_forged_from_inside() {
    let domain = workspace();
    let script = "import os, stat, sys\n\
        for name in ('user.overlay.opaque', 'user.overlay.whiteout', 'user.overlay.redirect', 'user.overlay.metacopy'):\n\
        \x20   for path in ('dir', 'a'):\n\
        \x20       try:\n            os.setxattr(path, name, b'y')\n\
        \x20       except OSError: pass\n\
        try:\n    os.mknod('gone', stat.S_IFCHR | 0o600, 0); sys.exit(4)\n\
        except OSError: pass\n\
        open('dir/kept', 'a').write('more')\n";
    let ran = domain.run(&[
        "run",
        "--profile",
        "copy",
        "--",
        "/usr/bin/python3",
        "-c",
        script,
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let exec = domain.executions().pop().unwrap()["exec"]
        .as_str()
        .unwrap()
        .to_owned();
    let names = domain.ok(&["changes", "show", "--name-only", &exec]);
    assert_eq!(names, "dir/kept\n", "nothing else was removed or replaced");
}

#[test]
fn unreadable_leftovers_are_listed_and_removed() {
    let domain = workspace();
    let exec = on_a_copy(
        &domain,
        "mkdir -p shut/in; echo x > shut/in/f; chmod 000 shut/in/f shut/in shut",
    );
    assert_eq!(listed(&domain, &exec).as_array().unwrap().len(), 3);
    domain.ok(&["changes", "discard", &exec]);
    nothing_is_left(&domain);
}

#[test]
fn a_child_of_a_copy_is_refused_and_says_why() {
    let domain = workspace();
    let script = "/run/placet/placet run -- true";
    let ran = domain.run(&["run", "--profile", "copy", "--", "sh", "-c", script]);
    assert_eq!(ran.code, DENIED, "{ran:?}");
    assert!(ran.stderr.contains("its parent works on a copy"), "{ran:?}");
    let log = domain.ok(&["log", "tail", "-n", "9"]);
    assert!(log.contains("lapsed unenforceable"), "{log}");
    nothing_is_left(&domain);
}

#[test]
fn policy_reroutes_and_everybody_is_told() {
    let domain = workspace();
    domain.activate_changed(&[
        (
            "policies/agents.cedar",
            "@profile(\"agent\")\npermit (\n  principal in Group::\"agents\",\n  action == Action::\"process:run\",\n  resource in Toolset::\"editors\"",
            "@reroute(\"copy\")\npermit (\n  principal in Group::\"agents\",\n  action == Action::\"process:run\",\n  resource in Toolset::\"editors\"",
        ),
        (
            "tests/agents.toml",
            "policies = [\"agents-edit\"]\nprofiles = [\"agent\"]",
            "policies = [\"agents-edit\"]\nprofiles = [\"copy\"]\nrerouted = [\"copy\"]",
        ),
    ]);
    let touch = ["run", "--as", "agent:coder", "--", "touch", "made"];
    let ran = domain.run(&touch);
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [
        "rerouted by policy, to copy",
        "writes go to a copy",
        "placet changes show exec_",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert!(!domain.work().join("made").exists());
    let decided = domain.ok(&[&["decide"], &touch[1..]].concat());
    assert!(
        decided.contains("rerouted  by policy, to copy"),
        "{decided}"
    );
    assert!(
        decided.contains("the changes are kept for review"),
        "{decided}"
    );
    let last = domain.executions().pop().unwrap();
    let exec = last["exec"].as_str().unwrap();
    assert!(domain.ok(&["explain", exec]).contains("by policy, to copy"));
    assert!(
        domain
            .ok(&["run", "--as", "agent:coder", "--", "cat", "a"])
            .contains("two")
    );
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
    domain.ok(&["changes", "discard", exec]);
}

#[test]
fn what_cannot_be_copied_is_refused_and_never_written_directly() {
    let domain = workspace();
    domain.activate_changed(&[
        (
            "profiles/copy.toml",
            "\"${workspace}\", \"${home}/.cache\",",
            "\"${workspace}/a\",",
        ),
        (
            "profiles/copy.toml",
            "read = [",
            "read = [\n  \"${workspace}\",",
        ),
    ]);
    let ran = domain.run(&["run", "--profile", "copy", "--", "sh", "-c", "echo x > a"]);
    assert_eq!(ran.code, DENIED, "{ran:?}");
    assert!(
        ran.stderr.contains("unenforceable") && ran.stderr.contains("only directories"),
        "{ran:?}"
    );
    assert_eq!(
        fs::read_to_string(domain.work().join("a")).unwrap(),
        "one\ntwo\n"
    );
    nothing_is_left(&domain);
}

#[test]
fn copies_of_a_gateway_that_was_killed_can_be_discarded() {
    let domain = workspace();
    let mut child = domain.start(&[
        "run",
        "--profile",
        "copy",
        "--",
        "sh",
        "-c",
        "touch ready; sleep 600",
    ]);
    await_some("the copy", || {
        let changes = fs::read_dir(domain.dir().join("changes")).ok()?;
        changes
            .flatten()
            .find(|entry| entry.path().join("0/upper/ready").exists())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let exec = domain.executions().pop().unwrap()["exec"]
        .as_str()
        .unwrap()
        .to_owned();
    await_some("the end", || {
        std::thread::sleep(Duration::from_millis(20));
        domain
            .run(&["changes", "discard", &exec])
            .code
            .eq(&0)
            .then_some(())
    });
    nothing_is_left(&domain);
    let mode = fs::metadata(domain.dir().join("changes"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}
