// The page that receivers read (crates/posthaste/tests/it/webhooks-integration.txt), where it speaks of clicks: its words stand
// on the screen as they are, and lead where it says. `page/quotes.rs` refers to this file.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { browse, quit, receive, serve } from "./harness.js";

after(quit);

test("the page's words lead from Integrations → Webhooks to a saved webhook, its status, Logs and Settings", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const page = await browse(t, server);
  const places = page.getByRole("navigation", { name: "Places" });
  // 1. Navigate to Integrations → Webhooks (or Alerts → Webhooks)
  await places.getByText("Integrations", { exact: true }).waitFor();
  await places.getByText("Alerts", { exact: true }).waitFor();
  await places.getByRole("link", { name: /Webhooks/ }).last().click();
  await page.waitForURL(/\/alerts\/webhooks$/);
  await places.getByRole("link", { name: /Webhooks/ }).first().click();
  await page.waitForURL(/\/accounts\/default\/webhooks$/);
  // 2. Click + New Webhook
  await page.getByRole("link", { name: "+ New Webhook" }).first().click();
  // 3. Configure: Name, URL, Events, Headers
  await page.getByLabel("Name", { exact: true }).fill("CRM Sync");
  await page.getByLabel("URL", { exact: true }).fill(receiver.url);
  await page.getByText("Events", { exact: true }).first().waitFor();
  await page.getByText("Headers", { exact: true }).first().waitFor();
  await page.getByText("All events, also future ones").click();
  // 4. Click Save
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("heading", { name: "CRM Sync", exact: true }).waitFor();
  // Check the webhook status in the dashboard (Active vs. Paused)
  await page.locator(".badge", { hasText: "Active" }).waitFor();
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Pause", exact: true }).click();
  await page.locator(".badge", { hasText: "Paused" }).waitFor();
  // Check the Logs tab for delivery attempts and error messages
  receiver.answer = () => ({ status: 500 });
  const [webhook] = (await server.get("/v1/accounts/default/webhooks")).data;
  await server.post(`/v1/accounts/default/webhooks/${webhook.id}/resume`, { held: "deliver" });
  await server.event();
  await page.getByRole("link", { name: /^Logs/ }).click();
  await page.getByRole("link", { name: "alert.domain_matched" }).first().click();
  await page.getByText("Your server answered 500. It reached your code.").waitFor();
  // Your webhook signing secret is displayed in Integrations → Webhooks → [Your Webhook] → Settings.
  await page.getByRole("link", { name: "Settings", exact: true }).click();
  await page.getByRole("button", { name: "Reveal" }).click();
  const { secret } = await server.get(`/v1/accounts/default/webhooks/${webhook.id}/secret`);
  await page.getByText(secret).waitFor();
  assert.match(secret, /^whsec_/);
});
