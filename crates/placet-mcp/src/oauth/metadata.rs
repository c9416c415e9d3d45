//! Who gives tokens for a server, and how: the documents of the resource and of the authorization server.

use placet_fetch::{Ask, Client, Target};
use placet_types::canonical::{Bounds, Json};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::OAuthError;
use super::challenge::Challenge;
use super::tokens::covers;

/// Longest document, in bytes.
const BYTES_MAX: usize = 64 << 10;
const RESOURCE: &str = "the metadata of the resource";
const SERVER: &str = "the authorization server's metadata";

/// What a server says of itself as a resource (RFC 9728).
#[derive(Debug, Deserialize)]
struct Document {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// What an authorization server says of itself (RFC 8414, OpenID Connect Discovery 1.0).
#[derive(Debug, Deserialize)]
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    #[serde(default)]
    pub(super) registration_endpoint: Option<String>,
    #[serde(default)]
    pub(super) revocation_endpoint: Option<String>,
    #[serde(default)]
    pub(super) code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(super) client_id_metadata_document_supported: bool,
    #[serde(default)]
    pub(super) scopes_supported: Vec<String>,
}

/// Who gives tokens for a server.
#[derive(Debug)]
pub(super) struct Found {
    /// The resource, as it names itself: what tokens are asked for and bound to.
    pub(super) resource: String,
    /// What to ask for, unless something else is said.
    pub(super) scope: Option<String>,
    pub(super) server: Server,
}

/// Asks a server without a token, and follows what it says.
pub(super) async fn discover(client: &Client, target: &Target) -> Result<Found, OAuthError> {
    let hello = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
        r#""capabilities":{},"clientInfo":{"name":"placet","version":"1"}}}"#
    );
    let asked = client
        .ask(target, Ask::Json(hello.as_bytes()), BYTES_MAX)
        .await
        .map_err(|error| OAuthError::Ask("the server", error))?;
    if asked.status != 401 {
        return Err(OAuthError::NotAsked(asked.status));
    }
    let challenge = Challenge::of(&asked.headers).unwrap_or_default();
    let document = resource(client, target, challenge.resource_metadata.as_deref()).await?;
    let issuer = document
        .authorization_servers
        .first()
        .ok_or(OAuthError::NoIssuer)?;
    let server = server(client, issuer).await?;
    let supported = document.scopes_supported.join(" ");
    let scope = challenge
        .scope
        .or_else(|| (!supported.is_empty()).then_some(supported));
    Ok(Found {
        resource: document.resource,
        scope,
        server,
    })
}

async fn resource(
    client: &Client,
    target: &Target,
    said: Option<&str>,
) -> Result<Document, OAuthError> {
    let bad = |error| OAuthError::Target(RESOURCE, error);
    let places = match said {
        Some(url) => {
            let place = Target::parse(url).map_err(bad)?;
            // Otherwise a server could have anything asked from where this runs.
            if place.origin() != target.origin() {
                return Err(OAuthError::ElsewhereMetadata(shown(url)));
            }
            vec![place]
        }
        None => {
            let root = "/.well-known/oauth-protected-resource";
            let path = target.path_alone().trim_end_matches('/');
            let mut places = vec![target.at(&format!("{root}{path}")).map_err(bad)?];
            if !path.is_empty() {
                places.push(target.at(root).map_err(bad)?);
            }
            places
        }
    };
    let document: Document = first(client, &places, RESOURCE)
        .await?
        .ok_or(OAuthError::NoResource)?;
    if !covers(&document.resource, target) {
        return Err(OAuthError::OtherResource(shown(&document.resource)));
    }
    Ok(document)
}

async fn server(client: &Client, issuer: &str) -> Result<Server, OAuthError> {
    let bad = |error| OAuthError::Target("the authorization server", error);
    let base = Target::parse(issuer).map_err(bad)?;
    if base.has_query() {
        return Err(OAuthError::NoServer(shown(issuer)));
    }
    let path = base.path_alone().trim_end_matches('/');
    let (oauth, oidc) = (
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    );
    let mut places = vec![format!("{oauth}{path}"), format!("{oidc}{path}")];
    if !path.is_empty() {
        places.push(format!("{path}{oidc}"));
    }
    let places: Result<Vec<Target>, _> = places.iter().map(|path| base.at(path)).collect();
    let server: Server = first(client, &places.map_err(bad)?, SERVER)
        .await?
        .ok_or_else(|| OAuthError::NoServer(shown(issuer)))?;
    // Whoever could answer for somebody else could have codes sent to the wrong place (mix-up).
    if server.issuer != issuer {
        return Err(OAuthError::OtherIssuer {
            asked: shown(issuer),
            found: shown(&server.issuer),
        });
    }
    if !server
        .code_challenge_methods_supported
        .iter()
        .any(|method| method == "S256")
    {
        return Err(OAuthError::NoPkce);
    }
    let endpoints = [&server.authorization_endpoint, &server.token_endpoint];
    for endpoint in endpoints.into_iter().chain(&server.revocation_endpoint) {
        Target::parse(endpoint).map_err(bad)?;
    }
    Ok(server)
}

/// The first document that is there.
async fn first<T: DeserializeOwned>(
    client: &Client,
    places: &[Target],
    what: &'static str,
) -> Result<Option<T>, OAuthError> {
    for place in places {
        let answer = client
            .ask(place, Ask::Get, BYTES_MAX)
            .await
            .map_err(|error| OAuthError::Ask(what, error))?;
        if answer.status == 200 {
            return read(&answer.body, what).map(Some);
        }
    }
    Ok(None)
}

/// A document, strictly: nothing of it stands twice.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, OAuthError> {
    let bounds = Bounds {
        bytes_max: BYTES_MAX,
        depth_max: 16,
    };
    let bad = |error: String| OAuthError::Document(what, error);
    Json::parse(bytes, bounds).map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))
}

/// A foreign text for a person: bounded, and without what a terminal would act on.
pub(super) fn shown(text: &str) -> String {
    let shown = text.chars().take(200);
    shown
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
