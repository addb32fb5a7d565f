import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, dev, KEY, quit } from "./harness.js";

after(quit);

test("the inbox shows what it gets, checks it, and is switched to fail", async (t) => {
  const server = await dev(t);
  const page = await browse(t, server, "/inbox/demo");
  await page.getByText("signature verified").first().waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByLabel("Answers").selectOption("500");
  await page.getByText("demo answers 500").first().waitFor();
  await server.event("watchlist.domain_added", { domain: "fresh.example" });
  const row = page.getByRole("button", { name: /watchlist.domain_added attempt 1 answered 500/ });
  await row.click();
  await page.getByText('"fresh.example"').waitFor();
  await accessible(page, "inbox");
  await page.getByRole("link", { name: "flaky" }).click();
  await page.getByText(/attempt 3/).first().waitFor();
  assert.equal(await page.title(), "flaky · Inbox · CronDB");
});

test("event types show who gets them, how many there were, and how many broke the schema", async (t) => {
  const server = await dev(t, "--no-seed");
  for (let i = 0; i < 3; i += 1) await server.event();
  const refused = await fetch(`${server.url}/v1/events`, { method: "POST", headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" }, body: '{"event":"alert.domain_matched","data":{"domain":7}}' });
  assert.equal(refused.status, 422);
  await server.webhook({ name: "Alerts only", url: "http://127.0.0.1:9/hook", events: ["alert.*"] });
  const page = await browse(t, server, "/accounts/default/event-types");
  await page.getByText("That is all: 16.").waitFor();
  await page.locator("summary", { hasText: "alert.domain_matched" }).click();
  await page.getByRole("link", { name: "Alerts only" }).waitFor();
  await page.getByText(/3 events since .*1 more was refused \(422\)/).waitFor();
  await accessible(page, "event types");
  // What comes in meanwhile is counted.
  await server.event();
  await page.getByText(/4 events since/).waitFor();
  await page.getByLabel("Search event types").fill("goal");
  await page.locator("summary", { hasText: "sequence.goal_achieved" }).click();
  await page.getByText("No webhook gets sequence.goal_achieved").waitFor();
});

test("the first steps tick themselves from what happened", async (t) => {
  const server = await dev(t, "--retry-schedule", "1s,1s");
  const page = await browse(t, server);
  await page.getByRole("heading", { name: "Getting started" }).waitFor();
  await page.getByRole("link", { name: /^[23] attempts$/ }).waitFor();
  await page.getByText(/^x-crondb-signature: sha256=/).waitFor();
  await page.getByText("Done: ").nth(2).waitFor();
  assert.equal(await page.getByText("Done: ").count(), 3);
  await accessible(page, "getting started");
  await page.getByText("Python", { exact: true }).click();
  await page.getByText("hmac.compare_digest").waitFor();
  await page.getByText("Done: ").nth(3).waitFor();
  await page.getByRole("button", { name: "Close getting started" }).click();
  await page.reload();
  await page.getByRole("link", { name: "Demo inbox" }).waitFor();
  assert.equal(await page.getByRole("heading", { name: "Getting started" }).count(), 0);
});
