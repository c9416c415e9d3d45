//! A network of a test's own: a network and mount namespace with its own `/etc/hosts`, in which public
//! addresses are the loopback's and services are at their usual ports. Nothing leaves it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::domain::{Domain, Ran, await_some, ran, stand_like};

/// Where example.org is: an address of the public internet.
pub(crate) const PUBLIC: &str = "93.184.216.34";

/// What the names are in there.
pub(crate) const HOSTS: &str = "93.184.216.34 example.org files.example.org index.example.org
93.184.216.34 other.example
10.0.0.9 private.example.org
127.0.0.1 loop.example.org
169.254.169.254 metadata.google.internal meta.example.org
::ffff:10.0.0.9 mapped.example.org
fd00:ec2::254 six.example.org
";

/// Serves a directory at port 80, and an echo at port 7, for everybody in there.
const SERVICES: &str = r#"
import http.server, os, socketserver, ssl, sys, threading
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".json": "application/json", "": "application/octet-stream", ".html": "text/html"}
    index_pages = ("index.html",)
    def log_message(self, *_):
        pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
for address, port in [("93.184.216.34", 80), ("10.0.0.9", 80), ("127.0.0.1", 80), ("169.254.169.254", 80)]:
    threading.Thread(target=Server((address, port), Quiet).serve_forever, daemon=True).start()
if os.path.exists("../tls"):
    secure = Server(("93.184.216.34", 443), Quiet)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("../tls/cert.pem", "../tls/key.pem")
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
threading.Thread(target=Server(("93.184.216.34", 7), Echo).serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"#;

/// The namespaces, and the services in them. They end with the value.
pub(crate) struct Apart {
    services: Child,
    hosts: PathBuf,
}

impl Apart {
    /// Makes the namespaces for a domain; what is in its directory `files` is served, with `cert.pem` and
    /// `key.pem` of its directory `tls` at port 443 as well, if it has one.
    ///
    /// Takes root, as the continuous integration has.
    pub(crate) fn new(domain: &Domain) -> Self {
        let (hosts, files) = (domain.path("hosts"), domain.path("files"));
        fs::write(&hosts, HOSTS).unwrap();
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join("page"), "a page\n").unwrap();
        let addresses: String = [PUBLIC, "10.0.0.9", "169.254.169.254"]
            .iter()
            .map(|address| format!("ip addr add {address}/32 dev lo; "))
            .collect();
        let script = format!(
            "ip link set lo up; {addresses} mount --bind {} /etc/hosts; cd {}; exec /usr/bin/python3 -c \"$0\"",
            hosts.display(),
            files.display()
        );
        let mut services = Command::new("unshare")
            .args(["--net", "--mount", "--", "bash", "-euc", &script, SERVICES])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let output = services.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "the services did not start");
        Self { services, hosts }
    }

    /// Changes what the names are.
    pub(crate) fn set_hosts(&self, text: &str) {
        // The same file: it is what is mounted.
        fs::write(&self.hosts, text).unwrap();
    }

    /// A command of a domain, in there.
    pub(crate) fn command(&self, domain: &Domain, args: &[&str]) -> Command {
        let plain = domain.command(args);
        let mut command = Command::new("nsenter");
        let target = self.services.id().to_string();
        command.args(["--target", &target, "--net", "--mount"]);
        command.arg(format!("--wdns={}", domain.work().display()));
        command.arg("--");
        command.arg(plain.get_program()).args(plain.get_args());
        stand_like(&mut command, &plain);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, domain: &Domain, args: &[&str]) -> Ran {
        ran(&mut self.command(domain, args))
    }

    /// Runs a command in a cell; gives what it printed.
    pub(crate) fn ok(&self, domain: &Domain, program: &[&str]) -> String {
        let ran = self.run(domain, &[&["run", "--"], program].concat());
        assert_eq!(ran.code, 0, "{program:?}: {ran:?}");
        ran.stdout
    }

    /// Waits until what was said about the last execution is recorded.
    pub(crate) fn last(&self, domain: &Domain) -> serde_json::Value {
        let last = domain.executions().pop().unwrap();
        let exec = last["exec"].as_str().unwrap();
        await_some("the end of the execution", || {
            let shown = domain.json(&["lineage", "show", exec]);
            shown["ended"].is_object().then_some(shown)
        })
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.services.stdin.take());
        self.services.kill().unwrap_or(());
        drop(self.services.wait());
    }
}
