//! The graph, its queries and its drawings, one claim per test.

mod exports;
mod fixture;
mod properties;

use placet_evidence::{Ended, Record, RunEnd, Started};
use placet_types::{DenialCode, Digest, ExecutionId, Index, Millis};

use crate::*;
use fixture::*;

fn ids<'g>(nodes: impl Iterator<Item = &'g Node>) -> Vec<ExecutionId> {
    nodes.map(|node| node.exec).collect()
}

fn execs(numbers: &[u8]) -> Vec<ExecutionId> {
    numbers.iter().map(|number| exec(*number)).collect()
}

#[test]
fn every_decided_intent_is_a_node_in_log_order() {
    let graph = story().graph();
    let all = execs(&[0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xc1, 0xc2, 0xc3]);
    assert_eq!(ids(graph.iter()), all);
    assert_eq!(graph.len(), all.len());
    let states: Vec<Status> = graph.iter().map(Node::status).collect();
    let expected = [
        Status::Completed,
        Status::Terminated,
        Status::Denied,
        Status::Failed,
        Status::Running,
        Status::Lapsed,
        Status::Denied,
        Status::Authorized,
    ];
    assert_eq!(states, expected);
}

#[test]
fn a_node_names_the_records_that_made_it() {
    let log = story();
    let graph = log.graph();
    for node in graph.iter() {
        let record = |at: Index| &log.records[usize::try_from(at.get()).unwrap()];
        assert_eq!(record(node.decided.index).exec(), Some(node.exec));
        if let Some(at) = node.started {
            assert!(matches!(record(at.index), Record::Started(r) if r.exec == node.exec));
        }
        if let Some(end) = node.ended {
            assert!(matches!(record(end.at.index), Record::Ended(r) if r.exec == node.exec));
        }
    }
    assert_eq!(graph.last(), Some(Index::new(log.records.len() as u64 - 1)));
}

#[test]
fn signals_and_refused_attempts_are_counted() {
    let graph = story().graph();
    let counts = |number| {
        graph
            .get(&exec(number))
            .map(|node| (node.signals, node.refused))
    };
    assert_eq!(counts(0xa4), Some((2, 0)));
    assert_eq!(counts(0xb1), Some((0, 1)));
    assert_eq!(counts(0xa1), Some((0, 0)));
}

#[test]
fn ancestors_come_nearest_first_and_descendants_in_log_order() {
    let graph = story().graph();
    assert_eq!(ids(graph.ancestors(&exec(0xa4))), execs(&[0xa2, 0xa1]));
    assert_eq!(
        ids(graph.descendants(&exec(0xa1))),
        execs(&[0xa2, 0xa3, 0xa4])
    );
    assert_eq!(ids(graph.children(&exec(0xa1))), execs(&[0xa2]));
    assert_eq!(ids(graph.roots()), execs(&[0xa1, 0xb1, 0xc1, 0xc2, 0xc3]));
    assert_eq!(ids(graph.ancestors(&exec(0x99))), []);
    assert_eq!(ids(graph.descendants(&exec(0x99))), []);
}

#[test]
fn a_denied_intent_stands_below_the_execution_that_asked() {
    let graph = story().graph();
    let denied = graph.get(&exec(0xa3)).unwrap();
    assert_eq!((denied.parent, denied.root), (Some(exec(0xa2)), exec(0xa1)));
    assert_eq!(denied.code(), Some(DenialCode::PolicyForbids));
    assert_eq!((denied.started, denied.ran_ms(None)), (None, None));
    assert_eq!(denied.finished(), Some(denied.decided));
}

#[test]
fn an_execution_is_found_by_the_beginning_of_its_id() {
    let graph = story().graph();
    for text in ["exec_b", "art_b1", "b11", &exec(0xb1).to_string()] {
        assert_eq!(
            graph.find(text).map(|node| node.exec),
            Ok(exec(0xb1)),
            "{text}"
        );
    }
    let failing = [
        ("exec_a", FindError::Ambiguous(4)),
        ("c", FindError::Ambiguous(3)),
        ("exec_d", FindError::Unknown),
        ("", FindError::Syntax),
        ("exec_", FindError::Syntax),
        ("exec_B", FindError::Syntax),
        ("exec_b1 ", FindError::Syntax),
        ("é", FindError::Syntax),
    ];
    for (text, error) in failing {
        assert_eq!(graph.find(text).map(|node| node.exec), Err(error), "{text}");
    }
    let long = format!("{}0", exec(0xb1));
    assert_eq!(
        graph.find(&long).map(|node| node.exec),
        Err(FindError::Syntax)
    );
}

