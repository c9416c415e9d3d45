"""A receiver of webhooks: checks each signature by itself and says on its output what came.

usage: receiver.py SECRET STATUSES [CERT KEY]
"""
import base64
import hashlib
import hmac
import http.server
import json
import ssl
import sys

secret = base64.b64decode(sys.argv[1].removeprefix("whsec_"))
statuses = [int(status) for status in sys.argv[2].split(",")]


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = b".".join(
            [self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), body]
        )
        mac = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        came = {
            "id": self.headers["webhook-id"],
            "path": self.path,
            "signed": hmac.compare_digest("v1," + mac, self.headers["webhook-signature"]),
            "raw": {
                "body": body.decode(),
                "headers": {name: self.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")},
            },
            "status": status,
            "body": json.loads(body),
        }
        print(json.dumps(came), flush=True)
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
