//! A client and a server by `rmcp`, for the tests of the MCP gateway: `rust-sdk serve`, and
//! `rust-sdk ask sessions|discover COMMAND…`, which says in JSON what the two have said to each other.

#![expect(deprecated, reason = "the revisions with sessions have sampling")]

use std::future::Future;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities,
    ClientConfig, ClientRequest, ContentBlock, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData, Implementation,
    InputRequest, InputRequests, InputRequiredResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProtocolVersion, SamplingMessage, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::{
    NotificationContext, PeerRequestOptions, RequestContext, RoleClient, RoleServer, RunningService,
};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ServerHandler, ServiceExt as _,
};
use serde_json::{Value, json};
use tokio::net::unix::pipe::{Receiver, Sender};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let work = async {
        match args
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            ["serve"] => serve().await,
            ["ask", "sessions", command @ ..] => {
                ask_all(command, ClientLifecycleMode::Initialize).await
            }
            ["ask", "discover", command @ ..] => {
                let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
                ask_all(
                    command,
                    ClientLifecycleMode::Discover { preferred_versions },
                )
                .await;
            }
            other => panic!("{other:?}"),
        }
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

/// Serves standard input.
async fn serve() {
    let input = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let output = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    let ends = (
        Receiver::from_owned_fd(input).unwrap(),
        Sender::from_owned_fd(output).unwrap(),
    );
    let served = Served {
        given_up: AtomicUsize::new(0),
    };
    served.serve(ends).await.unwrap().waiting().await.unwrap();
}

/// Asks a server everything, and says what it answered.
async fn ask_all(command: &[&str], lifecycle: ClientLifecycleMode) {
    let session = Session::start(Command::new(command[0]).args(&command[1..]), lifecycle).await;
    let opened = session.client.peer_info().unwrap();
    let tools = in_time(session.client.list_all_tools()).await.unwrap();
    println!(
        "{}",
        json!({
            "opened": serde_json::to_value(&*opened).unwrap(),
            "tools": tools,
            "echo": session.call("echo", "h\u{e9}llo \u{1f600}").await,
            "ask": session.call("ask", "").await,
            "none": session.call("none", "").await,
            "secret": session.call("secret", "").await,
            "given_up": session.give_up().await,
        })
    );
    session.close().await;
}

/// A server with a tool for each way in which a call can go.
struct Served {
    given_up: AtomicUsize,
}

impl ServerHandler for Served {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
        let schema = Arc::new(schema.as_object().unwrap().clone());
        let tools = ["echo", "ask", "hang", "given_up", "secret"]
            .map(|name| Tool::new(name, format!("What {name} does."), Arc::clone(&schema)));
        Ok(ListToolsResult::with_all_items(tools.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let said = match request.name.as_ref() {
            "echo" => json!({ "said": request.arguments }),
            "given_up" => json!(self.given_up.load(Ordering::SeqCst)),
            "ask" => return ask(request, &context).await,
            "hang" => {
                let token = context.meta.get_progress_token().unwrap();
                let progress = ProgressNotificationParam::new(token, 1.0);
                context.peer.notify_progress(progress).await.unwrap();
                context.ct.cancelled().await;
                self.given_up.fetch_add(1, Ordering::SeqCst);
                return Err(ErrorData::internal_error("given up", None));
            }
            "secret" => json!("the secret"),
            name => return Err(ErrorData::invalid_params(format!("no {name}"), None)),
        };
        Ok(CallToolResult::structured(said).into())
    }
}

/// Asks the client in the middle of a call, as its revision has it: by a request of its own, or by what the call
/// is answered.
async fn ask(
    request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let version = context.protocol_version().unwrap();
    let text = if version.has_initialize() {
        let question = vec![SamplingMessage::user_text("What is it?")];
        let answer = context
            .peer
            .create_message(CreateMessageRequestParams::new(question, 16))
            .await;
        format!("{:?}", answer.unwrap().message)
    } else if let Some(answers) = request.input_responses {
        format!("{answers:?} {:?}", request.request_state)
    } else {
        let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
        let question = ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: "What is it?".to_owned(),
            requested_schema: serde_json::from_value(schema).unwrap(),
        });
        let mut questions = InputRequests::new();
        questions.insert("name".to_owned(), InputRequest::Elicitation(question));
        return Ok(InputRequiredResult::new(Some(questions), Some("half way".into())).into());
    };
    Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
}

/// A client that answers what it is asked, and counts what it is told.
#[derive(Clone, Default)]
struct Asking {
    progress: Arc<AtomicUsize>,
}

impl ClientHandler for Asking {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder()
            .enable_sampling()
            .enable_elicitation()
            .build();
        ClientConfig::new(capabilities, Implementation::new("rust", "1"))
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let answer = SamplingMessage::assistant_text("A thing.");
        Ok(CreateMessageResult::new(answer, "none".to_owned()))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "A thing" })))
    }

    async fn on_progress(&self, _: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.fetch_add(1, Ordering::SeqCst);
    }
}

/// A client, and the process that it speaks to.
struct Session {
    client: RunningService<RoleClient, Asking>,
    asking: Asking,
    child: Child,
}

impl Session {
    async fn start(command: &mut Command, lifecycle: ClientLifecycleMode) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = OwnedFd::from(child.stdin.take().unwrap());
        let output = OwnedFd::from(child.stdout.take().unwrap());
        let ends = (
            Receiver::from_owned_fd(output).unwrap(),
            Sender::from_owned_fd(input).unwrap(),
        );
        let asking = Asking::default();
        let client = in_time(asking.clone().serve_with_lifecycle(ends, lifecycle)).await;
        Self {
            client: client.unwrap(),
            asking,
            child,
        }
    }

    async fn call(&self, tool: &'static str, text: &str) -> Value {
        let arguments = json!({ "text": text }).as_object().unwrap().clone();
        let params = CallToolRequestParams::new(tool).with_arguments(arguments);
        match in_time(self.client.call_tool(params)).await {
            Ok(result) => serde_json::to_value(result).unwrap(),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    /// Begins a call that lasts, and gives it up once it has begun; how many the server knows to be given up then.
    async fn give_up(&self) -> Value {
        let params = CallToolRequestParams::new("hang");
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options();
        let handle = self.client.send_cancellable_request(request, options);
        let handle = in_time(handle).await.unwrap();
        in_time(async {
            while self.asking.progress.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        handle.cancel(Some("no more".to_owned())).await.unwrap();
        in_time(async {
            loop {
                let known = self.call("given_up", "").await;
                if known["content"][0]["text"] != "0" {
                    return known;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    async fn close(mut self) {
        in_time(self.client.cancel()).await.unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it is done in time")
}
