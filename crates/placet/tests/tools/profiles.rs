//! Tools under the profiles that are shipped for them, on real projects.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::domain::{DENIED, Domain, Ran, ran};

/// A command of an agent under the profile of a tool, with this environment beside its own.
fn under(domain: &Domain, profile: &str, env: &[(&str, &str)], command: &[&str]) -> Ran {
    let options = ["run", "--as", "agent:coder", "--profile", profile, "--"];
    let mut started = domain.command(&[&options, command].concat());
    ran(started.envs(env.iter().copied()))
}

fn ok(domain: &Domain, profile: &str, env: &[(&str, &str)], command: &[&str]) -> String {
    let ran = under(domain, profile, env, command);
    assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
    ran.stdout
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const IDENTITY: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "a"),
    ("GIT_AUTHOR_EMAIL", "a@example.test"),
    ("GIT_COMMITTER_NAME", "a"),
    ("GIT_COMMITTER_EMAIL", "a@example.test"),
];

#[test]
fn git_works_on_the_local_repository_with_its_hooks() {
    let domain = Domain::new();
    let git = |args: &[&str]| ok(&domain, "git", &IDENTITY, &[&["git"], args].concat());
    git(&["init", "-q", "-b", "main"]);
    let work = domain.work();
    write(&work.join("a"), "one\n");
    let hook = work.join(".git/hooks/pre-commit");
    write(&hook, "#!/bin/sh\necho hook >>.git/hooked\n");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    git(&["add", "a"]);
    git(&["commit", "-q", "-m", "first"]);
    assert_eq!(
        fs::read_to_string(work.join(".git/hooked")).unwrap(),
        "hook\n"
    );
    git(&["branch", "side"]);
    git(&["worktree", "add", "-q", "tree", "side"]);
    write(&work.join("tree/b"), "two\n");
    assert_eq!(git(&["log", "--format=%s"]), "first\n");
    // What exchanges commits is forbidden in this profile too.
    assert_eq!(under(&domain, "git", &[], &["git", "push"]).code, DENIED);
    // A person clones it, in the same profile.
    domain.ok(&[
        "run",
        "--profile",
        "git",
        "--",
        "git",
        "clone",
        "-q",
        ".",
        "copy",
    ]);
    assert!(work.join("copy/a").exists());
}

#[test]
fn make_builds_in_parallel_and_starts_what_it_built() {
    let domain = Domain::new();
    let work = domain.work();
    let mut rules = String::from("all: app\n\t./app\napp: main.o");
    let mut calls = String::new();
    for n in 0..6 {
        write(
            &work.join(format!("f{n}.c")),
            &format!("int f{n}(void) {{ return {n}; }}\n"),
        );
        rules.push_str(&format!(" f{n}.o"));
        calls.push_str(&format!("int f{n}(void);\n"));
    }
    rules.push_str("\n\t$(CC) -o $@ $^\n");
    let sum: String = (0..6).map(|n| format!("+f{n}()")).collect();
    write(
        &work.join("main.c"),
        &format!(
            "#include <stdio.h>\n{calls}int main(void) {{ printf(\"sum %d\\n\", 0{sum}); return 0; }}\n"
        ),
    );
    write(&work.join("Makefile"), &rules);
    let said = ok(&domain, "make", &[], &["make", "-j4", "CC=gcc"]);
    assert!(said.ends_with("sum 15\n"), "{said}");
    // The ordinary profile of an agent starts nothing from the workspace.
    let agent = domain.run(&["run", "--as", "agent:coder", "--", "sh", "-c", "./app"]);
    assert_eq!(agent.code, 126, "{agent:?}");
}

