//! The OpenAPI 3.1 document, made of the same table as the dispatcher.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::identity::{CODE_PATH, PROVIDER_PATH};
use crate::route::{Access, Lane, Route};
use crate::routes::table;
use crate::schemas::{PROBLEM, Schema};

/// The document. It depends on nothing but this program.
#[must_use]
pub fn document() -> Value {
    let table = table();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut schemas = BTreeMap::from([(PROBLEM.name, PROBLEM.make)]);
    for route in &table {
        let also = route.doc.also.iter().map(|(_, _, schema)| schema);
        for schema in route.doc.body.iter().chain(&route.doc.reply).chain(also) {
            schemas.insert(schema.name, schema.make);
        }
        let methods = paths.entry(shown_path(route.path)).or_default();
        methods.insert(route.method.to_lowercase(), operation(route));
    }
    let schemas: Map<String, Value> = schemas
        .into_iter()
        .map(|(name, make)| (name.to_owned(), make()))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Placet",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Governed execution: verify, authorize, execute, prove",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "A token of an identity provider that this node is configured for",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "The certificate of a workload (X.509-SVID) of a trust domain that this node is configured for",
                },
                "requestProof": {
                    "type": "apiKey", "in": "header", "name": "DPoP",
                    "description": "A DPoP proof (RFC 9449) by an Ed25519 key that is registered with a principal, or that a sign-in link let in; no access token",
                },
            },
        },
    })
}

/// The document as it stands in `spec/openapi.json`.
#[must_use]
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// A tail of several parts is one parameter to OpenAPI.
fn shown_path(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(route: &Route) -> Value {
    let doc = &route.doc;
    let mut operation = json!({
        "operationId": doc.id,
        "summary": doc.summary,
        "responses": responses(route),
    });
    let mut put = |name: &str, value: Value| {
        if let Value::Object(members) = &mut operation {
            members.insert(name.to_owned(), value);
        }
    };
    let parameters = parameters(route);
    if !parameters.is_empty() {
        put("parameters", parameters.into());
    }
    if let Some(body) = &doc.body {
        put(
            "requestBody",
            json!({ "required": true, "content": { "application/json": { "schema": reference(body) } } }),
        );
    }
    put(
        "security",
        match route.access {
            Access::Anyone => json!([]),
            Access::Public | Access::Meters => {
                json!([{}, { "requestProof": [] }, { "bearer": [] }, { "certificate": [] }])
            }
            Access::Member | Access::Operator => {
                json!([{ "requestProof": [] }, { "bearer": [] }, { "certificate": [] }])
            }
        },
    );
    operation
}

fn reference(schema: &Schema) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", schema.name) })
}

fn parameters(route: &Route) -> Vec<Value> {
    let parts = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let (name, schema) = match name.strip_prefix('*') {
            Some(tail) => (tail, json!({ "type": "string" })),
            None if name == "exec" => (
                name,
                json!({ "type": "string", "pattern": "^exec_[0-9a-f]{32}$" }),
            ),
            None if name == "digest" => (
                name,
                json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" }),
            ),
            None if name == "file" => (name, json!({ "type": "string" })),
            None => (name, json!({ "type": "integer", "minimum": 0 })),
        };
        Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
    });
    let named = route.doc.query.iter().filter(|(name, _)| *name != "*");
    let query = named.map(|(name, description)| {
        let schema = match *name {
            "limit" => json!({ "type": "integer", "minimum": 1, "maximum": 500 }),
            "cursor" | "from" | "until" => json!({ "type": "integer", "minimum": 0 }),
            "disclose" => json!({ "type": "boolean" }),
            _ => json!({ "type": "string" }),
        };
        json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
    });
    parts.chain(query).collect()
}

fn responses(route: &Route) -> Value {
    let doc = &route.doc;
    let shape = doc
        .reply
        .as_ref()
        .map_or_else(|| json!({ "type": "string" }), reference);
    let mut all = Map::new();
    all.insert(
        doc.status.to_string(),
        json!({ "description": "Done", "content": { doc.kind: { "schema": shape } } }),
    );
    if let Some((status, description, schema)) = &doc.also {
        let content = json!({ doc.kind: { "schema": reference(schema) } });
        all.insert(
            status.to_string(),
            json!({ "description": description, "content": content }),
        );
    }
    let mut problem = |status: &str, description: &str| {
        let content = json!({ "application/problem+json": { "schema": reference(&PROBLEM) } });
        all.insert(
            status.to_owned(),
            json!({ "description": description, "content": content }),
        );
    };
    problem("400", "The request does not parse strictly");
    if route.access != Access::Anyone || route.path.starts_with("/v1/session") {
        problem("401", "Nobody has proven who they are");
        problem("403", "Denied, with the code");
    }
    if route.path.contains('{') {
        problem("404", "There is none, or it is somebody else's");
    }
    if [PROVIDER_PATH, CODE_PATH].contains(&route.path) {
        problem("404", "There is no such identity provider");
        problem("502", "The identity provider does not answer");
        problem("503", "Too much at once");
    }
    if doc.body.is_some() {
        problem("408", "The body took too long");
        problem("413", "The body is too long");
        problem("415", "The body is not application/json");
    }
    problem("421", "The Host header names something else");
    if route.lane != Lane::Read || doc.id == "readyz" || route.access != Access::Anyone {
        problem("503", "Too much at once, or the log cannot be written");
    }
    let is_kept = route.access == Access::Public || route.path.starts_with("/console/");
    if doc.kind != "application/json" && is_kept {
        all.insert("304".to_owned(), json!({ "description": "Not changed" }));
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_document_is_the_one_that_the_code_makes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/openapi.json");
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            published == text(),
            "spec/openapi.json is behind; write it anew with `placet config openapi > spec/openapi.json`"
        );
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        let text = text();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.get(name).is_some(), "{name}");
        }
    }
}
