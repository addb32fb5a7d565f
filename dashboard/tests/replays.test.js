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
  for (let i = 0; i < 12; i += 1) await server.event();
  await server.until("/v1/accounts/default/deliveries?status=failed&limit=100", ({ data }) => data.length === 12);
  receiver.answer = () => ({ status: 200 });
  const replay = await server.post("/v1/accounts/default/replays", { webhook: webhook.id, status: "failed", rate: 1 });
  const page = await browse(t, server, `/accounts/default/replays/${replay.id}`);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator(".badge", { hasText: "Paused" }).waitFor();
  await page.getByText(/^Paused by/).first().waitFor();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.locator(".badge", { hasText: "Running" }).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.locator(".badge", { hasText: "Stopped" }).waitFor();
  const { status, results } = await server.get(`/v1/accounts/default/replays/${replay.id}`);
  assert.equal(status, "stopped");
  assert.ok(results.delivered < 12);
});
