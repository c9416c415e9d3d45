//! Which parts of a policy's scope a request misses.

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy, PrincipalConstraint, Request,
    ResourceConstraint,
};

/// A scope constraint, whichever of the three it is.
enum Constraint {
    Any,
    Eq(EntityUid),
    In(Vec<EntityUid>),
    Is(EntityTypeName),
    IsIn(EntityTypeName, EntityUid),
}

/// One line for each part of the scope that does not match.
pub(super) fn misses(policy: &Policy, request: &Request, entities: &Entities) -> Vec<String> {
    let parts = [
        (
            "principal",
            request.principal(),
            principal(policy.principal_constraint()),
        ),
        (
            "action",
            request.action(),
            action(policy.action_constraint()),
        ),
        (
            "resource",
            request.resource(),
            resource(policy.resource_constraint()),
        ),
    ];
    parts
        .into_iter()
        .filter_map(|(name, uid, constraint)| miss(name, uid?, &constraint, entities))
        .collect()
}

fn miss(
    name: &str,
    uid: &EntityUid,
    constraint: &Constraint,
    entities: &Entities,
) -> Option<String> {
    let within = |outer: &EntityUid| uid == outer || entities.is_ancestor_of(outer, uid);
    let words = match constraint {
        Constraint::Any => return None,
        Constraint::Eq(other) => (uid != other).then(|| format!("is not {other}")),
        Constraint::In(outer) => (!outer.iter().any(within)).then(|| match outer.as_slice() {
            [only] => format!("is not in {only}"),
            several => format!("is in none of {}", list(several)),
        }),
        Constraint::Is(kind) => (uid.type_name() != kind).then(|| format!("is no {kind}")),
        Constraint::IsIn(kind, outer) => {
            (uid.type_name() != kind || !within(outer)).then(|| format!("is no {kind} in {outer}"))
        }
    };
    words.map(|words| format!("the {name} {uid} {words}"))
}

fn list(uids: &[EntityUid]) -> String {
    uids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn principal(constraint: PrincipalConstraint) -> Constraint {
    match constraint {
        PrincipalConstraint::Any => Constraint::Any,
        PrincipalConstraint::Eq(uid) => Constraint::Eq(uid),
        PrincipalConstraint::In(uid) => Constraint::In(vec![uid]),
        PrincipalConstraint::Is(kind) => Constraint::Is(kind),
        PrincipalConstraint::IsIn(kind, uid) => Constraint::IsIn(kind, uid),
    }
}

fn action(constraint: ActionConstraint) -> Constraint {
    match constraint {
        ActionConstraint::Any => Constraint::Any,
        ActionConstraint::Eq(uid) => Constraint::Eq(uid),
        ActionConstraint::In(uids) => Constraint::In(uids),
    }
}

fn resource(constraint: ResourceConstraint) -> Constraint {
    match constraint {
        ResourceConstraint::Any => Constraint::Any,
        ResourceConstraint::Eq(uid) => Constraint::Eq(uid),
        ResourceConstraint::In(uid) => Constraint::In(vec![uid]),
        ResourceConstraint::Is(kind) => Constraint::Is(kind),
        ResourceConstraint::IsIn(kind, uid) => Constraint::IsIn(kind, uid),
    }
}
