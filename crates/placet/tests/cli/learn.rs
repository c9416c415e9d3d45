//! Learning, end to end: a dry run, files for review, a bundle with them in force, the same command
//! governed and without a copy, and more than it refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use placet_types::Images;

use crate::domain::{DENIED, Domain};
use crate::inside::{KILLED, digest_of};

/// Somebody whom no policy permits anything yet.
const NEWCOMER: &str = "agent:new";

/// Learns a command for the newcomer and puts what was learned in force; gives the profile.
fn learned(domain: &Domain, command: &[&str]) -> String {
    learned_with(domain, &[], command)
}

/// The same with options.
fn learned_with(domain: &Domain, options: &[&str], command: &[&str]) -> String {
    let (dir, bundle) = (domain.path("learned"), domain.path("bundle"));
    let at = dir.to_str().unwrap();
    domain.ok(&["principal", "set", NEWCOMER]);
    let refused = [&["run", "--as", NEWCOMER, "--"], command].concat();
    domain.fails(DENIED, &refused);
    let learn = ["learn", "--out", at, "--permit", NEWCOMER];
    let ran = domain.run(&[&learn[..], options, &["--"], command].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("they authorize nothing"), "{ran:?}");
    // Files in a directory change nothing.
    domain.fails(DENIED, &refused);
    domain.ok(&["policy", "init", bundle.to_str().unwrap()]);
    let mut profile = String::new();
    for kind in ["policies", "profiles", "tests"] {
        for entry in fs::read_dir(dir.join(kind)).unwrap() {
            let entry = entry.unwrap();
            if kind == "profiles" {
                profile = fs::read_to_string(entry.path()).unwrap();
            }
            fs::copy(entry.path(), bundle.join(kind).join(entry.file_name())).unwrap();
        }
    }
    let about = bundle.join("bundle.toml");
    let text = fs::read_to_string(&about).unwrap();
    fs::write(&about, text.replace("revision = 1", "revision = 2")).unwrap();
    domain.ok(&["policy", "test", bundle.to_str().unwrap()]);
    domain.ok(&["policy", "activate", bundle.to_str().unwrap()]);
    profile
}

fn governed(domain: &Domain, command: &[&str]) -> crate::domain::Ran {
    domain.run(&[&["run", "--as", NEWCOMER, "--"], command].concat())
}

#[test]
fn a_script_is_learned_and_runs_governed_and_nothing_more_does() {
    let domain = Domain::new();
    let work = domain.work();
    fs::write(work.join("in"), "text\n").unwrap();
    let ssh = domain.path("home/.ssh");
    fs::create_dir(&ssh).unwrap();
    fs::write(ssh.join("id_ed25519"), "secret\n").unwrap();
    let script = "import os\nos.makedirs('made/here', exist_ok=True)\nopen('made/here/out', 'w').write(open('in').read().upper())\n\
        try:\n    open(os.path.expanduser('~/.ssh/id_ed25519')).read()\nexcept OSError: pass\n\
        try:\n    open('/etc/not-for-this-one', 'w')\nexcept OSError: pass\n";
    fs::write(work.join("script.py"), script).unwrap();
    let command = ["/usr/bin/python3", "script.py"];
    let profile = learned(&domain, &command);
    assert!(!work.join("made").exists(), "learning leaves nothing");
    assert!(
        profile.contains("#   \"${home}/.ssh/id_ed25519\""),
        "{profile}"
    );
    assert!(profile.contains("WARNING"), "{profile}");
    // What it tried and could not do is nothing that it needs.
    let refused = "could not in the dry run. To grant one, add its directory to `write`:\n#   \"/etc/not-for-this-one\",\n";
    assert!(profile.contains(refused), "{profile}");
    assert!(!profile.contains("\n  \"/etc\","), "{profile}");
    assert!(profile.contains("\"${workspace}\","), "{profile}");
    assert!(profile.contains("exec_in_writable = false"), "{profile}");
    // For whoever reviews; an update of the program does not stop it.
    let python = fs::canonicalize(command[0]).unwrap();
    let (digest, path) = (digest_of(command[0]), python.display());
    let remark = format!("# exec_digests = [\n#   \"{digest}\", # {path}\n# ]\n");
    assert!(profile.contains(&remark), "{profile}");
    let ran = governed(&domain, &command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        fs::read_to_string(work.join("made/here/out")).unwrap(),
        "TEXT\n"
    );
    assert!(!ran.stderr.contains("copy"), "{ran:?}");
    governed_refuses(&domain, &["/usr/bin/python3", "script.py", "--more"]);
    governed_refuses(&domain, &["/usr/bin/python3", "-c", "print()"]);
    governed_refuses(&domain, &["cat", "in"]);
    // The same command line, doing a little more than it did.
    fs::write(
        work.join("script.py"),
        "import subprocess, sys\nsys.exit(subprocess.run(['/usr/bin/env', 'true']).returncode)\n",
    )
    .unwrap();
    assert_ne!(governed(&domain, &command).code, 0);
}

