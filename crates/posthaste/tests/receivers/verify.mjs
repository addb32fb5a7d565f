// Checks requests with the Standard Webhooks library for JavaScript.
//
//     node verify.mjs SECRET [FURTHER-SECRET …] < REQUESTS
//
// Takes a line of JSON with `headers` and `body` (base64) for each request, and writes one with what the library says of
// it, and of the same request with one byte changed, for each secret.

import { createInterface } from "node:readline";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const secrets = process.argv.slice(2);

function check(body, headers, secret) {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body } = JSON.parse(line);
  const payload = Buffer.from(body, "base64");
  const tampered = Buffer.from(payload);
  tampered[tampered.length - 2] ^= 1;
  console.log(
    JSON.stringify({
      library: secrets.map((secret) => check(payload, headers, secret)),
      library_tampered: secrets.map((secret) => check(tampered, headers, secret)),
    }),
  );
}
