//! Requests that somebody else's program makes up from the published document (schemathesis): none is
//! answered with a failure of the server, and every answer is one that the document has.
//!
//! It takes longest, so it has a name by which it begins early: tests are run in the order of their names.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::installed::pypi;
use crate::place::Place;

const PACKAGE: &str = "schemathesis==4.32.5";
const CHECKS: &str = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance,response_headers_conformance";

/// Examples of each operation: 8, or as `SCHEMATHESIS_EXAMPLES` says.
fn examples() -> String {
    std::env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "8".to_owned())
}

/// A listener on loopback whose connections come to the Unix socket: so the kernel says who calls.
fn forwarded(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Ok(server) = UnixStream::connect(&socket) {
                forward(client, server);
            }
        }
    });
    address
}

fn forward(client: TcpStream, server: UnixStream) {
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_server, mut to_client) = (server, client);
    thread::spawn(move || {
        drop(io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(std::net::Shutdown::Both));
    });
    thread::spawn(move || {
        drop(io::copy(&mut from_server, &mut to_client));
        drop(to_client.shutdown(std::net::Shutdown::Both));
    });
}

#[test]
fn no_request_that_the_document_allows_or_forbids_is_answered_with_a_failure() {
    let program = pypi(&[PACKAGE]).join("schemathesis");
    let place = Place::new();
    let node = place.up();
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/authzen");
    place.ok(&["policy", "activate", bundle]);
    let uid = rustix::process::getuid().as_raw().to_string();
    place.ok(&[
        "principal",
        "set",
        "service:point",
        "--group",
        "enforcement-points",
        "--uid",
        &uid,
    ]);
    let address = forwarded(place.socket());
    let document = format!("http://{address}/openapi.json");
    // A stream of events does not end. What halts the domain or ends authority would leave the rest
    // nothing to do, and comes last.
    let acts = ["/v1/halt", "/v1/revocations"];
    let run = |choice: &[&str]| {
        let output = Command::new(&program)
            .args(["run", &document, "--checks", CHECKS, "-n", &examples()])
            .args([
                "--generation-with-security-parameters",
                "false",
                "--seed",
                "1",
                "--no-color",
            ])
            .args(["--request-timeout", "60"])
            .args(choice)
            .current_dir(place.work())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains(" passed"), "{said}");
    };
    run(&[
        "--exclude-path",
        "/v1/events",
        "--exclude-path",
        acts[0],
        "--exclude-path",
        acts[1],
    ]);
    run(&["--include-path", acts[0], "--include-path", acts[1]]);
    assert_eq!(node.get("/readyz").status, 200);
    let meters = String::from_utf8(node.get("/metrics").body).unwrap();
    let failed =
        |line: &&str| line.starts_with("placet_http_requests_total") && line.contains("status=\"5");
    let failed: Vec<&str> = meters.lines().filter(failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
