import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, test } from "node:test";
import { browse, quit, serve, shell } from "./harness.js";
import "./unit/typescript.js";

after(quit);

const lines = await import("../src/parts/command-lines.ts");

test("every line that is shown is carried out by the binary, in any account", async (t) => {
  const server = await serve(t);
  const { run } = shell(t, server);
  // What the line makes is there for those after it.
  await run(lines.createAccount());
  const shown = {
    createAccount: [],
    createWebhook: [["default", "*"], ["acme", "alert.*"]],
    createKey: [["default"], ["acme"], [undefined]],
    send: [["default"], ["acme", "alert.domain_matched"]],
    replayFailed: [["default"], ["acme"]],
    audit: [["default"], ["acme"], [undefined]],
    list: [
      ["deliveries", "default", {}],
      ["deliveries", "acme", { status: "failed,pending", event: "alert.*", code: "5xx", error: "response_timeout", test: "false", since: "24h", until: "1h", q: "a b" }],
      ["events", "acme", { event: "alert.*", since: "24h", q: "newstartup.com" }],
    ],
  };
  assert.deepEqual(Object.keys(shown).sort(), Object.keys(lines).sort(), "each kind of line is tried");
  for (const [name, all] of Object.entries(shown)) for (const of of all) await run(lines[name](...of));
  // And they did it in the account that they name.
  const { data } = await server.get("/v1/accounts/acme/webhooks");
  assert.deepEqual(data.map(({ name, events }) => [name, events]), [["CRM Sync", ["alert.*"]]]);
  assert.equal((await server.get("/v1/accounts/acme/keys")).data.length, 1);
  assert.equal((await server.get("/v1/accounts/acme/events")).data.length, 1);
});

test("a filter out of somebody else's link is copied as one word: nothing of it is carried out", async (t) => {
  const server = await serve(t);
  const { dir, run } = shell(t, server);
  const q = `a'; touch came-through; "b" $(touch came-through) 'c`;
  await server.event("alert.domain_matched", { domain: "newstartup.com", said: "it's `a` $b" });
  const page = await browse(t, server, null);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const copied = async (entry) => {
    await page.getByRole("button", { name: "More", exact: true }).click();
    await page.getByRole("menuitem", { name: entry }).click();
    await page.getByLabel("Notice").getByText(/^(Command|API call) copied$/).waitFor();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  for (const entry of ["Copy as CLI", "Copy as API call"]) {
    await page.goto(`${server.url}/accounts/default/deliveries?${new URLSearchParams({ q })}`);
    await run((await copied(entry)).replace(/^curl /, "true "));
    assert.deepEqual(readdirSync(dir), [], entry);
  }
  // What is searched for arrives as it was typed.
  const { data } = JSON.parse(await run(`${lines.list("events", "default", { q: "it's `a` $b" })} --json`));
  assert.equal(data.length, 1);
});