#[test]
fn cargo_builds_and_tests_with_a_build_script_and_a_procedural_macro() {
    let domain = Domain::new();
    let work = domain.work();
    write(
        &work.join("Cargo.toml"),
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nmarked = { path = \"marked\" }\n",
    );
    write(
        &work.join("build.rs"),
        "fn main() { println!(\"cargo:rustc-env=BUILT=by a script\"); }\n",
    );
    write(
        &work.join("src/main.rs"),
        "#[marked::marked]\nfn answer() {}\nfn main() { answer(); println!(\"{}\", env!(\"BUILT\")); }\n#[test]\nfn passes() { assert_eq!(env!(\"BUILT\"), \"by a script\"); }\n",
    );
    write(
        &work.join("marked/Cargo.toml"),
        "[package]\nname = \"marked\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\nproc-macro = true\n",
    );
    write(
        &work.join("marked/src/lib.rs"),
        "#[proc_macro_attribute]\npub fn marked(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream { item }\n",
    );
    let home = std::env::var("HOME").unwrap();
    let cache = work.join(".cargo-home");
    let env = [
        ("HOME", home.as_str()),
        ("CARGO_HOME", cache.to_str().unwrap()),
        ("CARGO_TERM_COLOR", "never"),
    ];
    let cargo = |args: &[&str]| {
        ok(
            &domain,
            "cargo",
            &env,
            &[&["cargo", "--offline"], args].concat(),
        )
    };
    cargo(&["build", "-q"]);
    assert_eq!(cargo(&["run", "-q"]), "by a script\n");
    assert!(cargo(&["test", "-q"]).contains("1 passed"));
}

#[test]
fn python_makes_processes_and_pip_installs_into_a_virtual_environment() {
    let domain = Domain::new();
    let work = domain.work();
    write(
        &work.join("many.py"),
        "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.Pool(3) as p: print(sum(p.map(f, range(10))))\n",
    );
    let python = |args: &[&str]| ok(&domain, "python", &[], args);
    assert_eq!(python(&["/usr/bin/python3", "many.py"]), "285\n");
    python(&["/usr/bin/python3", "-m", "venv", ".venv"]);
    // A wheel, as a local index has it.
    let make = "import zipfile\nz = zipfile.ZipFile('wheels/greet-1.0-py3-none-any.whl', 'w')\nz.writestr('greet.py', 'def main(): print(\"greeted\")\\n')\nd = 'greet-1.0.dist-info/'\nz.writestr(d + 'METADATA', 'Metadata-Version: 2.1\\nName: greet\\nVersion: 1.0\\n')\nz.writestr(d + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\nz.writestr(d + 'entry_points.txt', '[console_scripts]\\ngreet = greet:main\\n')\nz.writestr(d + 'RECORD', '')\nz.close()\n";
    fs::create_dir(work.join("wheels")).unwrap();
    python(&["/usr/bin/python3", "-c", make]);
    python(&[
        ".venv/bin/pip",
        "install",
        "-q",
        "--no-index",
        "--find-links",
        "wheels",
        "greet",
    ]);
    assert_eq!(python(&[".venv/bin/greet"]), "greeted\n");
}

#[test]
fn node_has_threads_and_npm_installs_what_is_locked() {
    let domain = Domain::new();
    let work = domain.work();
    write(
        &work.join("threads.js"),
        "const { Worker, isMainThread, parentPort } = require('worker_threads');\nif (isMainThread) { let n = 0; for (let i = 0; i < 3; i++) new Worker(__filename).on('message', m => { n += m; if (n === 21) console.log('threads', n); }); } else parentPort.postMessage(7);\n",
    );
    assert_eq!(
        ok(&domain, "node", &[], &["/usr/bin/node", "threads.js"]),
        "threads 21\n"
    );
    // A package as a tarball, locked without Placet.
    write(
        &work.join("dep/package.json"),
        "{\"name\":\"dep\",\"version\":\"1.0.0\",\"bin\":{\"dep\":\"cli.js\"}}",
    );
    write(
        &work.join("dep/cli.js"),
        "#!/usr/bin/env node\nconsole.log('from the package');\n",
    );
    write(
        &work.join("package.json"),
        "{\"name\":\"app\",\"version\":\"1.0.0\",\"scripts\":{\"hello\":\"dep\"}}",
    );
    let cache = work.join(".npm");
    let cache = cache.to_str().unwrap();
    let bare = |args: &[&str]| {
        let status = Command::new("npm")
            .args(args)
            .current_dir(&work)
            .env("npm_config_cache", cache)
            .output();
        assert!(status.as_ref().unwrap().status.success(), "{status:?}");
    };
    bare(&["pack", "./dep", "--silent"]);
    bare(&[
        "install",
        "--offline",
        "--no-audit",
        "--no-fund",
        "./dep-1.0.0.tgz",
    ]);
    fs::remove_dir_all(work.join("node_modules")).unwrap();
    let env = [("npm_config_cache", cache), ("npm_config_offline", "true")];
    let npm = |args: &[&str]| ok(&domain, "npm", &env, &[&["npm"], args].concat());
    npm(&["ci", "--no-audit", "--no-fund"]);
    assert!(npm(&["run", "hello", "--silent"]).ends_with("from the package\n"));
}

#[test]
fn curl_reaches_the_named_host_and_no_other_and_ssh_is_refused() {
    let server = |text: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let mut request = [0; 2048];
                if stream.read(&mut request).unwrap_or(0) == 0 {
                    continue;
                }
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
                write!(stream, "{head}: {}\r\n\r\n{text}", text.len()).unwrap_or(());
            }
        });
        port
    };
    let (named, other) = (server("named\n"), server("other\n"));
    let domain = Domain::new();
    let list = format!("network = [\"127.0.0.1:{named}\"]");
    domain.activate_changed(&[("profiles/curl.toml", "\nnetwork = []", &format!("\n{list}"))]);
    let curl = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/");
        domain.run(&[
            "run",
            "--profile",
            "curl",
            "--",
            "curl",
            "-sS",
            "--max-time",
            "10",
            &url,
        ])
    };
    assert_eq!(curl(named).stdout, "named\n");
    let refused = curl(other);
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (7, ""),
        "{refused:?}"
    );
    for tool in ["ssh", "curl"] {
        let agent = domain.run(&["run", "--as", "agent:coder", "--", tool, "example.test"]);
        assert_eq!(agent.code, DENIED, "{agent:?}");
    }
    // Below an agent's shell it is refused by the same rule, and the tree shows under whom.
    let options = [
        "run",
        "--as",
        "agent:coder",
        "--profile",
        "coding-agent",
        "--",
    ];
    let said = domain.ok(&[
        &options[..],
        &["bash", "-c", "bash -c 'ssh host; echo $?'; true"],
    ]
    .concat());
    assert_eq!(said, "137\n");
    let tree = domain.ok(&["lineage", "tree", "--ascii"]);
    let ssh = tree.lines().rfind(|line| line.contains("/ssh")).unwrap();
    assert!(
        ssh.starts_with("   `- ") && ssh.contains("policy_forbids"),
        "{tree}"
    );
}

