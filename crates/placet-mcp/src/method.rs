//! What is done with which method: governed, filtered, or passed.
//!
//! A method that is not known here is governed too, as `mcp:other`: an extension of a server can do
//! anything, so it is denied until a policy knows it.

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It is decided, recorded, and an execution of its own.
    Governed(Governed),
    /// Its answer is filtered.
    Listed(Listed),
    /// It passes, and its answer says what the two ends can do.
    Opening,
    /// It passes.
    Passed,
}

/// Which action it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Governed {
    /// `tools/call`
    Call,
    /// `resources/read`, and what subscribes to one.
    Read,
    /// `prompts/get`
    Prompt,
    /// `sampling/createMessage`
    Sample,
    /// `elicitation/create`
    Elicit,
    /// `tasks/…`
    Task,
    /// Any other.
    Other,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Documents,
    /// `resources/templates/list`
    Templates,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

impl Class {
    /// What is done with a request of this method.
    #[must_use]
    pub fn of(direction: Direction, method: &str) -> Self {
        match direction {
            Direction::ToServer => Self::to_server(method),
            Direction::ToClient => Self::to_client(method),
        }
    }

    fn to_server(method: &str) -> Self {
        match method {
            "tools/call" => Self::Governed(Governed::Call),
            "resources/read" | "resources/subscribe" => Self::Governed(Governed::Read),
            "prompts/get" => Self::Governed(Governed::Prompt),
            "tools/list" => Self::Listed(Listed::Tools),
            "prompts/list" => Self::Listed(Listed::Prompts),
            "resources/list" => Self::Listed(Listed::Documents),
            "resources/templates/list" => Self::Listed(Listed::Templates),
            "initialize" | "server/discover" => Self::Opening,
            // They look at what is listed anyway, or say less than was said before.
            "ping" | "logging/setLevel" | "completion/complete" | "resources/unsubscribe" => {
                Self::Passed
            }
            task if task.starts_with("tasks/") => Self::Governed(Governed::Task),
            _ => Self::Governed(Governed::Other),
        }
    }

    fn to_client(method: &str) -> Self {
        match method {
            "sampling/createMessage" => Self::Governed(Governed::Sample),
            "elicitation/create" => Self::Governed(Governed::Elicit),
            "ping" | "roots/list" => Self::Passed,
            task if task.starts_with("tasks/") => Self::Governed(Governed::Task),
            _ => Self::Governed(Governed::Other),
        }
    }
}

impl Governed {
    /// Name of the action.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Call => "mcp:call",
            Self::Read => "mcp:read",
            Self::Prompt => "mcp:prompt",
            Self::Sample => "mcp:sample",
            Self::Elicit => "mcp:elicit",
            Self::Task => "mcp:task",
            Self::Other => "mcp:other",
        }
    }
}

impl Listed {
    /// The member of the result that holds the list.
    #[must_use]
    pub const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Documents => "resources",
            Self::Templates => "resourceTemplates",
        }
    }
}
