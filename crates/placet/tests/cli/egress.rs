//! The network as a governed command meets it: nobody is reached but the peers of the scope.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use rustix::process::Signal;

use crate::apart::{Apart, PUBLIC};
use crate::domain::{Domain, TERMINATED, await_some, parsed};
use crate::job::send;

/// A service of the host that says the same to everyone, and where it is.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(b"welcome").unwrap();
        }
    });
    address
}

/// A domain whose operators may reach one peer.
fn reaching(peer: SocketAddr) -> Domain {
    with_network(&[&peer.to_string()])
}

fn ask(to: SocketAddr) -> String {
    format!(
        "import socket\ntry:\n    s = socket.create_connection(('{}', {}), 5)\n    s.sendall(b'here')\n    print(s.recv(99).decode())\nexcept OSError as e:\n    print(e.errno)\n",
        to.ip(),
        to.port()
    )
}

#[test]
fn a_peer_of_the_scope_is_reached_and_no_other_and_both_are_recorded() {
    let (listed, unlisted) = (service(), service());
    // An address for documentation (RFC 5737): nobody is there, and nobody is asked.
    let other: SocketAddr = "192.0.2.7:443".parse().unwrap();
    let domain = reaching(listed);
    let script = format!("{}{}{}", ask(listed), ask(unlisted), ask(other));
    let said = domain.ok(&["run", "--", "/usr/bin/python3", "-c", &script]);
    // The loopback is the cell's own but for what is listed: ECONNREFUSED. Elsewhere: EACCES.
    assert_eq!(said, "welcome\n111\n13\n");
    let last = domain.executions().pop().unwrap();
    let exec = last["exec"].as_str().unwrap();
    let records: Vec<_> = domain
        .ok(&["log", "tail", "-n", "9", "--json"])
        .lines()
        .map(parsed)
        .filter(|record| record.to_string().contains(exec))
        .collect();
    let text = |kind: &str| {
        let found = records.iter().find(|record| record["kind"] == kind);
        found.map(ToString::to_string).unwrap_or_default()
    };
    let refused = text("signal");
    // The log is public: whom it was is said by the list beside the record of connections.
    assert!(
        refused.contains("scope_exceeded") && !refused.contains(&other.to_string()),
        "{refused}"
    );
    assert!(domain.ok(&["explain", exec]).contains(&other.to_string()));
    let ended = text("ended");
    for part in ["\"opened\":1", "\"refused\":1", "\"received_bytes\":"] {
        assert!(ended.contains(part), "{part}: {ended}");
    }
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn without_a_peer_in_the_scope_nobody_is_reached() {
    let (domain, somebody) = (Domain::new(), service());
    let said = domain.ok(&["run", "--", "/usr/bin/python3", "-c", &ask(somebody)]);
    assert_ne!(said, "welcome\n");
}

/// A domain whose operators may reach these peers.
fn with_network(peers: &[&str]) -> Domain {
    let domain = Domain::new();
    let network = format!("exec_in_writable = true\nnetwork = {peers:?}");
    domain.activate_changed(&[(
        "profiles/operator.toml",
        "exec_in_writable = true",
        &network,
    )]);
    domain
}

const URLLIB: &str = "import sys, urllib.request\nfor url in sys.argv[1:]:\n    try:\n        print(urllib.request.urlopen(url, timeout=20).read().decode().strip())\n    except Exception as e:\n        print(getattr(e, 'code', None) or e)\n";

/// Connects without a proxy: by the name server, and by connect(2).
const PLAIN: &str = "import socket, sys\nfor peer in sys.argv[1:]:\n    host, port = peer.rsplit(':', 1)\n    try:\n        s = socket.create_connection((host, int(port)), 20)\n        s.sendall(b'GET /page HTTP/1.0\\r\\n\\r\\n')\n        print(s.makefile('rb').read().decode().split()[-1])\n    except socket.gaierror as e:\n        print('no such name')\n    except OSError as e:\n        print(e.errno)\n";

fn python<'a>(script: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["/usr/bin/python3", "-c", script], args].concat()
}

