//! Hard limits under concurrency: many intents at once against a budget get exactly the budget.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use placet_authority::node::wire::Response;
use placet_types::DenialCode;

use crate::client::{self, request};
use crate::frames::{link, submission};
use crate::place::Place;

const INTENTS: usize = 1000;
const BUDGET: usize = 10;

/// A domain whose agents have ten permits an hour.
fn with_a_budget() -> Place {
    let place = Place::new();
    let budget = r#"@id("agents-budget")
@description("Ten permits an hour.")
@severity("low")
forbid (principal in Group::"agents", action == Action::"process:run", resource)
when { context.history.permits_hour >= 10 };

@id("agents-running")"#;
    let changes = [("policies/guards.cedar", "@id(\"agents-running\")", budget)];
    place.activate_changed(2, &changes);
    place.stop_node();
    place
}

/// Runs so many at once, each on a thread of its own, and all of them from one moment on.
fn at_once(one: impl Fn(usize) -> bool + Sync) -> usize {
    let (gate, permits) = (Barrier::new(INTENTS), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..INTENTS {
            let (gate, permits, one) = (&gate, &permits, &one);
            let builder = thread::Builder::new().stack_size(256 << 10);
            let run = move || {
                gate.wait();
                if one(number) {
                    permits.fetch_add(1, Ordering::Relaxed);
                }
            };
            builder.spawn_scoped(scope, run).unwrap();
        }
    });
    permits.into_inner()
}

/// Asks until there is an answer that is a decision: whether it permits. Anything but a permit and a
/// denial by the budget, or by what follows from many denials, fails.
fn is_permitted(socket: &Path, body: &str) -> bool {
    let text = request("POST", "/v1/intents", "placet", &[], Some(body));
    loop {
        let answer = client::exchange(client::unix(socket), text.as_bytes());
        match (
            answer.status,
            answer.status == 201 || answer.code() == "policy_forbids",
        ) {
            (201 | 403, true) => return answer.status == 201,
            (503, _) => thread::sleep(Duration::from_millis(20)),
            _ => panic!("{answer:?}"),
        }
    }
}

#[test]
fn a_thousand_intents_at_once_over_http_get_exactly_the_budget() {
    let place = with_a_budget();
    let node = place.up();
    let body = place.intent("agent:coder", &["true"]).to_string();
    let permits = at_once(|_| is_permitted(&place.socket(), &body));
    assert_eq!(permits, BUDGET);
    // A permit that is not used lapses, perhaps between the two questions.
    let mut permitted = BTreeSet::new();
    for status in ["authorized", "lapsed"] {
        let path = format!("/v1/executions?status={status}&limit=500");
        let page = node.get(&path).expect(200);
        let items = page["items"].as_array().unwrap();
        permitted.extend(items.iter().map(|item| item["exec"].to_string()));
    }
    assert_eq!(permitted.len(), BUDGET);
    drop(node);
    place.ok(&["log", "replay"]);
}

#[test]
fn a_thousand_intents_at_once_over_the_nodes_socket_get_exactly_the_budget() {
    let place = with_a_budget();
    let _node = place.up();
    let links = Mutex::new((0..INTENTS).map(|_| link(&place)).collect::<Vec<_>>());
    let requests: Vec<_> = (0..INTENTS)
        .map(|number| submission(&place, &["true"], number as u64))
        .collect();
    let permits = at_once(|number| {
        let mut link = links.lock().unwrap().pop().unwrap();
        let answer = link.ask(&requests[number]).unwrap();
        if let Response::Denied { denial, .. } = &answer {
            assert_eq!(denial.code, DenialCode::PolicyForbids, "{denial:?}");
            return false;
        }
        assert!(matches!(answer, Response::Permitted(_)), "{answer:?}");
        true
    });
    assert_eq!(permits, BUDGET);
}