fn governed_refuses(domain: &Domain, command: &[&str]) {
    let ran = governed(domain, command);
    assert_eq!(ran.code, DENIED, "{command:?}: {ran:?}");
}

#[test]
fn contents_that_were_learned_start_and_no_others_do() {
    let domain = Domain::new();
    fs::write(domain.work().join("in"), "text\n").unwrap();
    let tools = domain.path("home/.local/bin");
    fs::create_dir_all(&tools).unwrap();
    let (tool, command) = (
        tools.join("tool"),
        ["sh", "-c", "~/.local/bin/tool in; echo $?"],
    );
    fs::copy("/usr/bin/cat", &tool).unwrap();
    let profile = learned_with(&domain, &["--digests"], &command);
    for (program, path) in [
        (
            "/bin/sh",
            fs::canonicalize("/bin/sh").unwrap().display().to_string(),
        ),
        ("/usr/bin/cat", "${home}/.local/bin/tool".to_owned()),
    ] {
        let line = format!("\n  \"{}\", # {path}\n", digest_of(program));
        assert!(profile.contains(&line), "{line}\n{profile}");
    }
    assert!(profile.contains("\nexec_digests = [\n"), "{profile}");
    assert_eq!(governed(&domain, &command).stdout, "text\n0\n");
    // The same program to every eye but this one.
    let mut contents = fs::read(&tool).unwrap();
    contents.push(0);
    fs::write(&tool, &contents).unwrap();
    assert_eq!(governed(&domain, &command).stdout, format!("{KILLED}\n"));
    contents.pop();
    fs::write(&tool, &contents).unwrap();
    assert_eq!(governed(&domain, &command).stdout, "text\n0\n");
}

#[test]
fn more_contents_than_a_profile_lists_are_no_list() {
    let domain = Domain::new();
    let tools = domain.path("home/.local/bin");
    fs::create_dir_all(&tools).unwrap();
    let contents = fs::read("/usr/bin/true").unwrap();
    for number in 0..=u8::try_from(Images::COUNT_MAX).unwrap() {
        let tool = tools.join(format!("tool{number}"));
        fs::write(&tool, [&contents[..], &[number]].concat()).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (dir, command) = (
        domain.path("learned"),
        ["sh", "-c", "for tool in ~/.local/bin/*; do $tool; done"],
    );
    let learn = ["learn", "--out", dir.to_str().unwrap()];
    let said = domain.fails(
        1,
        &[&learn[..], &["--digests", "--"], &command[..]].concat(),
    );
    assert!(said.contains("a profile lists 128"), "{said}");
    assert!(!dir.exists(), "what is not whole is not written");
    domain.ok(&[&learn[..], &["--"], &command[..]].concat());
    let mut profiles = fs::read_dir(dir.join("profiles")).unwrap();
    let profile = fs::read_to_string(profiles.next().unwrap().unwrap().path()).unwrap();
    assert!(profile.contains("more than a profile lists"), "{profile}");
}

#[test]
fn git_and_make_are_learned() {
    let domain = Domain::new();
    let work = domain.work();
    fs::write(work.join("Makefile"), "out: in\n\tcp in out\n").unwrap();
    fs::write(work.join("in"), "text\n").unwrap();
    let command = ["make"];
    let profile = learned(&domain, &command);
    assert!(profile.contains("/cp\","), "{profile}");
    let ran = governed(&domain, &command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(work.join("out").exists());

    let domain = Domain::new();
    fs::write(domain.work().join("note"), "text\n").unwrap();
    let command = ["git", "init", "-q", "."];
    learned(&domain, &command);
    let ran = governed(&domain, &command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(domain.work().join(".git/HEAD").exists());
}

#[test]
fn a_build_that_runs_what_it_made_is_learned() {
    let domain = Domain::new();
    let work = domain.work();
    fs::write(
        work.join("Makefile"),
        "all:\n\tcc -o app app.c\n\t./app > said\n",
    )
    .unwrap();
    fs::write(
        work.join("app.c"),
        "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n",
    )
    .unwrap();
    let command = ["make"];
    let profile = learned(&domain, &command);
    assert!(profile.contains("exec_in_writable = true"), "{profile}");
    let ran = governed(&domain, &command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(work.join("said")).unwrap(), "built\n");
}

#[test]
fn learning_is_a_run_like_any_other_and_takes_a_dry_run() {
    let domain = Domain::new();
    let dir = domain.path("learned");
    let at = dir.to_str().unwrap();
    domain.ok(&["principal", "set", NEWCOMER]);
    domain.fails(
        DENIED,
        &["learn", "--as", NEWCOMER, "--out", at, "--", "ls"],
    );
    assert!(!Path::new(at).exists());
    let said = domain.fails(
        1,
        &["learn", "--profile", "operator", "--out", at, "--", "ls"],
    );
    assert!(said.contains("does not discard"), "{said}");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("mine"), "").unwrap();
    let said = domain.fails(1, &["learn", "--out", at, "--", "ls"]);
    assert!(said.contains("is not empty"), "{said}");
    domain.ok(&["learn", "--", "ls"]);
    assert!(domain.work().join("placet-learned/policies").is_dir());
}

/// A service that says the same to everyone.
fn service() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::Write as _;
            drop(stream.unwrap().write_all(b"welcome\n"));
        }
    });
    address
}

