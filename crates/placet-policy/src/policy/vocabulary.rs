//! The vocabulary of a bundle: the core schema, and what the bundle's own adds to it.
//!
//! A bundle that declares an action says what is particular to it. An action in the group `execute`
//! has the facts that every such action has without saying so: a policy on the group then holds for
//! the bundle's actions as it does for `process:run`.

use cedar_policy::{Schema, SchemaFragment};
use serde_json::{Map, Value};

use super::compile::{describe, first_offset};
use super::declared::Declared;
use crate::bundle::{Bundle, Vocabulary};
use crate::problem::{Problem, line_at};

/// The vocabulary that every bundle shares.
const CORE_SCHEMA: &str = include_str!("../core.cedarschema");

/// What a bundle with the vocabulary `mcp` can say of the Model Context Protocol.
const MCP_SCHEMA: &str = include_str!("../mcp.cedarschema");

/// What a bundle with the vocabulary `admin` can say of administration.
const ADMIN_SCHEMA: &str = include_str!("../admin.cedarschema");

/// What a bundle with the vocabulary `network` can say of connections.
const NETWORK_SCHEMA: &str = include_str!("../network.cedarschema");

/// No bundle declares an action whose name begins so: the node alone says what these are about.
const RESERVED: &str = "admin:";

const SCHEMA_FILE: &str = "schema.cedarschema";

/// The action whose context holds the common facts, and what of it is its own.
const PROCESS: &str = "process:run";
const OF_PROCESS: [&str; 10] = [
    "args",
    "called",
    "cwd",
    "in_workspace",
    "line",
    "program_in_workspace",
    "purpose",
    "script",
    "verb",
    "workspace",
];

pub(super) fn schema(bundle: &Bundle) -> Result<(Schema, Declared), Vec<Problem>> {
    let core = SchemaFragment::from_cedarschema_str(CORE_SCHEMA)
        .map_err(|error| vec![problem(describe(&error))])?;
    let core = core.0;
    let spoken = |vocabulary, text| {
        if !bundle.about.vocabularies.contains(&vocabulary) {
            return Ok(None);
        }
        let (fragment, _) = SchemaFragment::from_cedarschema_str(text)
            .map_err(|error| vec![problem(describe(&error))])?;
        with_facts(fragment, &core)
            .map(Some)
            .map_err(|message| vec![problem(message)])
    };
    let mcp = spoken(Vocabulary::Mcp, MCP_SCHEMA)?;
    let admin = spoken(Vocabulary::Admin, ADMIN_SCHEMA)?;
    let network = spoken(Vocabulary::Network, NETWORK_SCHEMA)?;
    let own = match bundle.member(SCHEMA_FILE) {
        Some(text) => {
            let own = own(text)?;
            declares_nothing_reserved(&own).map_err(|message| vec![problem(message)])?;
            Some(with_facts(own, &core).map_err(|message| vec![problem(message)])?)
        }
        None => None,
    };
    let mut declared = Declared::default();
    let spoken = [mcp, admin, network].into_iter().flatten();
    let all: Vec<SchemaFragment> = [core].into_iter().chain(spoken).chain(own).collect();
    for fragment in &all {
        let json = fragment.clone().to_json_value();
        declared.add(&json.map_err(|error| vec![problem(describe(&error))])?);
    }
    let schema = Schema::from_schema_fragments(all)
        .map_err(|error| vec![problem(format!("{error}, beside the core vocabulary"))])?;
    Ok((schema, declared))
}

fn declares_nothing_reserved(own: &SchemaFragment) -> Result<(), String> {
    let own = own.clone().to_json_value().map_err(|e| describe(&e))?;
    let actions = own
        .get("")
        .and_then(|namespace| namespace.get("actions"))
        .and_then(Value::as_object);
    let mut names = actions.into_iter().flat_map(Map::keys);
    match names.find(|name| name.starts_with(RESERVED)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "the action `{name}`: names that begin with `{RESERVED}` are not the bundle's to declare; \
             `vocabularies = [\"admin\"]` in bundle.toml speaks of administration"
        )),
    }
}

fn problem(message: String) -> Problem {
    Problem::error(SCHEMA_FILE, "schema", message)
}

fn own(text: &str) -> Result<SchemaFragment, Vec<Problem>> {
    match SchemaFragment::from_cedarschema_str(text) {
        Ok((fragment, _)) => Ok(fragment),
        Err(error) => {
            let problem = problem(describe(&error));
            let at = first_offset(&error).map(|at| line_at(text, at));
            Err(vec![match at {
                Some(line) => problem.at(line),
                None => problem,
            }])
        }
    }
}

/// Adds the common facts to every action of `own` that stands in `execute` or `administer`.
fn with_facts(own: SchemaFragment, core: &SchemaFragment) -> Result<SchemaFragment, String> {
    let json = |fragment: SchemaFragment| fragment.to_json_value().map_err(|e| describe(&e));
    let facts = facts(&json(core.clone())?);
    let mut own = json(own)?;
    // Actions of the unnamed namespace only: no other can be asked for.
    let actions = own
        .get_mut("")
        .and_then(|namespace| namespace.get_mut("actions"))
        .and_then(Value::as_object_mut);
    for (name, action) in actions.into_iter().flatten() {
        if has_facts(action) {
            add_facts(name, action, &facts)?;
        }
    }
    SchemaFragment::from_json_value(own).map_err(|error| describe(&error))
}

/// The attributes of the context that every action in `execute` has.
fn facts(core: &Value) -> Map<String, Value> {
    let context = core
        .get("")
        .and_then(|namespace| namespace.get("actions"))
        .and_then(|actions| actions.get(PROCESS))
        .and_then(|action| action.pointer("/appliesTo/context/attributes"));
    let attributes = context.and_then(Value::as_object).into_iter().flatten();
    attributes
        .filter(|(name, _)| !OF_PROCESS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn has_facts(action: &Value) -> bool {
    let groups = action.get("memberOf").and_then(Value::as_array);
    groups.into_iter().flatten().any(|group| {
        let id = group.get("id").and_then(Value::as_str);
        matches!(id, Some("execute" | "administer"))
    })
}

fn add_facts(name: &str, action: &mut Value, facts: &Map<String, Value>) -> Result<(), String> {
    let Some(applies) = action.get_mut("appliesTo").and_then(Value::as_object_mut) else {
        return Err(format!("the action `{name}` applies to nothing"));
    };
    let context = applies
        .entry("context")
        .or_insert_with(|| serde_json::json!({ "type": "Record", "attributes": {} }));
    let Some(attributes) = context.get_mut("attributes").and_then(Value::as_object_mut) else {
        return Err(format!(
            "write the context of the action `{name}` as a record in its place, so that the common facts can be added"
        ));
    };
    for (fact, kind) in facts {
        let own = attributes.insert(fact.clone(), kind.clone());
        if own.is_some_and(|own| own != *kind) {
            return Err(format!(
                "the action `{name}` declares `{fact}` in its own way; every action in `execute` has it already"
            ));
        }
    }
    Ok(())
}