#[test]
fn a_peer_by_name_is_reached_by_every_way_and_each_connection_is_recorded() {
    let domain = with_network(&["example.org:80", "*.example.org:80"]);
    let apart = Apart::new(&domain);
    let curl = ["curl", "-sS", "--fail", "--max-time", "30"];
    let page = "http://example.org/page";
    for more in [
        vec![page],
        vec!["http://FILES.example.org/page"],
        vec!["--proxytunnel", page],
        vec!["--socks5-hostname", "127.0.0.1:3128", page],
        vec!["--noproxy", "*", page],
    ] {
        let said = apart.ok(&domain, &[&curl, more.as_slice()].concat());
        assert_eq!(said, "a page\n", "{more:?}");
    }
    let said = apart.ok(&domain, &python(URLLIB, &[page]));
    assert_eq!(said, "a page\n");
    let said = apart.ok(&domain, &python(PLAIN, &["files.example.org:80"]));
    assert_eq!(said, "page\n");
    let shown = apart.last(&domain);
    let [entry] = shown["connections"]["list"].as_array().unwrap().as_slice() else {
        panic!("{shown}");
    };
    assert_eq!(entry["name"], "files.example.org");
    assert_eq!(entry["address"], format!("{PUBLIC}:80"));
    assert_eq!(entry["rule"], "*.example.org:80");
    assert_eq!(entry["way"], "connect");
    assert!(
        entry["closed"].as_u64() >= entry["time"].as_u64(),
        "{entry}"
    );
    assert!(entry["received_bytes"].as_u64() > Some(7), "{entry}");
    // The log itself says numbers and no names; with the payload it is told.
    let tail = domain.ok(&["log", "tail", "-n", "200", "--json"]);
    assert!(tail.contains("\"connections\""), "{tail}");
    assert!(!tail.contains("files.example.org") && !tail.contains(PUBLIC));
    let exec = shown["exec"].as_str().unwrap();
    assert!(domain.ok(&["explain", exec]).contains("files.example.org"));
    assert!(domain.ok(&["lineage", "show", exec]).contains(PUBLIC));
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
    domain.stop();
    domain.ok(&["log", "fsck"]);
}

