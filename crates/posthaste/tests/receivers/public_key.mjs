// Checks requests with the guide's own JavaScript code for public keys: the same as public_key.py.
//
//     node public_key.mjs CODE.mjs PUBLIC-KEY [FURTHER-KEY …] < REQUESTS

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [code, ...keys] = process.argv.slice(2);
const { verify } = await import(pathToFileURL(code));

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body } = JSON.parse(line);
  const payload = Buffer.from(body, "base64");
  const tampered = Buffer.from(payload);
  tampered[tampered.length - 2] ^= 1;
  console.log(
    JSON.stringify({
      fits: keys.map((key) => verify(payload, headers, key)),
      tampered: keys.map((key) => verify(tampered, headers, key)),
    }),
  );
}