#[test]
fn risk_is_the_one_of_the_decision_and_a_filter_for_it_takes_as_much_or_more() {
    let log = story();
    let graph = log.graph();
    let mut node = graph.select(&Query::default()).next().unwrap().clone();
    let at_least = |risk_min| Query {
        risk_min: Some(risk_min),
        ..Query::default()
    };
    assert!(at_least(0).matches(&node) && !at_least(1).matches(&node));
    assert!(serde_json::to_value(&node).unwrap().get("risk").is_none());
    node.risk.score = 25;
    assert!(at_least(25).matches(&node) && !at_least(26).matches(&node));
    assert_eq!(serde_json::to_value(&node).unwrap()["risk"]["score"], 25);
}

#[test]
fn what_a_policy_or_a_bundle_decided_is_found_by_it() {
    let log = story();
    let graph = log.graph();
    let mut node = graph.select(&Query::default()).next().unwrap().clone();
    node.policies = vec!["a".into(), "b".into()];
    let of_policy = |id: &str| Query {
        policy: Some(id.into()),
        ..Query::default()
    };
    let of_bundle = |bytes: &[u8]| Query {
        bundle: Some(Digest::of(bytes)),
        ..Query::default()
    };
    assert!(of_policy("b").matches(&node) && !of_policy("c").matches(&node));
    assert!(of_bundle(b"bundle").matches(&node) && !of_bundle(b"other").matches(&node));
    node.bundle = None;
    assert!(!of_bundle(b"bundle").matches(&node));
}

#[test]
fn each_filter_selects_what_it_says() {
    let log = story();
    let graph = log.graph();
    let begin = log.records[0].time();
    let at = |ms: u64| Some(Millis::new(begin.get() + ms));
    let query = Query::default;
    let cases: [(&str, Query, &[u8]); 13] = [
        (
            "principal",
            Query {
                principal: Some(who("agent:coder")),
                ..query()
            },
            &[0xa2, 0xa3, 0xa4],
        ),
        (
            "on behalf of",
            Query {
                on_behalf_of: Some(who("agent:planner")),
                ..query()
            },
            &[0xa2, 0xa4],
        ),
        (
            "resource",
            Query {
                resource: Some("/usr/bin/ls".into()),
                ..query()
            },
            &[0xc1, 0xc3],
        ),
        (
            "part of a name",
            Query {
                resource: Some("/usr/bin/l".into()),
                ..query()
            },
            &[],
        ),
        (
            "kind",
            Query {
                resource_kind: Some("Host".into()),
                ..query()
            },
            &[],
        ),
        (
            "denied",
            Query {
                status: Some(Status::Denied),
                ..query()
            },
            &[0xa3, 0xc2],
        ),
        (
            "code",
            Query {
                code: Some(DenialCode::Revoked),
                ..query()
            },
            &[0xa2],
        ),
        (
            "within",
            Query {
                within: Some(exec(0xa2)),
                ..query()
            },
            &[0xa2, 0xa3, 0xa4],
        ),
        (
            "unknown",
            Query {
                within: Some(exec(0x99)),
                ..query()
            },
            &[],
        ),
        (
            "until",
            Query {
                until: at(1_001),
                ..query()
            },
            &[0xa1],
        ),
        (
            "from",
            Query {
                from: at(100_000),
                ..query()
            },
            &[0xb1, 0xc1, 0xc2, 0xc3],
        ),
        (
            "alive then",
            Query {
                from: at(5_000),
                until: at(6_000),
                ..query()
            },
            &[0xa1, 0xb1],
        ),
        (
            "all together",
            Query {
                within: Some(exec(0xa1)),
                status: Some(Status::Failed),
                ..query()
            },
            &[0xa4],
        ),
    ];
    for (name, query, expected) in cases {
        assert_eq!(ids(graph.select(&query)), execs(expected), "{name}");
    }
    let below = Query {
        resource: Some("/usr/bin".into()),
        ..query()
    };
    assert_eq!(graph.select(&below).count(), graph.len());
    assert_eq!(graph.select(&query()).count(), graph.len());
}

