//! Browsers that sign in by a real identity provider: as one does it, redirects and cookies included.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// What a browser is to the provider.
#[derive(Default)]
struct Visitor {
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    /// Asks the provider, and keeps what it gives to keep.
    fn ask(&mut self, address: &str, form: Option<&str>) -> Answer {
        let (host, path) = split(address);
        let cookies = self.cookies.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let method = form.map_or("GET", |_| "POST");
        let form = form.unwrap_or_default();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncookie: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            cookies.join("; "),
            form.len()
        );
        let address: SocketAddr = host.parse().unwrap();
        let answer = exchange(client::tcp(address), text.as_bytes());
        for cookie in answer.headers("set-cookie") {
            let pair = cookie.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Goes where a sign-in leads, says who it is where it is asked, and stops where it leaves the
    /// provider: with the answer's parameters.
    fn sign_in(&mut self, provider: &Provider, address: &str, as_whom: &str) -> (String, Value) {
        let mut at = address.to_owned();
        for _ in 0..8 {
            if !at.starts_with(&provider.issuer()) {
                let (back, query) = at.split_once('?').unwrap();
                let pairs = query.split('&').map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap();
                    (name.to_owned(), json!(unescaped(value)))
                });
                return (back.to_owned(), Value::Object(pairs.collect()));
            }
            let mut answer = self.ask(&at, None);
            if answer.status == 200 {
                answer = self.ask(&at, Some(&format!("login={as_whom}")));
            }
            let next = answer.header("location");
            let next = next.unwrap_or_else(|| panic!("{at}: {answer:?}"));
            at = if next.starts_with('/') {
                format!("{}{next}", provider.issuer())
            } else {
                next.to_owned()
            };
        }
        panic!("the provider leads nowhere: {at}");
    }

    /// Signs out where it is led to, as the provider's own form asks it; where that leads it back to.
    fn sign_out(&mut self, provider: &Provider, address: &str) -> String {
        let asked = self.ask(address, None);
        let page = String::from_utf8(asked.body.clone()).unwrap();
        let value = |after: &str| {
            let (_, rest) = page.split_once(after).unwrap_or_else(|| panic!("{page}"));
            rest.split('"').next().unwrap().to_owned()
        };
        let (to, token) = (value("action=\""), value("name=\"xsrf\" value=\""));
        assert!(to.starts_with(&provider.issuer()), "{to}");
        let done = self.ask(&to, Some(&format!("xsrf={token}&logout=yes")));
        done.header("location").unwrap().to_owned()
    }

    /// Whether the provider knows who it is, and so sends it back without asking.
    fn is_known(&mut self, address: &str) -> bool {
        let led = self.ask(address, None);
        !led.header("location").unwrap().contains("/interaction/")
    }
}

fn split(address: &str) -> (&str, &str) {
    let rest = address.strip_prefix("http://").unwrap();
    let slash = rest.find('/').unwrap();
    rest.split_at(slash)
}

fn unescaped(text: &str) -> String {
    let text = text.replace("%3A", ":").replace("%2F", "/");
    assert!(!text.contains('%'), "{text}");
    text
}

fn begin(node: &Node<'_>, key: &Key, issuer: &str) -> Answer {
    let body = json!({ "issuer": issuer });
    node.ask_as(key, "POST", "/v1/session/provider", Some(&body))
}

fn finish(node: &Node<'_>, key: &Key, came: &Value) -> Answer {
    node.ask_as(key, "POST", "/v1/session/code", Some(came))
}

fn with(came: &Value, name: &str, value: &str) -> Value {
    let mut other = came.clone();
    other[name] = json!(value);
    other
}

/// A place where browsers sign in by this client of the provider.
fn place(port: u16, client: &str) -> Place {
    let place = Place::new();
    let mut text = format!(
        "[[oidc]]\nissuer = \"http://127.0.0.1:{port}\"\naudience = [\"placet\"]\n\
         [oidc.login]\nclient_id = \"{client}\"\nname = \"Example\"\nscopes = [\"groups\"]\n"
    );
    if client == "console" {
        let secret = place.path("secret");
        fs::write(&secret, "secret-of-console\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        text.push_str(&format!("client_secret = \"{}\"\n", secret.display()));
    }
    place.configure(&text);
    place
}

fn say_who(place: &Place, port: u16) {
    place.map(&format!(
        "[[identity]]\ndescription = \"People.\"\nprincipal = \"user:{{sub}}\"\noidc = {{ issuer = \"http://127.0.0.1:{port}\", claims = {{ groups = \"platform\" }} }}\n"
    ));
    let ana = [
        "principal",
        "set",
        "user:ana",
        "--group",
        "operators",
        "--mapped",
    ];
    place.ok(&ana);
}

