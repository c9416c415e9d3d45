//! OAuth 2.1 as a client of servers elsewhere (MCP's authorization; RFC 6749, 7591, 7636, 8414, 8707, 9207, 9728).
//!
//! A person [logs in](login::Login) once, in a browser. What comes of it, [`Tokens`](tokens::Tokens), is a secret of the
//! domain: it is handed to a connection with its start, if its scope has it, and renewed by the
//! [`Bearer`](bearer::Bearer) of that connection. Tokens are bound to the resource that they were asked for, and sent
//! nowhere else. Whoever is asked on the way is asked once, within bounds, and no redirect is followed.

pub mod bearer;
pub mod callback;
mod challenge;
mod form;
pub mod login;
mod metadata;
mod register;
mod token;
pub mod tokens;

use placet_fetch::{FetchError, TargetError};

pub(crate) use challenge::Challenge;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OAuthError {
    /// Somebody on the way is not reached.
    #[error("{0}: {1}")]
    Ask(&'static str, FetchError),
    /// An address that may not be asked.
    #[error("{0}: {1}")]
    Target(&'static str, TargetError),
    /// The server asks for nothing.
    #[error("the server answered {0} without asking for a token, so there is nothing to log in to")]
    NotAsked(u16),
    /// It is not said who gives tokens.
    #[error(
        "the server does not say who gives tokens for it (RFC 9728): no metadata of the resource was found"
    )]
    NoResource,
    /// The metadata stand somewhere else.
    #[error("the metadata of the resource would stand at {0}, which is not where the server is")]
    ElsewhereMetadata(String),
    /// They are about something else.
    #[error(
        "the metadata are about another resource, {0}: a token for that is none for this server"
    )]
    OtherResource(String),
    /// It names nobody.
    #[error("the metadata of the resource name no authorization server")]
    NoIssuer,
    /// Whoever gives tokens does not say how.
    #[error("the authorization server {0} has no metadata (RFC 8414)")]
    NoServer(String),
    /// The metadata of somebody else.
    #[error("the metadata at {asked} name another issuer, {found}")]
    OtherIssuer {
        /// Who was meant.
        asked: String,
        /// Who they are of.
        found: String,
    },
    /// A document that is none.
    #[error("{0} does not read: {1}")]
    Document(&'static str, String),
    /// Without PKCE a stolen code is a token.
    #[error(
        "the authorization server does not say that it takes PKCE with S256; nothing less is used"
    )]
    NoPkce,
    /// It does not know us.
    #[error(
        "the authorization server registers nobody by itself: put `placet.oauth.client_id` into the configuration of the server"
    )]
    NoClient,
    /// A document as name of a client, and nobody who reads it.
    #[error(
        "the client id is the URL of a document, and the authorization server does not read such"
    )]
    NoClientDocuments,
    /// It said no.
    #[error("{0} refused: {1}")]
    Refused(&'static str, String),
    /// What the browser brought is not the answer to this login.
    #[error("what came back is not the answer to this login: {0}")]
    OtherAnswer(&'static str),
    /// Nobody came back.
    #[error("nobody came back from the browser in time")]
    Late,
    /// The listener on loopback.
    #[error("no listener for the browser: {0}")]
    Listen(std::io::Error),
    /// A token that is none for this server.
    #[error(
        "the token is for {bound}, and the server is at {asked}: it is not sent there; log in again"
    )]
    OtherBinding {
        /// The resource that it was given for.
        bound: String,
        /// Where it would have gone.
        asked: String,
    },
    /// It is over.
    #[error("the token is not taken any more, and there is none to renew it with")]
    Over,
    /// The node has another one, or none.
    #[error("the token cannot be renewed: {0}")]
    Keep(String),
    /// No randomness.
    #[error("no randomness")]
    Random,
}
