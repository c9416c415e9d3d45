"""A collector of traces: reads what comes with OpenTelemetry's own definitions and says on its output which spans came.

usage: collector.py STATUSES
"""
import base64
import http.server
import json
import sys

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

statuses = [int(status) for status in sys.argv[1].split(",")]


def ids_as_protobuf_has_them(value):
    """OTLP writes ids in hex where protobuf's JSON has base64."""
    if isinstance(value, list):
        return [ids_as_protobuf_has_them(one) for one in value]
    if isinstance(value, dict):
        names = ("traceId", "spanId", "parentSpanId")
        return {
            name: base64.b64encode(bytes.fromhex(one)).decode()
            if name in names
            else ids_as_protobuf_has_them(one)
            for name, one in value.items()
        }
    return value


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        request = ParseDict(ids_as_protobuf_has_them(json.loads(body)), ExportTraceServiceRequest())
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    came = {
                        "path": self.path,
                        "kind": self.headers["content-type"],
                        "status": status,
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "name": span.name,
                        "code": span.status.code,
                        "length": span.end_time_unix_nano - span.start_time_unix_nano,
                        "attributes": {
                            one.key: one.value.string_value for one in span.attributes
                        },
                    }
                    print(json.dumps(came), flush=True)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