#[test]
fn a_time_range_holds_its_first_instant_and_not_its_last() {
    let graph = story().graph();
    let denied = graph.get(&exec(0xc2)).unwrap();
    let then = denied.decided.time;
    let finds = |from: u64, until: u64| {
        let query = Query {
            from: Some(Millis::new(from)),
            until: Some(Millis::new(until)),
            ..Query::default()
        };
        graph.select(&query).any(|node| node.exec == denied.exec)
    };
    assert!(finds(then.get(), then.get() + 1));
    assert!(!finds(then.get() + 1, then.get() + 2));
    assert!(!finds(then.get() - 1, then.get()));
}

#[test]
fn an_action_filter_selects_its_action_only() {
    let graph = story().graph();
    let query = |text: &str| Query {
        action: Some(text.parse().unwrap()),
        ..Query::default()
    };
    assert_eq!(graph.select(&query("process:run")).count(), graph.len());
    assert_eq!(graph.select(&query("http:get")).count(), 0);
}

#[test]
fn a_record_that_cannot_follow_changes_nothing() {
    let log = story();
    let mut graph = log.graph();
    let before = ids(graph.iter());
    let (last, next) = (graph.last().unwrap(), graph.last().unwrap().next());
    let decided = |of: u8| {
        let is = |r: &&Record| matches!(r, Record::Decided(d) if d.facts.exec == exec(of));
        log.records.iter().find(is).unwrap().clone()
    };
    let repeated = graph.apply(next, &decided(0xb1));
    assert_eq!(repeated, Err(GraphError::Repeated(exec(0xb1))));
    let backwards = graph.apply(last, &log.records[0]);
    assert_eq!(backwards, Err(GraphError::Order { last, found: last }));
    for exec in execs(&[0xa1, 0xa3]) {
        for record in &log.records {
            let record = if let Record::Started(started) = record {
                let started = started.clone();
                Record::Started(Started { exec, ..started })
            } else if let Record::Ended(ended) = record {
                let ended = ended.clone();
                Record::Ended(Ended { exec, ..ended })
            } else {
                continue;
            };
            let refused = graph.apply(next, &record);
            assert!(
                matches!(refused, Err(GraphError::Phase { .. })),
                "{refused:?}"
            );
        }
    }
    let Record::Decided(mut contradictory) = decided(0xc3) else {
        panic!()
    };
    contradictory.facts.exec = exec(0x77);
    contradictory.grant = None;
    let refused = graph.apply(next, &Record::Decided(contradictory));
    assert_eq!(refused, Err(GraphError::Decision(exec(0x77))));
    assert_eq!((ids(graph.iter()), graph.last()), (before, Some(last)));
}

#[test]
fn records_about_unknown_executions_change_nothing() {
    let mut log = Log::new();
    log.run(1, "user:alice", "ls", None);
    log.end(1, RunEnd::Completed, None);
    let mut graph = Graph::new();
    for (at, record) in log.records.iter().enumerate().skip(2) {
        graph.apply(Index::new(at as u64), record).unwrap();
    }
    assert!(graph.is_empty());
}

#[test]
fn a_bounded_graph_keeps_ancestors_of_what_runs_and_forgets_the_oldest_leaves() {
    let mut log = Log::new();
    log.run(1, "user:alice", "sh", None);
    log.run(2, "user:alice", "sh", Some(1));
    for number in 10..20 {
        log.run(number, "user:alice", "ls", Some(1));
        log.end(number, RunEnd::Completed, None);
    }
    log.end(1, RunEnd::Completed, None);
    let graph = log.fold_into(Graph::recent(3));
    assert_eq!(ids(graph.iter()), execs(&[1, 2, 18, 19]));
    log.end(2, RunEnd::Terminated, Some(DenialCode::LineageFragmented));
    let graph = log.fold_into(Graph::recent(1));
    assert_eq!(ids(graph.iter()), execs(&[1]));
}

