//! Logging in to servers elsewhere: real authorization servers, and ones that lie.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::domain::Domain;
use crate::elsewhere::{Far, configured, free_port, reaching};
use crate::installed::{npm, run};
use crate::peers::python;
use crate::place::{OPEN, domain, records};

/// The package and its version: the one that the other suite installs as well.
const PROVIDER: &str = "oidc-provider@9.13.3";

/// A profile that hands the tokens over.
const HANDED: &str = "\n[[credentials]]\nname = \"oauth.far\"\nenv = \"OAUTH\"\n";

/// `placet mcp login far`, which has said where to go.
struct Login {
    child: Child,
    url: String,
    said: Arc<Mutex<String>>,
    reader: thread::JoinHandle<()>,
}

impl Login {
    fn begin(domain: &Domain, far: &Value) -> Self {
        let mut child = command(domain, far).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let mut url = String::new();
        while url.is_empty() {
            let mut line = String::new();
            assert!(
                errors.read_line(&mut line).unwrap() > 0,
                "{}",
                said.lock().unwrap()
            );
            if line.starts_with("http") {
                line.trim().clone_into(&mut url);
            }
            said.lock().unwrap().push_str(&line);
        }
        let hears = Arc::clone(&said);
        let reader = thread::spawn(move || {
            let mut rest = String::new();
            errors.read_to_string(&mut rest).unwrap();
            hears.lock().unwrap().push_str(&rest);
        });
        Self {
            child,
            url,
            said,
            reader,
        }
    }

    /// One parameter of where to go.
    fn asked(&self, name: &str) -> String {
        let (_, query) = self.url.split_once('?').unwrap();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name).unwrap();
        value.replace("%3A", ":").replace("%2F", "/")
    }

    /// The port that the browser answers at.
    fn port(&self) -> u16 {
        let redirect = self.asked("redirect_uri");
        let rest = redirect.strip_prefix("http://127.0.0.1:").unwrap();
        rest.strip_suffix("/callback").unwrap().parse().unwrap()
    }

    fn ended(mut self) -> (bool, String) {
        let success = self.child.wait().unwrap().success();
        self.reader.join().unwrap();
        let said = self.said.lock().unwrap().clone();
        (success, said)
    }
}