/// What a coding session is made of, as agents write it.
const SESSION: &[&str] = &[
    "ls",
    "ls -la src | wc -l",
    "pwd",
    "cat README.md",
    "head -n 2 src/main.c",
    "tail -n 1 README.md",
    "wc -l src/*.c",
    "grep -rn main src",
    "grep -c include src/main.c",
    "find . -name '*.c' | sort",
    "find src -type f -exec wc -c {} +",
    "find src -name '*.c' | xargs grep -l main",
    "sed -n '1,3p' src/main.c",
    "sed -i 's/one/uno/' README.md && cat README.md",
    "awk '{print NF}' README.md",
    "sort README.md | uniq -c",
    "cut -c1-3 README.md",
    "tr a-z A-Z <README.md",
    "diff README.md src/main.c; echo $?",
    "stat -c %s README.md",
    "file README.md || true",
    "echo hello > note.txt && cat note.txt",
    "cat > script.sh <<'EOF'\necho from a script\nEOF\nbash script.sh",
    "printf '%s\\n' a b c | xargs -n1 echo got",
    "mkdir -p build/x && ls build",
    "cp README.md build/ && ls build",
    "mv build/README.md build/R && ls build",
    "rm -rf build && ls",
    "touch a && ls a",
    "test -f README.md && echo there",
    "git status --short",
    "git log --oneline | wc -l",
    "git diff --stat",
    "git diff README.md | tail -n 2",
    "git add -A && git status --short",
    "git commit -q -m 'second' && git log --format=%s",
    "git show --stat --format=%s HEAD",
    "git checkout -q -b topic && git branch",
    "git stash list",
    "git rev-parse --abbrev-ref HEAD",
    "git blame -s README.md | wc -l",
    "git ls-files",
    "/usr/bin/python3 -c 'print(6*7)'",
    "/usr/bin/python3 - <<'EOF'\nimport json\nprint(json.dumps({'a': 1}))\nEOF",
    "/usr/bin/python3 -m json.tool <<< '{\"a\":1}'",
    "node -e 'console.log([1,2].map(x => x * 2))'",
    "node -p 'process.version.length > 2'",
    "perl -ne 'print if /uno/' README.md",
    "gcc -o app src/main.c && ./app",
    "make -s -C . app2 2>&1",
    "gcc -Wall -c src/main.c -o m.o && ls m.o",
    "for i in 1 2 3; do echo $i; done",
    "seq 5 | paste -sd+ | bc || echo none",
    "env | grep -c '^PATH='",
    "echo $((1 + 2))",
    "(exit 3); echo $?",
    "false || echo failed",
    "timeout 5 echo in time",
    "yes | head -n 3",
    "tar cf x.tar README.md && tar tf x.tar",
    "gzip -k README.md && ls README.md.gz",
    "sha256sum README.md",
    "od -c README.md | head -n 1",
    "date -d @0 -u +%Y",
    "basename src/main.c .c",
    "sleep 0.05 & wait; echo waited",
];