#[test]
fn an_execution_has_a_lane_to_the_right_of_its_parent_while_it_lives() {
    let graph = story().graph();
    let placed: Vec<_> = graph
        .lanes()
        .iter()
        .map(|p| (p.node.exec, p.lane, p.from))
        .collect();
    let expected = [
        (exec(0xa1), 0, None),
        (exec(0xa2), 1, Some(0)),
        (exec(0xa3), 2, Some(1)),
        (exec(0xa4), 2, Some(1)),
        (exec(0xb1), 3, None),
        (exec(0xc1), 0, None),
        (exec(0xc2), 0, None),
        (exec(0xc3), 0, None),
    ];
    assert_eq!(placed, expected);
}

#[test]
fn the_tree_shows_what_became_of_everything() {
    let log = story();
    insta::assert_snapshot!(Tree::of(&log.graph()).at(log.now).render(&Plain));
}

#[test]
fn the_ascii_tree_has_no_other_character() {
    let log = story();
    let text = Tree::of(&log.graph())
        .charset(Charset::Ascii)
        .render(&Plain);
    assert!(text.is_ascii());
    insta::assert_snapshot!(text);
}

#[test]
fn a_filtered_tree_shows_the_ancestors_of_what_matches() {
    let graph = story().graph();
    let query = Query {
        status: Some(Status::Denied),
        ..Query::default()
    };
    insta::assert_snapshot!(Tree::of(&graph).only(query).render(&Plain));
    let nothing = Query {
        within: Some(exec(0x99)),
        ..Query::default()
    };
    assert_eq!(Tree::of(&graph).only(nothing).render(&Plain), "");
}

/// Puts each piece between braces, with its role.
struct Tagged;

impl Style for Tagged {
    fn paint(&self, role: Role, text: &str) -> String {
        format!("{{{role:?}:{text}}}")
    }
}

#[test]
fn a_style_sees_each_piece_with_its_role() {
    let mut log = Log::new();
    log.run(1, "user:alice", "sh", None);
    log.run(2, "user:alice", "ls", Some(1));
    insta::assert_snapshot!(Tree::of(&log.graph()).render(&Tagged));
}

#[test]
fn a_name_cannot_forge_a_line_of_the_tree() {
    let mut log = Log::new();
    log.run(
        1,
        "user:alice",
        "a\n✓ exec_\u{1b}[32m\u{202e}\u{200b}é\\",
        None,
    );
    let graph = log.graph();
    let text = Tree::of(&graph).render(&Plain);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains(r"a\n✓ exec_\u{1b}[32m\u{202e}\u{200b}é\\"),
        "{text}"
    );
    let ascii = Tree::of(&graph).charset(Charset::Ascii).render(&Plain);
    assert!(
        ascii.contains(r"a\n\u{2713} exec_\u{1b}[32m\u{202e}\u{200b}\u{e9}\\"),
        "{ascii}"
    );
}

#[test]
fn a_very_deep_tree_is_walked_without_recursion() {
    let mut log = Log::new();
    let template = {
        log.run(0, "user:alice", "sh", None);
        let Record::Decided(decided) = log.records[1].clone() else {
            panic!()
        };
        decided
    };
    let deep = |level: u32| {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&level.to_be_bytes());
        ExecutionId::new(bytes)
    };
    let (mut graph, levels) = (Graph::new(), 3_000);
    for level in 0..levels {
        let mut decided = template.clone();
        decided.facts.exec = deep(level);
        decided.intent = decided
            .intent
            .changed(|intent| intent.parent = level.checked_sub(1).map(deep))
            .unwrap();
        let record = Record::Decided(decided);
        graph.apply(Index::new(u64::from(level)), &record).unwrap();
    }
    assert_eq!(graph.descendants(&deep(0)).count(), 2_999);
    assert_eq!(graph.ancestors(&deep(levels - 1)).count(), 2_999);
    assert_eq!(Tree::of(&graph).render(&Plain).lines().count(), 3_000);
}