fn command(domain: &Domain, far: &Value) -> Command {
    let path = domain.work().join("mcp.json");
    fs::write(&path, json!({ "mcpServers": { "far": far } }).to_string()).unwrap();
    let path = path.to_str().unwrap();
    let mut command = domain.command(&["mcp", "login", "far", "--config", path, "--wait", "50"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A GET as a browser would ask it: the status, or none where nobody listens.
fn get(port: u16, host: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

pub(crate) fn modules_beside(script: &str, text: &str) -> PathBuf {
    let modules = npm(&[PROVIDER]);
    let path = modules.parent().unwrap().join(script);
    let whole = tempfile::NamedTempFile::new_in(modules.parent().unwrap()).unwrap();
    fs::write(&whole, text).unwrap();
    whole.persist(&path).unwrap();
    path
}

/// A real authorization server, whose access tokens last so long.
fn authorization(secs: u32) -> (Far, String) {
    let port = free_port();
    let script = modules_beside("authorization.mjs", include_str!("authorization.mjs"));
    let mut command = Command::new("node");
    command
        .arg(script)
        .args([port.to_string(), secs.to_string()]);
    let far = Far::start(&mut command, port, "listening");
    (far, format!("http://127.0.0.1:{port}"))
}

fn guarded(issuer: &str, seen: &Path) -> Far {
    let port = free_port();
    let mut command = Command::new(python());
    command
        .args(["-c", include_str!("guarded.py")])
        .args([&port.to_string(), issuer])
        .arg(seen);
    Far::start(&mut command, port, "running on")
}

/// Whether some file below a directory has these bytes in it.
fn find_all(dir: &Path, needle: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            return find_all(&entry.path(), needle);
        }
        let bytes = if kind.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            Vec::new()
        };
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn a_login_at_a_real_authorization_server_gives_tokens_that_renew_themselves_and_show_nowhere() {
    // Shorter than what is left over: each request renews, and each renewal uses the last one up.
    let (_provider, issuer) = authorization(28);
    let domain = reaching(OPEN, HANDED);
    let seen = domain.path("seen");
    let server = guarded(&issuer, &seen);
    let far = json!({ "type": "http", "url": server.url });
    // Without a login nothing is spoken to, and the client hears how to get one.
    let mut early = configured(&domain, json!({ "far": far }));
    let refused = early.open_or_fail();
    let data = &refused["error"]["data"];
    assert_eq!(data["code"], "credential_missing", "{refused}");
    assert!(
        data["remedy"]
            .as_str()
            .unwrap()
            .contains("placet mcp login"),
        "{refused}"
    );
    early.close();

    let login = Login::begin(&domain, &far);
    assert_eq!(login.asked("resource"), server.url);
    assert_eq!(login.asked("code_challenge_method"), "S256");
    let browser = run(Command::new("python3").args(["-c", include_str!("browser.py"), &login.url]));
    let (last, page) = browser.split_once('\n').unwrap();
    assert!(page.contains("Done"), "{browser}");
    let port = login.port();
    let (success, said) = login.ended();
    assert!(success, "{said}");
    // The answer counts once: nobody listens any more.
    let (_, path) = last.split_once(&format!(":{port}")).unwrap();
    assert_eq!(get(port, &format!("127.0.0.1:{port}"), path), None);

    let mut client = configured(&domain, json!({ "far": far }));
    client.open();
    for at in 0..3 {
        let sum = client.call("add", json!({ "a": at, "b": 1 }));
        assert_eq!(sum["content"][0]["text"], (at + 1).to_string(), "{sum}");
    }
    client.close();
    let renewed = records(&domain)
        .iter()
        .filter(|record| record["record"]["change"]["renewed"]["name"] == "oauth.far")
        .count();
    assert!(renewed >= 2, "{renewed}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
    // Every token that the server was ever shown is in its file, and nowhere below the domain.
    let tokens = fs::read_to_string(&seen).unwrap();
    assert!(tokens.lines().count() >= 3, "{tokens}");
    for token in tokens.lines() {
        assert!(
            !find_all(&domain.dir(), token.as_bytes()),
            "a token is in the domain"
        );
        assert!(!said.contains(token));
    }
    // They are given back: nobody can use them any more, whoever has them.
    let last = tokens.lines().last().unwrap();
    assert!(introspect(&issuer, last).contains(r#""active":true"#));
    let out = domain.json(&["mcp", "logout", "far"]);
    assert_eq!((&out["revoked"], &out["why"]), (&json!(true), &Value::Null));
    assert!(introspect(&issuer, last).contains(r#""active":false"#));
    let mut late = configured(&domain, json!({ "far": far }));
    let refused = late.open_or_fail().to_string();
    assert!(refused.contains("credential_missing"), "{refused}");
    late.close();
}

/// What the authorization server says of a token, asked by the server that it is for.
fn introspect(issuer: &str, token: &str) -> String {
    let form = format!("token={token}&client_id=the-server&client_secret=secret-of-the-server");
    let mut stream = TcpStream::connect(issuer.strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "POST /token/introspection HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What a server that lies answers: by path, a status, more of the head, and a body.
type Answers = BTreeMap<&'static str, (u16, String, String)>;

/// A server that says whatever the test has it say, for one origin; and what it was asked.
struct Scripted {
    origin: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// One that does everything right.
    fn good() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let answers: Arc<Mutex<Answers>> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (tells, hears) = (Arc::clone(&answers), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tells, hears) = (Arc::clone(&tells), Arc::clone(&hears));
                thread::spawn(move || speak(stream.unwrap(), &tells, &hears));
            }
        });
        let scripted = Self {
            origin,
            answers,
            asked,
        };
        let origin = &scripted.origin;
        let metadata = format!("{origin}/.well-known/oauth-protected-resource/mcp");
        scripted.says(
            "/mcp",
            401,
            &format!("www-authenticate: Bearer resource_metadata=\"{metadata}\"\r\n"),
            "",
        );
        scripted.resource(&format!("{origin}/mcp"), origin);
        scripted.server(&scripted.metadata());
        scripted.says("/register", 201, "", r#"{"client_id":"c-1"}"#);
        let refused = r#"{"error":"invalid_grant","error_description":"used"}"#;
        scripted.says("/token", 400, "", refused);
        scripted
    }

    fn metadata(&self) -> Value {
        let origin = &self.origin;
        json!({
            "issuer": origin, "authorization_endpoint": format!("{origin}/auth"),
            "token_endpoint": format!("{origin}/token"), "registration_endpoint": format!("{origin}/register"),
            "code_challenge_methods_supported": ["S256"], "authorization_response_iss_parameter_supported": true,
        })
    }

    fn says(&self, path: &'static str, status: u16, head: &str, body: &str) {
        let answer = (status, head.to_owned(), body.to_owned());
        self.answers.lock().unwrap().insert(path, answer);
    }

    fn resource(&self, resource: &str, server: &str) {
        let body = json!({ "resource": resource, "authorization_servers": [server] });
        self.says(
            "/.well-known/oauth-protected-resource/mcp",
            200,
            "",
            &body.to_string(),
        );
    }

    fn server(&self, metadata: &Value) {
        self.says(
            "/.well-known/oauth-authorization-server",
            200,
            "",
            &metadata.to_string(),
        );
    }

    fn far(&self) -> Value {
        json!({ "url": format!("{}/mcp", self.origin) })
    }

    fn was_asked(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|one| one.contains(path)).count()
    }
}

fn speak(mut stream: TcpStream, answers: &Mutex<Answers>, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    asked
        .lock()
        .unwrap()
        .push(format!("{first}{head}\n{}", String::from_utf8_lossy(&body)));
    let path = first.split(' ').nth(1).unwrap();
    let none = (404, String::new(), String::new());
    let (status, head, body) = answers.lock().unwrap().get(path).cloned().unwrap_or(none);
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    // Whoever hung up is not told.
    stream.write_all(answer.as_bytes()).unwrap_or(());
}

/// A login that never comes to a browser says why.
fn fails(domain: &Domain, scripted: &Scripted, why: &str) {
    let output = command(domain, &scripted.far()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(why), "{why}: {said}");
    assert_eq!(scripted.was_asked("/token"), 0, "{said}");
}

#[test]
fn metadata_that_point_inside_elsewhere_or_to_less_are_not_followed() {
    let domain = domain(OPEN, &[]);
    // SSRF: private networks and metadata services, said to be the authorization server or a part of it.
    for inside in [
        "https://169.254.169.254",
        "https://10.0.0.1",
        "https://[fd00:ec2::254]",
    ] {
        let scripted = Scripted::good();
        scripted.resource(&format!("{}/mcp", scripted.origin), inside);
        fails(&domain, &scripted, "not of the public internet");
        let scripted = Scripted::good();
        let mut metadata = scripted.metadata();
        metadata["registration_endpoint"] = json!(format!("{inside}/register"));
        scripted.server(&metadata);
        fails(&domain, &scripted, "not of the public internet");
    }
    let scripted = Scripted::good();
    scripted.resource(&format!("{}/mcp", scripted.origin), "http://as.example.com");
    fails(&domain, &scripted, "must be https://");
    // The metadata of the resource stand at another host, or are about another resource.
    let scripted = Scripted::good();
    let elsewhere = "www-authenticate: Bearer resource_metadata=\"http://127.0.0.1:9/x\"\r\n";
    scripted.says("/mcp", 401, elsewhere, "");
    fails(&domain, &scripted, "not where the server is");
    for other in ["https://bank.example.com/mcp", "http://127.0.0.1:9/mcp"] {
        let scripted = Scripted::good();
        scripted.resource(other, &scripted.origin);
        fails(&domain, &scripted, "another resource");
    }
    // A redirect is no answer.
    let scripted = Scripted::good();
    let head = "location: https://169.254.169.254/latest\r\n";
    scripted.says("/.well-known/oauth-protected-resource/mcp", 302, head, "");
    fails(&domain, &scripted, "no metadata of the resource");
    // Mix-up: the document of somebody else.
    let scripted = Scripted::good();
    let mut metadata = scripted.metadata();
    metadata["issuer"] = json!("https://as.example.com");
    scripted.server(&metadata);
    fails(&domain, &scripted, "another issuer");
    // PKCE: nothing, or less than S256.
    for methods in [json!([]), json!(["plain"])] {
        let scripted = Scripted::good();
        let mut metadata = scripted.metadata();
        metadata["code_challenge_methods_supported"] = methods;
        scripted.server(&metadata);
        fails(&domain, &scripted, "S256");
    }
    // Two readings of one document.
    let scripted = Scripted::good();
    let twice = scripted
        .metadata()
        .to_string()
        .replacen('{', "{\"issuer\":\"https://x\",", 1);
    scripted.says("/.well-known/oauth-authorization-server", 200, "", &twice);
    fails(&domain, &scripted, "does not read");
}

#[test]
fn a_stolen_state_another_issuer_host_or_port_and_a_used_code_give_no_token() {
    let domain = domain(OPEN, &[]);
    let scripted = Scripted::good();
    let login = Login::begin(&domain, &scripted.far());
    let (port, state) = (login.port(), login.asked("state"));
    // It was registered with exactly this address, and no other.
    let exact = format!("\"http://127.0.0.1:{port}/callback\"");
    assert!(
        scripted
            .asked
            .lock()
            .unwrap()
            .iter()
            .any(|asked| asked.contains(&exact))
    );
    let host = format!("127.0.0.1:{port}");
    let issuer = scripted.origin.replace(':', "%3A").replace('/', "%2F");
    let answer = |path: &str| get(port, &host, path);
    for (bad, status) in [
        (format!("/callback?code=x&state=stolen&iss={issuer}"), 400),
        (format!("/callback?code=x&iss={issuer}"), 400),
        (
            format!("/callback?code=x&state={state}&iss=https%3A%2F%2Fevil.example"),
            400,
        ),
        (format!("/callback?code=x&state={state}"), 400),
        (
            format!("/callback?code=x&code=y&state={state}&iss={issuer}"),
            400,
        ),
        (format!("/other?code=x&state={state}&iss={issuer}"), 404),
    ] {
        assert_eq!(answer(&bad), Some(status), "{bad}");
    }
    // A name that leads here, or another port's, is another host.
    let good = format!("/callback?code=used-once&state={state}&iss={issuer}");
    for host in ["evil.example", "127.0.0.1:1", &format!("localhost:{port}")] {
        assert_eq!(get(port, host, &good), Some(404), "{host}");
    }
    assert_eq!(scripted.was_asked("/token"), 0);
    assert_eq!(answer(&good), Some(200));
    let (success, said) = login.ended();
    assert!(!success, "{said}");
    // The server has seen the code before; its words are not repeated, its verifier is not shown.
    assert!(
        said.contains("invalid_grant") && !said.contains("used-once"),
        "{said}"
    );
    assert_eq!(scripted.was_asked("/token"), 1);
    let asked = scripted.asked.lock().unwrap().clone();
    let asked = asked
        .iter()
        .find(|asked| asked.starts_with("POST /token"))
        .unwrap();
    for part in [
        "code_verifier=",
        "resource=http",
        "code=used-once",
        "client_id=c-1",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    // Used up: nobody listens for a second one, and nothing was kept.
    assert_eq!(answer(&good), None);
    let secrets = domain.json(&["secret", "list"]);
    assert_eq!(secrets["secrets"], json!([]), "{secrets}");
}

#[test]
fn a_token_goes_to_the_server_that_it_is_for_and_to_no_other() {
    let domain = reaching(OPEN, HANDED);
    let scripted = Scripted::good();
    let given = r#"{"access_token":"at-7d1c","token_type":"Bearer","expires_in":3600}"#;
    scripted.says("/token", 200, "", given);
    let login = Login::begin(&domain, &scripted.far());
    let (port, state) = (login.port(), login.asked("state"));
    let issuer = scripted.origin.replace(':', "%3A").replace('/', "%2F");
    let answer = format!("/callback?code=x&state={state}&iss={issuer}");
    assert_eq!(get(port, &format!("127.0.0.1:{port}"), &answer), Some(200));
    let (success, said) = login.ended();
    assert!(success, "{said}");
    // Confused deputy: the name of one server, the address of another.
    let other = Scripted::good();
    let mut client = configured(&domain, json!({ "far": other.far() }));
    let refused = client.open_or_fail().to_string();
    assert!(refused.contains("it is not sent there"), "{refused}");
    client.close();
    assert_eq!(other.asked.lock().unwrap().len(), 0);
    // A configuration cannot put what a login gave anywhere else.
    let leak = json!({ "url": other.far()["url"], "headers": { "X-Token": "${OAUTH}" } });
    let mut client = configured(&domain, json!({ "other": leak }));
    let refused = client.open_or_fail().to_string();
    assert!(refused.contains("OAUTH"), "{refused}");
    client.close();
    assert_eq!(other.asked.lock().unwrap().len(), 0);
    // Its own server is shown it; that this one takes it no more, and gives no other, is told.
    let mut client = configured(&domain, json!({ "far": scripted.far() }));
    let refused = client.open_or_fail().to_string();
    assert!(refused.contains("placet mcp login far"), "{refused}");
    assert!(!refused.contains("at-7d1c"), "{refused}");
    client.close();
    assert_eq!(scripted.was_asked("Bearer at-7d1c"), 1);
    assert!(
        !domain
            .ok(&["log", "tail", "-n", "100000", "--json"])
            .contains("at-7d1c")
    );
}
