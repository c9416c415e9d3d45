//! As whom tokens are asked for: a client of the configuration, or one that is registered for this login (RFC 7591).

use placet_fetch::{Ask, Client, Target};
use serde::Deserialize;
use serde_json::json;

use super::OAuthError;
use super::metadata::{Server, read};
use super::token::refusal;
use super::tokens::{Hidden, Method, Registered};

/// Longest answer, in bytes.
const BYTES_MAX: usize = 64 << 10;
const WHAT: &str = "the registration of a client";

/// A client that an authorization server knows already.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name there; the URL of a document of its own, for a server that reads these.
    pub id: String,
    /// What it proves itself with; absent for a public client.
    pub secret: Option<Hidden>,
}

#[derive(Deserialize)]
struct Answer {
    client_id: String,
    #[serde(default)]
    client_secret: Option<Hidden>,
    #[serde(default)]
    token_endpoint_auth_method: Option<Method>,
}

/// The client of this login, which answers at exactly this address.
pub(super) async fn client(
    client: &Client,
    server: &Server,
    known: Option<Known>,
    redirect: &str,
) -> Result<Registered, OAuthError> {
    match known {
        Some(known) => configured(server, known),
        None => registered(client, server, redirect).await,
    }
}

fn configured(server: &Server, known: Known) -> Result<Registered, OAuthError> {
    if known.id.starts_with("https://") && !server.client_id_metadata_document_supported {
        return Err(OAuthError::NoClientDocuments);
    }
    let takes = |method: &str| match &server.token_endpoint_auth_methods_supported {
        // What is not said is `client_secret_basic` (RFC 8414).
        None => method == "client_secret_basic",
        Some(methods) => methods.iter().any(|other| other == method),
    };
    let method = match &known.secret {
        None => Method::None,
        Some(_) if takes("client_secret_basic") => Method::ClientSecretBasic,
        Some(_) => Method::ClientSecretPost,
    };
    Ok(Registered {
        id: known.id,
        method,
        secret: known.secret,
    })
}

async fn registered(
    client: &Client,
    server: &Server,
    redirect: &str,
) -> Result<Registered, OAuthError> {
    let endpoint = server
        .registration_endpoint
        .as_deref()
        .ok_or(OAuthError::NoClient)?;
    let endpoint = Target::parse(endpoint).map_err(|error| OAuthError::Target(WHAT, error))?;
    let body = json!({
        "application_type": "native",
        "client_name": "Placet",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": [redirect],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    let asked = client
        .ask(&endpoint, Ask::Json(body.to_string().as_bytes()), BYTES_MAX)
        .await
        .map_err(|error| OAuthError::Ask(WHAT, error))?;
    if !matches!(asked.status, 200 | 201) {
        return Err(OAuthError::Refused(WHAT, refusal(&asked)));
    }
    let answer: Answer = read(&asked.body, WHAT)?;
    let method = match (&answer.client_secret, answer.token_endpoint_auth_method) {
        (None, _) => Method::None,
        (Some(_), Some(method)) => method,
        (Some(_), None) => Method::ClientSecretBasic,
    };
    Ok(Registered {
        id: answer.client_id,
        method,
        secret: answer.client_secret,
    })
}
