"""A server over Streamable HTTP, by PyPI's package: it tells what it was called with."""
import hashlib
import sys

import uvicorn
try:
    from mcp.server.mcpserver import Context, MCPServer as Server
except ImportError:
    from mcp.server.fastmcp import Context, FastMCP as Server

server = Server("far")


@server.tool()
def authorization(ctx: Context) -> str:
    """The digest of the Authorization header."""
    request = ctx.request_context.request
    value = request.headers.get("authorization", "")
    return hashlib.sha256(value.encode()).hexdigest()


@server.tool()
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


tls = {"ssl_certfile": sys.argv[2], "ssl_keyfile": sys.argv[3]} if len(sys.argv) > 2 else {}
uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="info", **tls)
