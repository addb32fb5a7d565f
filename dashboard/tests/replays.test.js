import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, quit, receive, serve } from "./harness.js";

after(quit);

test("an outage is replayed: counted first, watched to its end", async (t) => {
  const server = await serve(t, "--retry-schedule", "1s");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 503 });
  const webhook = await server.webhook({ url: receiver.url });
  for (let i = 0; i < 24; i += 1) await server.event();
  await server.until("/v1/accounts/default/deliveries?status=failed&limit=100", ({ data }) => data.length === 24);
  receiver.answer = () => ({ status: 200 });
  receiver.requests.length = 0;
  const page = await browse(t, server, "/accounts/default/replays");
  await page.getByText("A replay sends many deliveries again").waitFor();
  await accessible(page, "replays, none");
  await page.getByRole("link", { name: "Replay deliveries…" }).first().click();
  await page.getByLabel("Webhook", { exact: true }).selectOption(webhook.id);
  await page.getByText("24 deliveries", { exact: true }).waitFor();
  await accessible(page, "a new replay");
  await page.getByLabel("Events", { exact: true }).selectOption("watchlist.*");
  await page.getByText("0 deliveries", { exact: true }).waitFor();
  await page.getByLabel("Events", { exact: true }).selectOption("");
  await page.getByLabel("Per second").fill("100");
  await page.getByRole("button", { name: "Replay 24" }).click();
  await page.getByText("24 of 24").waitFor();
  await page.locator(".badge", { hasText: "24 delivered" }).waitFor();
  await page.locator(".badge", { hasText: "Done" }).waitFor();
  await accessible(page, "a replay");
  assert.equal(receiver.requests.length, 24);
  await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: "Replays" }).click();
  await page.getByRole("link", { name: /24 deliveries of CRM Sync/ }).waitFor();
  await accessible(page, "replays");
});

test("a replay that runs is paused, goes on and is stopped", async (t) => {
  const server = await serve(t, "--retry-schedule", "1s");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 503 });
  const webhook = await server.webhook({ url: receiver.url });
  // So many, one a second, that it is not over before everything here was pressed.
  await server.call("POST", "/v1/events", Array.from({ length: 90 }, (_, rule) => ({ event: "alert.rule_created", data: { rule } })));
  await server.until("/v1/accounts/default/deliveries?status=failed&limit=100", ({ data }) => data.length === 90);
  receiver.answer = () => ({ status: 200 });
  const replay = await server.post("/v1/accounts/default/replays", { webhook: webhook.id, status: "failed", rate: 1 });
  const page = await browse(t, server, `/accounts/default/replays/${replay.id}`);
  // The nav counts what is not over, and so does the form of the next one.
  const places = page.getByRole("navigation", { name: "Places" });
  await places.getByRole("link", { name: /^Replays.*unfinished: \(1\)$/ }).waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator(".badge", { hasText: "Paused" }).waitFor();
  await page.getByText(/^Paused by/).first().waitFor();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.locator(".badge", { hasText: "Running" }).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.locator(".badge", { hasText: "Stopped" }).waitFor();
  const { status, results } = await server.get(`/v1/accounts/default/replays/${replay.id}`);
  assert.equal(status, "stopped");
  assert.ok(results.delivered < 90);
  await places.getByRole("link", { name: "Replays", exact: true }).waitFor();
});

test("a new replay takes a text, and says what stands in its way", async (t) => {
  const server = await serve(t, "--retry-schedule", "1s");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 503 });
  const webhook = await server.webhook({ url: receiver.url });
  for (const domain of ["one.example.com", "two.example.com", "two.example.com"]) await server.event("alert.domain_matched", { domain });
  await server.until("/v1/accounts/default/deliveries?status=failed&limit=100", ({ data }) => data.length === 3);
  const page = await browse(t, server, `/accounts/default/replays/new?webhook=${webhook.id}&q=two`);
  await page.getByText("2 deliveries", { exact: true }).waitFor();
  await page.getByText(/^Answers p95 /).waitFor();
  await page.getByLabel("Text", { exact: true }).fill("nowhere");
  await page.getByText("0 deliveries", { exact: true }).waitFor();
  await page.getByText(/match: the text “nowhere”/).waitFor();
  await page.getByLabel("Text", { exact: true }).fill("");
  await page.getByText("3 deliveries", { exact: true }).waitFor();
  const other = await server.post("/v1/accounts/default/replays", { webhook: webhook.id, status: "failed", rate: 1 });
  await server.post(`/v1/accounts/default/replays/${other.id}/pause`, {});
  await server.post(`/v1/accounts/default/webhooks/${webhook.id}/pause`, {});
  await page.reload();
  await page.getByText("CRM Sync is paused: nothing is sent again before it is resumed.").waitFor();
  await page.getByRole("link", { name: other.id }).waitFor();
  await accessible(page, "a new replay of a paused webhook");
});
