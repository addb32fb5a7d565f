#!/usr/bin/env python3
"""A receiver as the page's readers would write it: HTTPS, the page's own `verify`, and the Standard Webhooks library.

    verify.py CERTIFICATE-AND-KEY.pem SECRET [FURTHER-SECRET …]

Listens on a free port of 127.0.0.2, says "listening on PORT", then writes a line of JSON for each request: what each
check says of it, and what it says of the same request with one byte changed. Answers 500 to attempts whose number is in
the request's path, such as /fail/1,2, and 200 to all others.
"""

import base64
import http.server
import json
import ssl
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

# The page's own code, verbatim but for the indentation that the page has lost.
import hmac
import hashlib

def verify(payload: bytes, signature: str, secret: str) -> bool:
    computed = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={computed}", signature)


CERTIFICATE, *SECRETS = sys.argv[1:]


def library(payload: bytes, headers: dict, secret: str) -> bool:
    try:
        Webhook(secret).verify(payload, headers)
        return True
    except WebhookVerificationError:
        return False


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        headers = dict(self.headers.items())
        signature = headers["X-CronDB-Signature"]
        tampered = payload[:-2] + bytes([payload[-2] ^ 1]) + payload[-1:]
        print(json.dumps({
            "delivery": headers["webhook-id"],
            "attempt": int(headers["X-CronDB-Attempt"]),
            "headers": headers,
            "body": base64.b64encode(payload).decode(),
            "page": [verify(payload, signature, secret) for secret in SECRETS],
            "page_tampered": [verify(tampered, signature, secret) for secret in SECRETS],
            "library": [library(payload, headers, secret) for secret in SECRETS],
            "library_tampered": [library(tampered, headers, secret) for secret in SECRETS],
        }), flush=True)
        failing = self.path.removeprefix("/fail/").split(",") if self.path.startswith("/fail/") else []
        self.send_response(500 if headers["X-CronDB-Attempt"] in failing else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.2", 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"listening on {server.server_address[1]}", flush=True)
server.serve_forever()
