// Lighthouse on the list, an overview and the logs, against the real binary with real rows:
//
//     npm run lighthouse
//
// It is fetched for the run, since it is larger than everything else here together. Each score has to be 95 or more. As on its
// own it looks like a slow phone; `DESKTOP=1` for a desktop.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { FLAGS, KEY, receive, serve } from "./harness.js";

const CATEGORIES = ["performance", "accessibility", "best-practices"];

/** A port that is free now. */
async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** Signs in, and leaves that in a profile: a fresh browser would be shown the form to sign in. */
async function signIn(server, profile) {
  const context = await chromium.launchPersistentContext(profile, { executablePath: CHROMIUM, headless: true, args: FLAGS });
  const answer = await context.request.post(`${server.url}/v1/sessions`, { data: { token: KEY }, headers: { "x-requested-with": "tests" } });
  assert.equal(answer.status(), 201);
  const page = await context.newPage();
  await page.goto(server.url);
  await page.evaluate(() => localStorage.setItem("posthaste.signed-in", "yes"));
  await page.reload();
  await page.getByText("Live", { exact: true }).waitFor();
  await context.close();
}

/** A browser with that profile, which nobody drives but Lighthouse; its port. */
async function open(t, profile) {
  const port = await freePort();
  const child = spawn(CHROMIUM, [...FLAGS, "--headless=new", "--password-store=basic", `--user-data-dir=${profile}`, `--remote-debugging-port=${port}`, "about:blank"], { stdio: "ignore" });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/json/version`).catch(() => null);
    if (answer?.ok) return port;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("Lighthouse", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  receiver.answer = ({ headers }) => ({ status: headers["x-crondb-event"] === "alert.rule_deleted" ? 500 : 200 });
  const webhook = await server.webhook({ url: receiver.url });
  for (let i = 0; i < 60; i += 1) await server.event(i % 5 ? "alert.rule_created" : "alert.rule_deleted", { rule: i });
  await receiver.got(60);
  const dir = mkdtempSync(join(tmpdir(), "lighthouse-"));
  const profile = join(dir, "profile");
  await signIn(server, profile);
  const port = await open(t, profile);
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const one = `/accounts/default/webhooks/${webhook.id}`;
  for (const [name, path, reads] of [
    ["list", "/accounts/default/webhooks", "/v1/accounts/default/webhooks?"],
    ["overview", one, `${one}/stats`],
    ["logs", `${one}/logs`, "/v1/accounts/default/deliveries?"],
  ]) {
    const report = join(dir, `${name}.json`);
    const flags = [`--port=${port}`, "--disable-storage-reset", `--only-categories=${CATEGORIES.join(",")}`, "--output=json", `--output-path=${report}`, "--quiet", ...(process.env.DESKTOP ? ["--preset=desktop"] : [])];
    await promisify(execFile)("npx", ["--yes", "lighthouse@12", server.url + path, ...flags]);
    const { categories, audits } = JSON.parse(readFileSync(report));
    const requests = audits["network-requests"].details.items.map(({ url }) => url);
    assert.ok(requests.some((url) => url.includes(reads)), `${name} was shown: ${requests.join(" ")}`);
    const scores = CATEGORIES.map((category) => [category, Math.round(categories[category].score * 100)]);
    const metrics = ["first-contentful-paint", "largest-contentful-paint", "total-blocking-time", "cumulative-layout-shift"].map((audit) => `${audit} ${audits[audit].displayValue}`);
    t.diagnostic(`${name}: ${scores.map((score) => score.join(" ")).join(", ")}; ${metrics.join(", ")}`);
    for (const [category, score] of scores) {
      const lost = Object.values(audits).filter(({ score, scoreDisplayMode }) => score !== null && score < 0.9 && scoreDisplayMode !== "informative").map(({ id }) => id);
      const moved = (audits["layout-shifts"]?.details?.items ?? []).map(({ node, score }) => `${score} ${node?.snippet}`);
      assert.ok(score >= 95, `${name}: ${category} ${score}; ${lost.join(", ")}; ${moved.join(" ")}`);
    }
  }
});
