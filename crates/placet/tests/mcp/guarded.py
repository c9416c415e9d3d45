"""A server over Streamable HTTP that wants a token, by PyPI's package: PORT ISSUER FILE.

It asks the authorization server about each token, takes none that is for somebody else, and writes what it was
shown into FILE, for the test to look for it where it must not be.
"""
import json
import sys
import urllib.parse
import urllib.request

import uvicorn
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
try:
    from mcp.server.mcpserver import MCPServer as Server
except ImportError:
    from mcp.server.fastmcp import FastMCP as Server

port, issuer, seen = int(sys.argv[1]), sys.argv[2], sys.argv[3]
url = f"http://127.0.0.1:{port}/mcp"


class Verifier:
    async def verify_token(self, token):
        with open(seen, "a") as file:
            file.write(token + "\n")
        body = {"token": token, "client_id": "the-server", "client_secret": "secret-of-the-server"}
        asked = urllib.request.Request(issuer + "/token/introspection", urllib.parse.urlencode(body).encode())
        with urllib.request.urlopen(asked) as answer:
            said = json.load(answer)
        if not said.get("active") or said.get("aud") != url:
            return None
        return AccessToken(token=token, client_id=said["client_id"], scopes=said.get("scope", "").split())


server = Server(
    "guarded",
    token_verifier=Verifier(),
    auth=AuthSettings(issuer_url=issuer, resource_server_url=url, required_scopes=["tools"]),
)


@server.tool()
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=port, log_level="info")
