import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { check, headers } from "../../src/screens/signature-check/check.ts";

const SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDxF2Nn0VpwqM=";
const NOW = 1_774_000_000_000;

function signed(body, { secret = SECRET, at = NOW / 1_000 } = {}) {
  const ours = createHmac("sha256", secret).update(body).digest("hex");
  const standard = createHmac("sha256", Buffer.from(secret.slice(6), "base64")).update(`dlv_1.${at}.${body}`).digest("base64");
  return `X-CronDB-Signature: sha256=${ours}\nwebhook-id: dlv_1\nwebhook-timestamp: ${at}\nwebhook-signature: v1,${standard}`;
}
const judge = (given, body, secrets = SECRET) => check({ headers: given, body, secrets, prefix: "X-CronDB" }, NOW);

test("what was signed fits, both ways", async () => {
  const body = '{"event":"alert.domain_matched","data":{"é":1}}';
  assert.deepEqual((await judge(signed(body), body)).map(({ fits }) => fits), [true, true]);
  const old = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
  assert.deepEqual((await judge(signed(body, { secret: old }), body, `${SECRET}\n${old}`)).map(({ says }) => says), ["It fits secret 2.", "It fits secret 2."]);
});

test("each way to fail has its own sentence", async () => {
  const body = '{"a":1,"b":[2,3]}';
  const says = async (given, copy, secrets) => (await judge(given, copy, secrets))[0].says;
  assert.match(await says(signed(body), '{\n  "a": 1,\n  "b": [2, 3]\n}'), /written again.*27 bytes; we signed 17.*raw bytes/s);
  assert.match(await says(signed(body), `${body}\n`), /line break at its end/);
  assert.match(await says(signed(body), body, `${SECRET} `), /space or a line break/);
  assert.match(await says(signed(body), body, SECRET.slice(6)), /whsec_ belongs to it/);
  assert.match(await says(signed(body).replace(/(sha256=.{20})\w+/, "$1"), body), /20 digits.*cut/);
  assert.match(await says(signed(body), '{"a":2}'), /does not fit/);
  const [, late] = await judge(signed(body, { at: NOW / 1_000 - 4_000 }), body);
  assert.ok(late.fits && /It was made 1 h 6 min ago:/.test(late.says), late.says);
  const [, early] = await judge(signed(body, { at: NOW / 1_000 + 21_847_943 }), body);
  assert.ok(early.fits && /It was made 252 d 20 h in the future:/.test(early.says), early.says);
});

test("headers are read as people paste them", () => {
  const found = headers("curl -X POST x \\\n  -H 'Webhook-Id: dlv_1' \\\n  -H \"X-A: b: c\" \\\nX-CronDB-Signature: sha256=00\r\n");
  assert.deepEqual([found.get("webhook-id"), found.get("x-a"), found.get("x-crondb-signature")], ["dlv_1", "b: c", "sha256=00"]);
});
