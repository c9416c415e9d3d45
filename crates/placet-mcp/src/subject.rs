//! From a governed request to what is asked: action, resource, and what policies see.

mod told;

use std::collections::{BTreeMap, BTreeSet};

use placet_types::call::Members;
use placet_types::canonical::{Bounds as JsonBounds, Json};
use placet_types::{
    ActionName, Asked, CallParams, Commitment, Digest, ExecutionId, GatewayName, Intent,
    PrincipalId, ResourceRef, Salt,
};

use crate::catalog::Definition;
use crate::frame::{FrameError, member, members, no_case_tricks, text_of};
use crate::method::{Governed, Listed};
pub use told::{MetaName, Program};

/// Name of this gateway.
pub const GATEWAY: &str = "mcp";
/// Longest name of a tool or prompt, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Members of parameters that decide what is done.
const DECIDING: [&str; 6] = ["name", "arguments", "uri", "_meta", "task", "taskId"];

/// Why a request is no intent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// The parameters break a rule of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A member is missing or has another type.
    #[error("the parameters lack `{0}`, or it has another type")]
    Params(&'static str),
    /// The parameters are too long.
    #[error("the arguments: {0}")]
    Arguments(String),
    /// A name that intents cannot hold.
    #[error("a name cannot stand in an intent: {0}")]
    Name(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
}

/// What is asked, before it is an intent.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The action.
    pub action: &'static str,
    /// What it is done to.
    pub resource: ResourceRef,
    /// What policies see.
    pub params: CallParams,
}

/// An intent with its private parts.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The intent.
    pub intent: Intent,
    /// Canonical bytes of the parameters.
    pub params: Vec<u8>,
    /// What hides them.
    pub salt: Salt,
}

impl Sealed {
    /// The same, hidden by another salt.
    #[must_use]
    pub fn hidden_by(mut self, salt: Salt) -> Self {
        let label = self.intent.action.as_str();
        self.intent.params = Commitment::to(label, &self.params, &salt);
        self.salt = salt;
        self
    }

    /// What tells this request from others, whatever salt hides it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let resource = &self.intent.resource;
        let defined = resource.digest.map(|d| d.to_string()).unwrap_or_default();
        Digest::of_parts(&[
            self.intent.action.as_str().as_bytes(),
            b"\0",
            resource.id.as_bytes(),
            b"\0",
            defined.as_bytes(),
            b"\0",
            &self.params,
        ])
    }
}

/// Who asks, and below which execution.
#[derive(Clone, Debug)]
pub struct Who {
    /// The principal.
    pub principal: PrincipalId,
    /// The server's execution.
    pub server: ExecutionId,
    /// The server's name.
    pub name: String,
    /// Of a program: the directory that it works on.
    pub workspace: Option<String>,
    /// The members of `_meta` that policies see.
    pub meta: BTreeSet<MetaName>,
}

/// The name of the tool that a call is for.
///
/// # Errors
///
/// [`SubjectError`]
pub fn tool_name(params: Option<&str>) -> Result<String, SubjectError> {
    let members = members(params.unwrap_or("{}"))?;
    no_case_tricks(members.iter().map(|member| member.name.as_ref()), &DECIDING)?;
    named(member(&members, "name")).ok_or(SubjectError::Params("name"))
}

