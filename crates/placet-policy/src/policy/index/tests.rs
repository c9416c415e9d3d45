//! The index against full Cedar on random policy sets: decision, reasons and errors are the same.
//!
//! In the style of cedar-integration-tests: hierarchies, action groups, `is`, lists of actions,
//! template links, conditions that fail, entities that nobody knows, permits and forbids mixed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use cedar_policy::{
    Authorizer, Context, Decision, Entity, PolicySet, Request, Response, RestrictedExpression,
    SlotId, Template,
};

use super::*;
use crate::testing::Random;

const SETS: u64 = 42;
const REQUESTS: usize = 500;

fn uid(text: &str) -> EntityUid {
    text.parse().unwrap()
}

fn long(value: i64) -> RestrictedExpression {
    RestrictedExpression::new_long(value)
}

/// Users in groups, documents in folders, actions in action groups; groups and folders nest. Some
/// lack the attributes that conditions look at.
fn entities(random: &mut Random) -> Entities {
    let mut all = Vec::new();
    for (kind, outer, count) in [
        ("G", "G", 8),
        ("F", "F", 8),
        ("A", "AG", 6),
        ("U", "G", 10),
        ("D", "F", 10),
        ("R", "G", 4),
    ] {
        for i in 0..count {
            let bound = if kind == outer { i } else { 8 };
            let parents: HashSet<_> = (0..random.below(4))
                .filter(|_| bound > 0)
                .map(|_| entity(outer, random.below(bound)))
                .collect();
            let known = random.below(4) > 0;
            let attrs: HashMap<_, _> = [("n".to_owned(), long(i64::try_from(i).unwrap()))]
                .into_iter()
                .filter(|_| known)
                .collect();
            all.push(Entity::new(entity(kind, i), attrs, parents).unwrap());
        }
    }
    Entities::from_entities(all, None).unwrap()
}

/// `A` and `AG` are both of type Action, so that action groups are what Cedar takes them for.
fn entity(kind: &str, i: usize) -> EntityUid {
    match kind {
        "A" => uid(&format!("Action::\"a{i}\"")),
        "AG" => uid(&format!("Action::\"ag{}\"", i % 3)),
        _ => uid(&format!("{kind}::\"{i}\"")),
    }
}

fn scope(random: &mut Random, variable: &str, leaf: &str, outer: &str, slot: bool) -> String {
    let (i, j) = (random.below(10), random.below(8));
    match random.below(if slot { 9 } else { 7 }) {
        0 => variable.to_owned(),
        1 => format!("{variable} is {leaf}"),
        2 => format!("{variable} == {leaf}::\"{i}\""),
        3 | 4 => format!("{variable} in {outer}::\"{j}\""),
        5 => format!("{variable} is {leaf} in {outer}::\"{j}\""),
        6 => format!("{variable} in {leaf}::\"{i}\""),
        7 => format!("{variable} in ?{variable}"),
        _ => format!("{variable} == ?{variable}"),
    }
}

fn action(random: &mut Random) -> String {
    let (i, j) = (random.below(6), random.below(6));
    match random.below(5) {
        0 => "action".to_owned(),
        1 => format!("action == Action::\"a{i}\""),
        2 => format!(
            "action in [Action::\"a{i}\", Action::\"a{j}\", Action::\"ag{}\"]",
            j % 3
        ),
        3 => format!("action in Action::\"ag{}\"", i % 3),
        _ => "action in []".to_owned(),
    }
}

fn condition(random: &mut Random) -> String {
    let k = random.below(10);
    match random.below(9) {
        0 | 1 => String::new(),
        2 => format!("when {{ context.n > {k} }}"),
        3 => format!("when {{ principal.n < {k} }}"),
        4 => format!("unless {{ resource.n == {k} }}"),
        5 => format!("when {{ context.n + 9223372036854775800 > {k} }}"),
        6 => format!("when {{ resource has n && resource.n > {k} || context.flag }}"),
        7 => format!(
            "when {{ principal in G::\"{}\" }} unless {{ context.flag }}",
            k % 8
        ),
        _ => "when { context.words.contains(\"x\") && context.flag }".to_owned(),
    }
}

