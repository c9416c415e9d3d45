//! Services of the host as a governed command meets them: only those whose sockets the scope names.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use crate::domain::Domain;

/// A service that says the same to everyone.
fn service(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4];
            // One that was only tried has nothing to say.
            if stream.read_exact(&mut asked).is_ok() {
                stream.write_all(b"welcome").unwrap();
            }
        }
    });
}

fn ask(to: &Path) -> String {
    format!(
        "import socket\ntry:\n    s = socket.socket(socket.AF_UNIX)\n    s.connect('{}')\n    s.sendall(b'here')\n    print(s.recv(99).decode())\nexcept OSError as e:\n    print(e.errno)\n",
        to.display()
    )
}

#[test]
fn a_socket_of_the_scope_is_reached_and_no_other() {
    let domain = Domain::new();
    let dir = fs::canonicalize(domain.path("home")).unwrap().join(".x");
    fs::create_dir(&dir).unwrap();
    let (listed, beside, link) = (
        dir.join("agent.sock"),
        dir.join("other.sock"),
        dir.join("l.sock"),
    );
    service(&listed);
    service(&beside);
    std::os::unix::fs::symlink(&beside, &link).unwrap();
    // One in a granted tree, which a cell without named sockets could reach.
    let inside = domain.work().join("in-the-workspace.sock");
    service(&inside);
    domain.activate_changed(&[(
        "profiles/operator.toml",
        "exec_in_writable = true",
        "exec_in_writable = true\nsockets = [\"${home}/.x/agent.sock\", \"${home}/.x/l.sock\", \"${home}/.x/none\"]",
    )]);
    let script: String = [&listed, &beside, &link, &inside]
        .map(|path| ask(path))
        .concat();
    let said = domain.ok(&["run", "--", "/usr/bin/python3", "-c", &script]);
    // Not there: ENOENT. There and not listed: EACCES.
    assert_eq!(said, "welcome\n2\n2\n13\n");
    let agent = ["run", "--as", "agent:coder", "--", "/usr/bin/python3", "-c"];
    let said = domain.ok(&[&agent[..], &[&ask(&listed)]].concat());
    assert_eq!(said, "2\n");
}
