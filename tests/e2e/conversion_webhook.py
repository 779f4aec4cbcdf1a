"""A conversion webhook for tests, to run in a pod: v1 has `hostPort: HOST:PORT`, v2 has `host` and `port`.

    conversion_webhook.py FOLDER PORT

FOLDER holds tls.crt and tls.key. The standard library alone, as the pod has nothing else.
"""

import http.server
import json
import ssl
import sys


def converted(obj: dict, version: str) -> dict:
    spec = dict(obj.get("spec") or {})
    if version.endswith("/v2") and "hostPort" in spec:
        host, _, port = spec.pop("hostPort").rpartition(":")
        spec.update(host=host, port=int(port))
    elif version.endswith("/v1") and "host" in spec:
        spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port')}"
    return {**obj, "apiVersion": version, "spec": spec}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        objects = [converted(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
        body = json.dumps({**{key: review[key] for key in ("apiVersion", "kind")}, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    folder, port = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")
    server = http.server.ThreadingHTTPServer(("", int(port)), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