fn policies(random: &mut Random) -> PolicySet {
    let mut set = PolicySet::new();
    let mut text = String::new();
    for id in 0..100 {
        text.clear();
        let effect = if random.below(4) == 0 {
            "forbid"
        } else {
            "permit"
        };
        let template = random.below(5) == 0;
        let leaf = random.one_of(&["U", "U", "R"]);
        let principal = scope(random, "principal", leaf, "G", template);
        let resource = scope(random, "resource", "D", "F", template);
        write!(
            text,
            "{effect}({principal}, {}, {resource}) {};",
            action(random),
            condition(random)
        )
        .unwrap();
        let name = PolicyId::new(format!("p{id}"));
        if text.contains('?') {
            set.add_template(Template::parse(Some(name.clone()), &text).unwrap())
                .unwrap();
            link(random, &mut set, &name);
        } else {
            set.add(cedar_policy::Policy::parse(Some(name), &text).unwrap())
                .unwrap();
        }
    }
    set
}

fn link(random: &mut Random, set: &mut PolicySet, template: &PolicyId) {
    let slots: Vec<SlotId> = set.template(template).unwrap().slots().cloned().collect();
    for i in 0..random.below(4) {
        let values = slots.iter().map(|slot| {
            let kinds = if *slot == SlotId::principal() {
                ["U", "G"]
            } else {
                ["D", "F"]
            };
            (slot.clone(), entity(random.one_of(&kinds), random.below(8)))
        });
        let name = PolicyId::new(format!("{template}-l{i}"));
        let values = values.collect();
        set.link(template.clone(), name, values).unwrap();
    }
}

/// A request, its context once as a whole and once with what `mentions` needs.
fn requests(random: &mut Random, mentions: &Mentions) -> (Request, Request) {
    let principal = entity(random.one_of(&["U", "U", "U", "R", "G"]), random.below(12));
    let action = entity("A", random.below(7));
    let resource = entity(random.one_of(&["D", "D", "F"]), random.below(12));
    let words = [RestrictedExpression::new_string("x".to_owned())];
    let pairs = [
        (
            "n".to_owned(),
            long(i64::try_from(random.below(12)).unwrap()),
        ),
        (
            "flag".to_owned(),
            RestrictedExpression::new_bool(random.below(2) == 0),
        ),
        (
            "words".to_owned(),
            RestrictedExpression::new_set(words.into_iter().take(random.below(2))),
        ),
        ("unused".to_owned(), long(1)),
    ];
    let make = |pairs: Vec<(String, RestrictedExpression)>| {
        let context = Context::from_pairs(pairs).unwrap();
        Request::new(
            principal.clone(),
            action.clone(),
            resource.clone(),
            context,
            None,
        )
        .unwrap()
    };
    let needed = pairs
        .iter()
        .filter(|(name, _)| mentions.has(name))
        .cloned()
        .collect();
    (make(pairs.to_vec()), make(needed))
}

type Answer = (Decision, BTreeSet<String>, BTreeSet<String>);

fn answer(response: &Response) -> Answer {
    let diagnostics = response.diagnostics();
    (
        response.decision(),
        diagnostics.reason().map(ToString::to_string).collect(),
        diagnostics.errors().map(ToString::to_string).collect(),
    )
}

#[test]
fn the_index_answers_as_full_cedar_does() {
    let authorizer = Authorizer::new();
    let (mut allowed, mut failed, mut largest) = (0, 0, 0);
    for seed in 0..SETS {
        let mut random = Random(seed);
        let (entities, full) = (entities(&mut random), policies(&mut random));
        let index = Index::new(&full);
        // Small, so that slices are forgotten and made again.
        let slices = Cache::new(24);
        for _ in 0..REQUESTS {
            let state = random.0;
            let (whole, _) = requests(&mut Random(state), &Mentions::All);
            let (principal, action, resource) = (
                whole.principal().unwrap(),
                whole.action().unwrap(),
                whole.resource().unwrap(),
            );
            let reach = Reach::new(action, principal, resource, &entities);
            let slice = index.slice(&reach, &full, &slices).unwrap();
            let (_, lean) = requests(&mut random, &slice.mentions);
            let expected = answer(&authorizer.is_authorized(&whole, &full, &entities));
            let found = answer(&authorizer.is_authorized(&lean, &slice.set, &entities));
            assert_eq!(found, expected, "seed {seed}: {whole:?}");
            allowed += usize::from(expected.0 == Decision::Allow);
            failed += usize::from(!expected.2.is_empty());
            largest = largest.max(slice.set.policies().count());
        }
    }
    // The cases are worth something only where all kinds of answers occur, and slices are slices.
    let cases = usize::try_from(SETS).unwrap() * REQUESTS;
    assert!(
        allowed > cases / 10 && allowed < cases * 9 / 10,
        "{allowed} of {cases}"
    );
    assert!(failed > cases / 10, "{failed} of {cases}");
    assert!(largest < 75, "{largest}");
}