fn named(value: Option<&str>) -> Option<String> {
    let name = value.and_then(text_of)?.into_owned();
    ((1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains('\0')).then_some(name)
}

impl Subject {
    /// What a governed request asks for. `definition` is that of the tool, for a call; `client` is what asks, as
    /// it named itself when it began, unless the server asks.
    ///
    /// # Errors
    ///
    /// [`SubjectError`]
    pub fn of(
        who: &Who,
        governed: Governed,
        (method, params): (&str, Option<&str>),
        definition: Option<&Definition>,
        client: Option<&Program>,
    ) -> Result<Self, SubjectError> {
        let Json::Object(mut given) = Json::parse(params.unwrap_or("{}").as_bytes(), BOUNDS)
            .map_err(|error| SubjectError::Arguments(error.to_string()))?
        else {
            return Err(SubjectError::Params("params"));
        };
        no_case_tricks(given.keys().map(String::as_str), &DECIDING)?;
        // Progress tokens and trace context change from try to try; they are no part of what is asked. What
        // somebody wants to decide by is.
        let beside = given.remove("_meta");
        let request = Json::Object(given);
        let digest = Digest::of(&request.to_canonical());
        let Json::Object(mut given) = request else {
            return Err(SubjectError::Params("params"));
        };
        let mut context = Members::from([("request".to_owned(), text(&digest.to_string()))]);
        let mut meta = None;
        let workspace = who.workspace.as_deref().filter(|_| client.is_some());
        context.extend(workspace.map(|path| ("workspace".to_owned(), text(path))));
        if let Some(client) = client {
            let beside = told::members(beside)?;
            context.extend(
                Program::of_request(&beside)
                    .as_ref()
                    .unwrap_or(client)
                    .told(),
            );
            meta = told::seen(&who.meta, &beside)?;
        }
        let server = server(who);
        let (resource, attributes, arguments) = match governed {
            Governed::Call => {
                let definition = definition.ok_or(SubjectError::Params("name"))?;
                let (resource, attributes) = tool(who, definition);
                (resource, attributes, Some(arguments(&mut given)?))
            }
            Governed::Prompt => {
                let name = given.get("name").and_then(Json::as_str);
                let (resource, attributes) = prompt(who, name.ok_or(SubjectError::Params("name"))?);
                (resource, attributes, Some(arguments(&mut given)?))
            }
            Governed::Read => {
                let uri = given.get("uri").and_then(Json::as_str);
                let (resource, attributes) = document(who, uri.ok_or(SubjectError::Params("uri"))?);
                context.insert("method".to_owned(), text(method));
                (resource, attributes, None)
            }
            Governed::Sample | Governed::Elicit => (server.0, server.1, None),
            Governed::Task => {
                context.insert("method".to_owned(), text(method));
                (server.0, server.1, None)
            }
            Governed::Other => {
                context.insert("method".to_owned(), text(method));
                (server.0, server.1, Some(given))
            }
        };
        let params = CallParams {
            arguments,
            context,
            meta,
            resource: attributes,
        };
        Ok(Self {
            action: governed.action(),
            resource,
            params,
        })
    }

    /// Whether one item of a list may be seen; `None` of an item that has no name.
    #[must_use]
    pub fn listed(who: &Who, listed: Listed, item: &str) -> Option<Self> {
        let (resource, attributes) = match listed {
            Listed::Tools => tool(who, &Definition::read(item)?),
            Listed::Prompts | Listed::Documents | Listed::Templates => {
                let members = members(item).ok()?;
                let of = |name: &str| member(&members, name).and_then(text_of);
                match listed {
                    Listed::Prompts => prompt(who, &of("name")?),
                    Listed::Templates => document(who, &of("uriTemplate")?),
                    Listed::Documents | Listed::Tools => document(who, &of("uri")?),
                }
            }
        };
        let params = CallParams {
            resource: attributes,
            ..CallParams::default()
        };
        Some(Self {
            action: "mcp:list",
            resource,
            params,
        })
    }

    /// As an intent below the server's execution.
    ///
    /// # Errors
    ///
    /// [`SubjectError`]
    pub fn seal(&self, who: &Who) -> Result<Sealed, SubjectError> {
        let name = |error: placet_types::id::NameSyntax| SubjectError::Name(error.to_string());
        let params = self.params.to_canonical();
        if params.len() > CallParams::BYTES_MAX {
            let limit = CallParams::BYTES_MAX;
            return Err(SubjectError::Arguments(format!("more than {limit} bytes")));
        }
        self.resource
            .check()
            .map_err(|error| SubjectError::Name(error.to_string()))?;
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|_| SubjectError::Random)?;
        let salt = Salt::new(salt);
        let intent = Intent {
            action: ActionName::parse(self.action).map_err(name)?,
            asked: Asked::default(),
            gateway: GatewayName::parse(GATEWAY).map_err(name)?,
            params: Commitment::to(self.action, &params, &salt),
            parent: Some(who.server),
            principal: who.principal.clone(),
            resource: self.resource.clone(),
        };
        Ok(Sealed {
            intent,
            params,
            salt,
        })
    }
}

const BOUNDS: JsonBounds = JsonBounds {
    bytes_max: CallParams::BYTES_MAX,
    depth_max: 28,
};

fn arguments(given: &mut Members) -> Result<Members, SubjectError> {
    match given.remove("arguments") {
        None => Ok(Members::new()),
        Some(Json::Object(arguments)) => Ok(arguments),
        Some(_) => Err(SubjectError::Params("arguments")),
    }
}

type Described = (ResourceRef, Members);

fn tool(who: &Who, definition: &Definition) -> Described {
    let hints = definition.hints;
    let mut attributes = in_server(who, "name", &definition.name);
    for (name, value) in [
        ("annotated", hints.annotated),
        ("read_only", hints.read_only),
        ("destructive", hints.destructive),
        ("idempotent", hints.idempotent),
        ("open_world", hints.open_world),
    ] {
        attributes.insert(name.to_owned(), Json::Bool(value));
    }
    let mut resource = reference(who, "McpTool", &definition.name);
    resource.digest = Some(definition.digest);
    (resource, attributes)
}

fn prompt(who: &Who, name: &str) -> Described {
    let attributes = in_server(who, "name", name);
    (reference(who, "McpPrompt", name), attributes)
}

fn document(who: &Who, uri: &str) -> Described {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    let mut attributes = in_server(who, "uri", uri);
    attributes.insert("scheme".to_owned(), text(&scheme.to_ascii_lowercase()));
    let path = placet_types::uri::file_path(uri).unwrap_or_default();
    attributes.insert("path".to_owned(), text(&path));
    (reference(who, "McpDocument", uri), attributes)
}

fn server(who: &Who) -> Described {
    let attributes = Members::from([("name".to_owned(), text(&who.name))]);
    let resource = ResourceRef {
        digest: None,
        id: who.name.clone(),
        kind: "McpServer".to_owned(),
    };
    (resource, attributes)
}

fn in_server(who: &Who, name: &str, value: &str) -> Members {
    BTreeMap::from([
        ("server".to_owned(), text(&who.name)),
        (name.to_owned(), text(value)),
    ])
}

fn reference(who: &Who, kind: &str, name: &str) -> ResourceRef {
    ResourceRef {
        digest: None,
        id: format!("{}/{name}", who.name),
        kind: kind.to_owned(),
    }
}

fn text(value: &str) -> Json {
    Json::String(value.to_owned())
}