fn project(dir: &Path) {
    write(&dir.join("README.md"), "one line\ntwo lines\n");
    write(
        &dir.join("src/main.c"),
        "#include <stdio.h>\nint main(void) {\n  printf(\"ran\\n\");\n  return 0;\n}\n",
    );
    write(
        &dir.join("Makefile"),
        "app2: src/main.c\n\tgcc -o app2 src/main.c\n",
    );
    for args in [
        &["init", "-q", "-b", "main"][..],
        &["add", "-A"],
        &["commit", "-q", "-m", "first"],
    ] {
        let status = Command::new("git")
            .args(args)
            .current_dir(dir)
            .envs(IDENTITY)
            .status();
        assert!(status.unwrap().success());
    }
}

#[test]
fn the_commands_of_a_coding_session_do_what_they_do_bare() {
    let domain = Domain::new();
    let bare_dir = domain.path("bare");
    fs::create_dir(&bare_dir).unwrap();
    project(&domain.work());
    project(&bare_dir);
    let options = [
        "run",
        "--as",
        "agent:coder",
        "--profile",
        "coding-agent",
        "--",
        "bash",
        "-c",
    ];
    let mut differ = Vec::new();
    for line in SESSION {
        let mut governed = domain.command(&[&options[..], &[line]].concat());
        let governed = ran(governed
            .envs(IDENTITY)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TERM"));
        let mut bare = Command::new("bash");
        bare.args(["-c", line])
            .current_dir(&bare_dir)
            .env("HOME", domain.path("home"));
        let bare = ran(bare
            .envs(IDENTITY)
            .env("LC_ALL", "C.UTF-8")
            .stdin(std::process::Stdio::null()));
        // Where they stand is not the same.
        let at = |dir: &Path, text: &str| text.replace(dir.to_str().unwrap(), "HERE");
        let governed = (
            governed.code,
            at(&domain.work(), &governed.stdout),
            governed.stderr,
        );
        let bare = (bare.code, at(&bare_dir, &bare.stdout), bare.stderr);
        if (governed.0, &governed.1) != (bare.0, &bare.1) {
            differ.push(format!(
                "{line}\n  governed {governed:?}\n  bare     {bare:?}"
            ));
        }
    }
    assert!(
        differ.is_empty(),
        "{} of {}:\n{}",
        differ.len(),
        SESSION.len(),
        differ.join("\n")
    );
}
