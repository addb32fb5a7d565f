// Lighthouse on the list, an overview and the logs, against the real binary with real rows:
//
//     npm run lighthouse
//
// It is fetched for the run, since it is larger than everything else here together. Each score has to be 95 or more.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { KEY, receive, serve } from "./harness.js";

const CATEGORIES = ["performance", "accessibility", "best-practices"];

test("Lighthouse", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  receiver.answer = ({ headers }) => ({ status: headers["x-crondb-event"] === "alert.rule_deleted" ? 500 : 200 });
  const webhook = await server.webhook({ url: receiver.url });
  for (let i = 0; i < 60; i += 1) await server.event(i % 5 ? "alert.rule_created" : "alert.rule_deleted", { rule: i });
  await receiver.got(60);
  const signedIn = await fetch(`${server.url}/v1/sessions`, { method: "POST", headers: { "content-type": "application/json", "x-requested-with": "tests" }, body: JSON.stringify({ token: KEY }) });
  assert.equal(signedIn.status, 201);
  const cookie = signedIn.headers.get("set-cookie").split(";")[0];
  const dir = mkdtempSync(join(tmpdir(), "lighthouse-"));
  const headers = join(dir, "headers.json");
  writeFileSync(headers, JSON.stringify({ Cookie: cookie }));
  for (const [name, path] of [
    ["list", "/accounts/default/webhooks"],
    ["overview", `/accounts/default/webhooks/${webhook.id}`],
    ["logs", `/accounts/default/webhooks/${webhook.id}/logs`],
  ]) {
    const report = join(dir, `${name}.json`);
    const flags = [
      `--only-categories=${CATEGORIES.join(",")}`,
      "--output=json",
      `--output-path=${report}`,
      `--extra-headers=${headers}`,
      "--quiet",
      `--chrome-path=${process.env.CHROMIUM ?? "/usr/bin/chromium"}`,
      "--chrome-flags=--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync",
      ...(process.env.DESKTOP ? ["--preset=desktop"] : []),
    ];
    execFileSync("npx", ["--yes", "lighthouse@12", server.url + path, ...flags], { stdio: ["ignore", "ignore", "inherit"] });
    const { categories } = JSON.parse(readFileSync(report));
    const scores = Object.fromEntries(CATEGORIES.map((category) => [category, Math.round(categories[category].score * 100)]));
    t.diagnostic(`${name}: ${Object.entries(scores).map(([category, score]) => `${category} ${score}`).join(", ")}`);
    for (const [category, score] of Object.entries(scores)) assert.ok(score >= 95, `${name}: ${category} ${score}`);
  }
});
