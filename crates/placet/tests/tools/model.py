# A model to a coding agent that is not connected to one: it asks for one shell command, and is content with what comes
# back, which it writes down. Speaks as much of both vendors' streaming interfaces as their programs need. Starts the
# agent, whose loopback is its own.
import http.server, json, os, subprocess, sys, threading

COMMAND, RESULT, *AGENT = sys.argv[1:]


def events_of_claude(asked):
    results = [
        part
        for message in asked["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "tool_result"
    ]
    tools = [tool["name"] for tool in asked.get("tools", [])]
    if results or "Bash" not in tools:
        say(results)
        block = {"type": "text", "text": ""}
        delta, reason = {"type": "text_delta", "text": "all done"}, "end_turn"
    else:
        block = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
        given = json.dumps({"command": COMMAND, "description": "look"})
        delta, reason = {"type": "input_json_delta", "partial_json": given}, "tool_use"
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": asked["model"]}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
    ended = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": usage},
        {"type": "message_stop"},
    ]


def events_of_codex(asked):
    results = [part for part in asked["input"] if part.get("type") == "function_call_output"]
    if results:
        say(results)
        text = [{"type": "output_text", "text": "all done"}]
        item = {"type": "message", "id": "msg_1", "role": "assistant", "content": text}
    else:
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "exec_command"}
        item["arguments"] = json.dumps({"cmd": COMMAND})
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return [
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_item.done", "item": item},
        {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}},
    ]


def say(results):
    if results:
        with open(RESULT, "w") as file:
            json.dump(results, file)


class Model(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.answer("application/json", b'{"object":"list","data":[],"models":[]}')

    do_HEAD = do_GET

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path.endswith("/responses"):
            events = events_of_codex(asked)
        elif self.path.split("?")[0].endswith("/messages"):
            events = events_of_claude(asked)
        else:
            return self.answer("application/json", b'{"input_tokens":1}')
        lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self.answer("text/event-stream", "".join(lines).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
state = os.path.join(os.environ["HOME"], ".coding-agent")
env = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "none", "MODEL_KEY": "none", "CLAUDE_CONFIG_DIR": state}
env |= {"CODEX_HOME": state, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
agent = [word.replace("@URL@", url) for word in AGENT]
sys.exit(subprocess.run(agent, env=os.environ | env, stdin=subprocess.DEVNULL).returncode)