#[test]
fn whom_a_command_reaches_is_learned_and_whom_it_wanted_is_said() {
    let domain = Domain::new();
    let (listed, bundle, dir) = (service(), domain.path("bundle"), domain.path("learned"));
    let socket = domain.path("service.sock");
    let _service = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    domain.ok(&["principal", "set", NEWCOMER]);
    domain.ok(&["policy", "init", bundle.to_str().unwrap()]);
    // What is granted is what both allow.
    for profile in ["dryrun", "operator"] {
        let path = bundle.join(format!("profiles/{profile}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_once("\n[limits]").unwrap();
        let text = format!(
            "{before}\nnetwork = [\"{listed}\"]\nsockets = [{socket:?}]\n\n[limits]{after}"
        );
        fs::write(&path, text).unwrap();
    }
    let about = bundle.join("bundle.toml");
    let text = fs::read_to_string(&about).unwrap();
    fs::write(&about, text.replace("revision = 1", "revision = 2")).unwrap();
    domain.ok(&["policy", "activate", bundle.to_str().unwrap()]);
    let script = format!(
        "import os, socket, urllib.request\n\
         print(socket.create_connection(('{}', {})).recv(9).decode(), end='')\n\
         socket.socket(socket.AF_UNIX).connect({socket:?})\n\
         for to in [('192.0.2.7', 443)]:\n    try: socket.create_connection(to, 5)\n    except OSError: pass\n\
         try: urllib.request.urlopen('http://files.example/page')\n\
         except OSError: pass\n\
         try: socket.getaddrinfo('looked.up.example', 80)\n\
         except OSError: pass\n",
        listed.ip(),
        listed.port()
    );
    fs::write(domain.work().join("ask.py"), script).unwrap();
    let at = dir.to_str().unwrap();
    let command = ["/usr/bin/python3", "ask.py"];
    let learn = [
        &["learn", "--out", at, "--permit", NEWCOMER, "--"],
        &command[..],
    ]
    .concat();
    let ran = domain.run(&learn);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, "welcome\n");
    let mut files = fs::read_dir(dir.join("profiles")).unwrap();
    let profile = fs::read_to_string(files.next().unwrap().unwrap().path()).unwrap();
    for line in [
        format!("network = [\n  \"{listed}\",\n]"),
        format!("sockets = [\n  {socket:?},\n]"),
        "#   \"192.0.2.7:443\",".to_owned(),
        "#   \"files.example:80\",".to_owned(),
        "#   \"looked.up.example\",".to_owned(),
    ] {
        assert!(profile.contains(&line), "{line}\n{profile}");
    }
    // What was learned lets the same run, to the peer and the socket, and to no other.
    for kind in ["policies", "profiles", "tests"] {
        for entry in fs::read_dir(dir.join(kind)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), bundle.join(kind).join(entry.file_name())).unwrap();
        }
    }
    fs::write(&about, text.replace("revision = 1", "revision = 3")).unwrap();
    domain.ok(&["policy", "activate", bundle.to_str().unwrap()]);
    let ran = governed(&domain, &command);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "welcome\n"), "{ran:?}");
    governed_refuses(&domain, &["/usr/bin/python3", "ask.py", "--more"]);
}