#[test]
fn a_browser_signs_in_by_a_real_provider_as_whom_the_rules_say() {
    let port = free_port();
    let place = place(port, "console");
    let node = place.up();
    let back = format!("http://{}/console/signed-in", node.host());
    let provider = Provider::for_browsers(port, "one", Some(&back));
    say_who(&place, port);
    let issuer = provider.issuer();
    let session = node.ask_tcp("GET", "/v1/session", &[], None).expect(200);
    assert_eq!(
        session["logins"],
        json!([{ "issuer": issuer, "name": "Example" }])
    );

    let (browser, other) = (Key::new(41), Key::new(42));
    assert_eq!(begin(&node, &browser, "http://127.0.0.1:1").status, 404);
    let unproven = json!({ "issuer": issuer });
    let unproven = node.ask_tcp("POST", "/v1/session/provider", &[], Some(&unproven));
    assert_eq!(unproven.status, 401);
    let begun = begin(&node, &browser, &issuer).expect(200);
    let away = begun["url"].as_str().unwrap();
    assert!(away.starts_with(&format!(
        "{issuer}/auth?response_type=code&client_id=console&"
    )));
    assert!(
        away.contains("code_challenge_method=S256") && away.contains("&nonce="),
        "{away}"
    );

    let mut visitor = Visitor::default();
    let (at, came) = visitor.sign_in(&provider, away, "ana");
    assert_eq!(at, back);
    assert_eq!(came["iss"], issuer);
    // The page is there, whatever a provider adds to its address.
    let page = node.ask_tcp(
        "GET",
        "/console/signed-in?code=1&state=2&session_state=3&x",
        &[],
        None,
    );
    assert_eq!(page.status, 200);
    // Nobody else can end it, nor with anything that was changed.
    for (key, came) in [
        (&other, came.clone()),
        (&browser, with(&came, "state", "AAAA")),
        (&browser, with(&came, "iss", "http://127.0.0.1:1")),
        (&browser, with(&came, "code", "made-up")),
    ] {
        let refused = finish(&node, key, &came);
        assert_eq!(
            (refused.status, &*refused.code()),
            (401, "identity_unverified"),
            "{came}"
        );
        assert_eq!(node.ask_as(key, "GET", "/v1/policy", None).status, 401);
    }
    let mut nameless = came.clone();
    nameless.as_object_mut().unwrap().remove("iss");
    assert_eq!(finish(&node, &browser, &nameless).status, 401);
    let session = finish(&node, &browser, &came).expect(201);
    assert_eq!(
        (
            &session["role"],
            &session["identity"],
            &session["principals"][0]["id"]
        ),
        (&json!("operator"), &json!("provider"), &json!("user:ana"))
    );
    assert_eq!(finish(&node, &other, &came).status, 401);
    // Its acts are in the log as those of the principal that the rules name.
    let act = json!({ "reason": "drill" });
    node.ask_as(&browser, "POST", "/v1/halt", Some(&act))
        .expect(201);
    node.ask_as(&browser, "POST", "/v1/resume", Some(&act))
        .expect(201);
    let tail = place.ok(&["log", "tail", "-n", "2"]);
    assert_eq!(tail.matches("user:ana").count(), 2, "{tail}");
    let ended = node.ask_as(&browser, "POST", "/v1/session/end", Some(&json!({})));
    let ended = ended.expect(200);
    assert_eq!(node.ask_as(&browser, "GET", "/v1/policy", None).status, 401);
    // Its session at the provider still lets it in without a word, until it signs out there, too.
    let begun = begin(&node, &browser, &issuer).expect(200);
    let begun = begun["url"].as_str().unwrap();
    let unasked = visitor.sign_in(&provider, begun, "nobody").1;
    finish(&node, &browser, &unasked).expect(201);
    let away = ended["url"].as_str().unwrap();
    assert!(!away.contains("id_token"), "{away}");
    let left = visitor.sign_out(&provider, away);
    assert_eq!(left, format!("http://{}/console/signed-out", node.host()));
    assert_eq!(
        node.ask_tcp("GET", "/console/signed-out?x", &[], None)
            .status,
        200
    );
    assert!(!visitor.is_known(begun), "the provider still knows it");
    let again = node.ask_as(&browser, "POST", "/v1/session/end", Some(&json!({})));
    assert_eq!(again.expect(200)["url"], ended["url"]);
    let nobody = node.ask_as(&browser, "POST", "/v1/session/end", Some(&json!({})));
    assert_eq!(nobody.status, 401);

    let said = node.said();
    let code = came["code"].as_str().unwrap();
    for secret in [
        "secret-of-console",
        "private-group",
        code,
        came["state"].as_str().unwrap(),
    ] {
        assert!(!said.contains(secret), "{secret} is in\n{said}");
    }
}

#[test]
fn whom_no_rule_names_is_not_signed_in_and_a_rule_that_is_gone_ends_sessions() {
    let port = free_port();
    let place = place(port, "open");
    let node = place.up();
    let back = format!("http://{}/console/signed-in", node.host());
    let provider = Provider::for_browsers(port, "one", Some(&back));
    say_who(&place, port);
    let signed_in = |visitor: &mut Visitor, key: &Key, name: &str| {
        let begun = begin(&node, key, &provider.issuer()).expect(200);
        let (_, came) = visitor.sign_in(&provider, begun["url"].as_str().unwrap(), name);
        finish(&node, key, &came)
    };
    let (max, ana) = (Key::new(43), Key::new(44));
    let refused = signed_in(&mut Visitor::default(), &max, "max");
    assert_eq!(
        (refused.status, &*refused.code()),
        (403, "identity_unmapped")
    );
    assert_eq!(node.ask_as(&max, "GET", "/v1/policy", None).status, 401);
    let tail = place.ok(&["log", "tail", "-n", "2"]);
    assert!(tail.contains("identity_unmapped"), "{tail}");

    // A public client, by PKCE alone.
    let mut visitor = Visitor::default();
    signed_in(&mut visitor, &ana, "ana").expect(201);
    node.ask_as(&ana, "GET", "/v1/policy", None).expect(200);
    place.map("");
    let gone = node.ask_as(&ana, "GET", "/v1/policy", None);
    assert_eq!((gone.status, &*gone.code()), (403, "identity_unmapped"));
    // Nobody to ask: said as what it is, and nobody is let in.
    let begun = begin(&node, &ana, &provider.issuer()).expect(200);
    let (_, came) = visitor.sign_in(&provider, begun["url"].as_str().unwrap(), "ana");
    drop(provider);
    let unanswered = finish(&node, &ana, &came);
    assert_eq!(
        (unanswered.status, &*unanswered.code()),
        (502, "provider_unavailable")
    );
}
