//! What holds for the graph of any valid log.

use std::collections::{BTreeMap, BTreeSet};

use placet_evidence::RunEnd;
use placet_types::{DenialCode, ExecutionId};
use proptest::prelude::*;
use proptest::sample::Index as Pick;

use super::exports::{check_openlineage, check_otlp, check_prov};
use super::fixture::*;
use crate::*;

#[derive(Clone, Debug)]
enum Step {
    Permit {
        name: usize,
        below: Option<Pick>,
    },
    /// Below anything that was ever decided, or below nothing that is known.
    Deny {
        name: usize,
        below: Option<Pick>,
        known: bool,
    },
    Start(Pick),
    End(Pick, usize),
    Signal(Pick),
    Refuse(Pick),
}

const NAMES: [&str; 3] = ["user:alice", "agent:coder", "ci:release"];

fn any_log() -> impl Strategy<Value = Log> {
    let name = 0..NAMES.len();
    let below = || prop::option::weighted(0.7, any::<Pick>());
    let step = prop_oneof![
        6 => (name.clone(), below()).prop_map(|(name, below)| Step::Permit { name, below }),
        2 => (name, below(), prop::bool::weighted(0.9))
            .prop_map(|(name, below, known)| Step::Deny { name, below, known }),
        8 => any::<Pick>().prop_map(Step::Start),
        5 => (any::<Pick>(), 0..4_usize).prop_map(|(pick, how)| Step::End(pick, how)),
        1 => any::<Pick>().prop_map(Step::Signal),
        1 => any::<Pick>().prop_map(Step::Refuse),
    ];
    prop::collection::vec(step, 0..120).prop_map(log_of)
}

/// Plays the steps that are possible when their turn comes.
fn log_of(steps: Vec<Step>) -> Log {
    let mut log = Log::new();
    let (mut next, mut waiting, mut running) = (1_u8, Vec::<u8>::new(), Vec::<u8>::new());
    let some = |pick: &Pick, of: &[u8]| (!of.is_empty()).then(|| *pick.get(of));
    for step in steps {
        log.wait(7);
        match step {
            Step::Permit { name, below } => {
                let live: Vec<u8> = running
                    .iter()
                    .copied()
                    .filter(|n| log.is_live(exec(*n)))
                    .collect();
                let below = below.and_then(|below| some(&below, &live));
                log.permit(next, NAMES[name], "sh", below);
                waiting.push(next);
                next += 1;
            }
            Step::Deny { name, below, known } => {
                let below = below.map(|below| match known {
                    true => u8::try_from(below.index(usize::from(next))).unwrap(),
                    false => 250,
                });
                log.deny(next, NAMES[name], "curl", below.filter(|below| *below != 0));
                next += 1;
            }
            Step::Start(pick) => {
                if let Some(number) = some(&pick, &waiting) {
                    log.start(number);
                    waiting.retain(|other| *other != number);
                    running.push(number);
                }
            }
            Step::End(pick, how) => {
                let all: Vec<u8> = waiting.iter().chain(&running).copied().collect();
                if let Some(number) = some(&pick, &all) {
                    let (outcome, cause) = match (running.contains(&number), how) {
                        (false, _) => (RunEnd::Lapsed, None),
                        (true, 0) => (RunEnd::Failed, None),
                        (true, 1) => (RunEnd::Terminated, Some(DenialCode::Anomaly)),
                        (true, _) => (RunEnd::Completed, None),
                    };
                    log.end(number, outcome, cause);
                    waiting.retain(|other| *other != number);
                    running.retain(|other| *other != number);
                }
            }
            Step::Signal(pick) => {
                log.signal(u8::try_from(pick.index(usize::from(next))).unwrap(), 1)
            }
            Step::Refuse(pick) => log.refuse(u8::try_from(pick.index(usize::from(next))).unwrap()),
        }
    }
    log
}

proptest! {
    #[test]
    fn the_graph_is_acyclic_and_log_order_is_topological(log in any_log()) {
        let graph = log.graph();
        let order: Vec<_> = graph.iter().map(|node| node.decided.index).collect();
        prop_assert!(order.is_sorted_by(|a, b| a < b));
        let mut below_roots = BTreeSet::new();
        for node in graph.iter() {
            if let Some(parent) = graph.parent(&node.exec) {
                prop_assert!(parent.decided.index < node.decided.index);
                prop_assert_eq!(node.parent, Some(parent.exec));
                prop_assert_eq!(node.root, parent.root);
                prop_assert!(graph.children(&parent.exec).any(|child| child.exec == node.exec));
            } else {
                prop_assert!(graph.roots().any(|root| root.exec == node.exec));
                prop_assert_eq!(node.root, node.exec);
                let tree = graph.descendants(&node.exec).chain([node]);
                for each in tree {
                    prop_assert!(below_roots.insert(each.exec), "in two trees");
                }
            }
            for above in graph.ancestors(&node.exec) {
                prop_assert!(graph.descendants(&above.exec).any(|each| each.exec == node.exec));
            }
        }
        prop_assert_eq!(below_roots.len(), graph.len());
    }

    #[test]
    fn a_bounded_graph_is_part_of_the_whole_and_stays_small(log in any_log(), keep in 0..8_usize) {
        let whole: BTreeMap<ExecutionId, Node> =
            log.graph().iter().map(|node| (node.exec, node.clone())).collect();
        let graph = log.fold_into(Graph::recent(keep));
        for node in graph.iter() {
            let mut expected = whole[&node.exec].clone();
            if node.status() == Status::Denied {
                // Its root is as far up as this graph reached when it came.
                expected.root = node.root;
            } else {
                let parent = graph.parent(&node.exec).map(|parent| parent.exec);
                prop_assert_eq!(parent, node.parent, "whatever was permitted keeps its parent");
            }
            prop_assert_eq!(node, &expected);
        }
        let unfinished = |node: &&Node| node.finished().is_none();
        let running = whole.values().filter(unfinished).count();
        prop_assert_eq!(graph.iter().filter(unfinished).count(), running, "what lives is kept");
        let finished: Vec<&Node> = graph.iter().filter(|node| node.finished().is_some()).collect();
        let needed = |node: &&Node| graph.descendants(&node.exec).any(|n| n.finished().is_none());
        prop_assert!(
            finished.len() <= keep || finished.iter().all(needed),
            "{} finished ones are kept, {} not for what is below them",
            finished.len(), finished.iter().filter(|node| !needed(node)).count()
        );
    }

    #[test]
    fn nobody_shares_a_lane_while_it_lives(log in any_log()) {
        let graph = log.graph();
        let placed = graph.lanes();
        prop_assert_eq!(placed.len(), graph.len());
        let end = |node: &Node| node.finished().map(|at| at.index);
        for (at, one) in placed.iter().enumerate() {
            prop_assert!(one.from.is_none_or(|from| from < one.lane));
            for other in &placed[at + 1..] {
                let lives_on = end(one.node).is_none_or(|end| end > other.node.decided.index);
                prop_assert!(!lives_on || one.lane != other.lane);
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exports_of_any_graph_follow_their_formats(log in any_log(), keep in 0..20_usize) {
        let domain = domain();
        for graph in [log.graph(), log.fold_into(Graph::recent(keep))] {
            let export = Export::of(&graph, &domain);
            check_otlp(&export.otlp());
            check_prov(&export.prov());
            check_openlineage(&export.openlineage());
            let lines = Tree::of(&graph).render(&Plain).lines().count();
            prop_assert_eq!(lines, graph.len());
        }
    }
}