#[test]
fn whom_it_talked_to_can_be_erased_and_the_log_stays_whole() {
    let domain = with_network(&["example.org:80"]);
    let apart = Apart::new(&domain);
    apart.ok(&domain, &["curl", "-sS", "http://example.org/page"]);
    let shown = apart.last(&domain);
    assert_eq!(shown["connections"]["list"][0]["name"], "example.org");
    let tail = domain.ok(&["log", "tail", "-n", "9", "--json"]);
    let record = tail
        .lines()
        .map(parsed)
        .find(|record| record["kind"] == "connections")
        .unwrap();
    let index = record["index"].to_string();
    domain.ok(&["log", "erase", &index, "--reason", "asked for"]);
    let exec = shown["exec"].as_str().unwrap();
    let shown = domain.json(&["lineage", "show", exec]);
    assert_eq!(shown["connections"]["erased"], 1);
    assert!(!shown.to_string().contains("example.org"), "{shown}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn nobody_else_is_reached_and_each_refusal_is_recorded_with_its_reason() {
    let domain = with_network(&["example.org:80", "*.example.org:80"]);
    let apart = Apart::new(&domain);
    let urls = [
        "http://other.example/page",
        "http://example.org:8080/page",
        "http://93.184.216.34/page",
        "http://10.0.0.9/page",
        "http://private.example.org/page",
        "http://mapped.example.org/page",
        "http://meta.example.org/page",
        "http://metadata.google.internal/page",
        "http://169.254.169.254/page",
        "http://[::ffff:169.254.169.254]/page",
    ];
    let said = apart.ok(&domain, &python(URLLIB, &urls));
    assert_eq!(said, "403\n".repeat(urls.len()), "{said}");
    let list = apart.last(&domain)["connections"]["list"].clone();
    let why = |name: &str| {
        let found = list.as_array().unwrap().iter();
        let mut found = found.filter(|entry| entry["name"] == name);
        found.next().map(|entry| entry["why"].clone())
    };
    assert_eq!(why("other.example:80").unwrap(), "unlisted_name");
    assert_eq!(why("example.org:8080").unwrap(), "unlisted_name");
    assert_eq!(why("10.0.0.9:80").unwrap(), "unlisted_address");
    assert_eq!(why("private.example.org:80").unwrap(), "leads_inside");
    assert_eq!(why("mapped.example.org:80").unwrap(), "leads_inside");
    assert_eq!(why("meta.example.org:80").unwrap(), "leads_inside");
    // Without the proxy no way is open either: to names by the stub, to addresses by the broker.
    let peers = [
        "other.example:80",
        "private.example.org:80",
        "meta.example.org:80",
        "metadata.google.internal:80",
        "10.0.0.9:80",
        "169.254.169.254:80",
        "93.184.216.34:80",
    ];
    let said = apart.ok(&domain, &python(PLAIN, &peers));
    assert_eq!(said, "no such name\n".repeat(4) + &"13\n".repeat(3));
    // What was looked up is reached at the ports of its name and at no other.
    let said = apart.ok(
        &domain,
        &python(PLAIN, &["example.org:80", "example.org:7"]),
    );
    assert_eq!(said, "page\n13\n");
}

#[test]
fn a_name_leads_inside_only_where_an_address_beside_it_says_so() {
    let domain = with_network(&["private.example.org:80", "10.0.0.0/24:80"]);
    let apart = Apart::new(&domain);
    let url = "http://private.example.org/page";
    assert_eq!(apart.ok(&domain, &python(URLLIB, &[url])), "a page\n");
    let plain = python(PLAIN, &["private.example.org:80", "10.0.0.9:80"]);
    assert_eq!(apart.ok(&domain, &plain), "page\npage\n");
}

#[test]
fn a_name_that_is_bound_anew_leads_nowhere_new() {
    let domain = with_network(&["example.org:80"]);
    let apart = Apart::new(&domain);
    // Waits between its two connections until the name has changed.
    let script = "import os, sys, time, urllib.request\nget = lambda: urllib.request.urlopen('http://example.org/page').status\nprint(get())\nopen('once', 'w').close()\nwhile not os.path.exists('changed'): time.sleep(.01)\ntry:\n    print(get())\nexcept Exception as e:\n    print(e.code)\n";
    let running = apart
        .command(&domain, &["run", "--", "/usr/bin/python3", "-c", script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let once = domain.work().join("once");
    await_some("the first connection", || once.exists().then_some(()));
    apart.set_hosts("169.254.169.254 example.org\n");
    std::fs::write(domain.work().join("changed"), "").unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "200\n403\n");
}

#[test]
fn names_are_asked_of_nobody_outside_and_nothing_but_tcp_leaves() {
    let domain = with_network(&["example.org:80"]);
    let apart = Apart::new(&domain);
    let script = "import socket\nprint(open('/etc/resolv.conf').read().split()[:2], open('/etc/hosts').read().split())\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(.3)\nfor to in [('93.184.216.34', 53), ('8.8.8.8', 53), ('10.0.0.9', 53)]:\n    try:\n        s.sendto(b'x' * 30, to)\n        s.recv(9)\n        print('answered')\n    except OSError as e:\n        print(e.errno)\n";
    let said = apart.ok(&domain, &python(script, &[]));
    assert_eq!(
        said,
        "['nameserver', '127.0.0.1'] ['127.0.0.1', 'localhost', '::1', 'localhost']\n101\n101\n101\n"
    );
}

#[test]
fn variables_and_files_of_the_proxy_are_there_only_where_a_name_is() {
    let script = "import os\nprint(sorted(n for n in os.environ if 'proxy' in n.lower()), os.path.exists('/etc/resolv.conf'))";
    let run = |domain: &Domain| {
        let args = [&["run", "--"], python(script, &[]).as_slice()].concat();
        domain.ok(&args)
    };
    let named = run(&with_network(&["example.org:80"]));
    assert!(named.contains("'HTTPS_PROXY', 'HTTP_PROXY', 'NODE_USE_ENV_PROXY', 'NO_PROXY', 'all_proxy', 'http_proxy', 'https_proxy', 'no_proxy'] True"), "{named}");
    let unnamed = run(&with_network(&["10.0.0.9:80"]));
    assert_eq!(unnamed, "[] False\n");
}

#[test]
fn server_and_client_inside_one_cell_find_each_other() {
    let script = "import socket, threading\ns = socket.create_server(('127.0.0.1', 0))\ndef serve():\n    c, _ = s.accept()\n    c.sendall(c.recv(9)[::-1])\nthreading.Thread(target=serve).start()\nfor host in ['localhost']:\n    c = socket.create_connection((host, s.getsockname()[1]))\n    c.sendall(b'abc')\n    print(c.recv(9).decode())\n";
    for peers in [&["example.org:80"] as &[&str], &["10.0.0.9:80"], &[]] {
        let domain = with_network(peers);
        let args = [&["run", "--"], python(script, &[]).as_slice()].concat();
        assert_eq!(domain.ok(&args), "cba\n", "{peers:?}");
    }
}

#[test]
fn the_proxy_is_in_the_cell_and_nowhere_else() {
    let domain = with_network(&["example.org:80"]);
    let apart = Apart::new(&domain);
    let script = "import socket, time\nsocket.create_connection(('127.0.0.1', 3128)).close()\nopen('up', 'w').close()\ntime.sleep(60)\n";
    let mut running = apart
        .command(&domain, &["run", "--", "/usr/bin/python3", "-c", script])
        .spawn()
        .unwrap();
    let up = domain.work().join("up");
    await_some("the proxy in the cell", || up.exists().then_some(()));
    let outside = "import socket\nfor port in (3128, 53):\n    try:\n        socket.create_connection(('127.0.0.1', port), 5)\n        print('reached')\n    except OSError as e:\n        print(e.errno)\n";
    let mut command = apart.command(&domain, &[]);
    command = {
        let mut python = std::process::Command::new(command.get_program());
        let args: Vec<_> = command.get_args().take_while(|arg| *arg != "--").collect();
        python
            .args(args)
            .args(["--", "/usr/bin/python3", "-c", outside]);
        python
    };
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert_eq!(said, "111\n111\n");
    send(running.id(), Signal::TERM);
    running.wait().unwrap();
}

#[test]
fn a_revocation_ends_what_goes_through_the_proxy_at_once() {
    let domain = with_network(&["example.org:7"]);
    let apart = Apart::new(&domain);
    let script = "import socket\ns = socket.create_connection(('127.0.0.1', 3128))\ns.sendall(b'CONNECT example.org:7 HTTP/1.1\\r\\nHost: example.org:7\\r\\n\\r\\n')\nassert b' 200 ' in s.recv(999)\nn = 0\nwhile True:\n    s.sendall(b'x' * 1000)\n    n += len(s.recv(9999))\n    if n < 3000: open('up', 'w').close()\n";
    let running = apart
        .command(&domain, &["run", "--", "/usr/bin/python3", "-c", script])
        .spawn()
        .unwrap();
    let up = domain.work().join("up");
    await_some("a connection", || up.exists().then_some(()));
    let last = domain.executions().pop().unwrap();
    let exec = last["exec"].as_str().unwrap();
    domain.ok(&["revoke", exec, "--reason", "enough"]);
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(TERMINATED));
    let entry = apart.last(&domain)["connections"]["list"][0].clone();
    assert_eq!(entry["way"], "tunnel");
    assert!(entry["sent_bytes"].as_u64() >= Some(1000), "{entry}");
}

#[test]
fn git_clones_over_http_from_a_named_host() {
    let domain = with_network(&["example.org:80"]);
    let files = domain.path("files");
    let setup = "git init -q --bare repo.git && git init -q w && cd w && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m 'one commit' && git push -q ../repo.git HEAD:main && git -C ../repo.git symbolic-ref HEAD refs/heads/main && git -C ../repo.git update-server-info";
    std::fs::create_dir_all(&files).unwrap();
    sh(&files, setup);
    let apart = Apart::new(&domain);
    apart.ok(
        &domain,
        &["git", "clone", "-q", "http://example.org/repo.git", "here"],
    );
    let said = apart.ok(&domain, &["git", "-C", "here", "log", "--format=%s"]);
    assert_eq!(said, "one commit\n");
}

#[test]
fn pip_installs_from_a_named_index() {
    let domain = with_network(&["index.example.org:80", "files.example.org:80"]);
    let files = domain.path("files");
    std::fs::create_dir_all(files.join("simple/placet-thing")).unwrap();
    let wheel = "import zipfile\nz = zipfile.ZipFile('placet_thing-1.0-py3-none-any.whl', 'w')\nz.writestr('placet_thing.py', 'said = \"installed\"')\nd = 'placet_thing-1.0.dist-info/'\nz.writestr(d + 'METADATA', 'Metadata-Version: 2.1\\nName: placet-thing\\nVersion: 1.0\\n')\nz.writestr(d + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\nz.writestr(d + 'RECORD', '')\nz.close()\n";
    std::fs::write(files.join("wheel.py"), wheel).unwrap();
    sh(&files, "/usr/bin/python3 wheel.py");
    let link = "<a href=\"http://files.example.org/placet_thing-1.0-py3-none-any.whl\">placet_thing-1.0-py3-none-any.whl</a>";
    std::fs::write(files.join("simple/placet-thing/index.html"), link).unwrap();
    let apart = Apart::new(&domain);
    let index = "http://index.example.org/simple/";
    let hosts = [
        "--trusted-host",
        "index.example.org",
        "--trusted-host",
        "files.example.org",
    ];
    let pip = [
        "/usr/bin/python3",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-q",
    ];
    let to = [
        "--no-cache-dir",
        "--target",
        "lib",
        "--index-url",
        index,
        "placet-thing",
    ];
    apart.ok(&domain, &[&pip as &[&str], &hosts, &to].concat());
    let import =
        "import sys\nsys.path.insert(0, 'lib')\nimport placet_thing\nprint(placet_thing.said)";
    assert_eq!(apart.ok(&domain, &python(import, &[])), "installed\n");
}

#[test]
fn npm_installs_from_a_named_registry() {
    let domain = with_network(&["example.org:80"]);
    let files = domain.path("files");
    std::fs::create_dir_all(files.join("package")).unwrap();
    let manifest = r#"{"name":"placet-thing","version":"1.0.0","main":"index.js"}"#;
    std::fs::write(files.join("package/package.json"), manifest).unwrap();
    std::fs::write(files.join("package/index.js"), "console.log('installed')\n").unwrap();
    sh(&files, "tar czf placet-thing-1.0.0.tgz package");
    let tarball = "http://example.org/placet-thing-1.0.0.tgz";
    let document = format!(
        r#"{{"name":"placet-thing","dist-tags":{{"latest":"1.0.0"}},"versions":{{"1.0.0":{{"name":"placet-thing","version":"1.0.0","dist":{{"tarball":"{tarball}"}}}}}}}}"#
    );
    std::fs::write(files.join("placet-thing"), document).unwrap();
    let apart = Apart::new(&domain);
    let options = [
        "--registry=http://example.org/",
        "--no-audit",
        "--no-fund",
        "--cache=cache",
    ];
    let install = [&["npm", "install", "placet-thing"] as &[&str], &options].concat();
    apart.ok(&domain, &install);
    let said = apart.ok(&domain, &["node", "-e", "require('placet-thing')"]);
    assert_eq!(said, "installed\n");
}

/// Runs a script outside of any cell, to make what is served.
fn sh(dir: &std::path::Path, script: &str) {
    let mut command = std::process::Command::new("bash");
    command.args(["-euc", script]).current_dir(dir);
    assert!(command.status().unwrap().success(), "{script}");
}
