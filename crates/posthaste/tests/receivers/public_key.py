#!/usr/bin/env python3
"""Checks requests with the guide's own Python code for public keys.

    public_key.py CODE.py PUBLIC-KEY [FURTHER-KEY …] < REQUESTS

Takes a line of JSON with `headers` and `body` (base64) for each request, and writes one with what the code says of it, and
of the same request with one byte changed, for each key.
"""

import base64
import json
import runpy
import sys

CODE, *KEYS = sys.argv[1:]
verify = runpy.run_path(CODE)["verify"]

for line in sys.stdin:
    request = json.loads(line)
    payload, headers = base64.b64decode(request["body"]), request["headers"]
    tampered = payload[:-2] + bytes([payload[-2] ^ 1]) + payload[-1:]
    print(json.dumps({
        "fits": [verify(payload, headers, key) for key in KEYS],
        "tampered": [verify(tampered, headers, key) for key in KEYS],
    }))
