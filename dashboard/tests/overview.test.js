import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, quit, receive, serve } from "./harness.js";

after(quit);

test("the overview counts what was delivered and what failed, and leads into the log", async (t) => {
  const server = await serve(t, "--retry-schedule", "1s");
  const good = await receive(t);
  good.answer = ({ body }) => (body.includes("broken") ? { status: 503 } : { status: 200 });
  const { id } = await server.webhook({ url: good.url });
  for (let i = 0; i < 4; i++) await server.event();
  await server.event("alert.rule_created", { name: "broken" });
  const stats = `/v1/accounts/default/webhooks/${id}/stats`;
  await server.until(stats, ({ delivered, failed }) => delivered === 4 && failed === 1);
  const page = await browse(t, server, `/accounts/default/webhooks/${id}`);
  await page.getByText("80.0 %").waitFor();
  await page.getByText("2 × 503").waitFor();
  assert.equal(await page.title(), "Overview · CRM Sync · CronDB");
  // An hour may end while the test runs: then there are two bars.
  const bar = page.getByRole("link", { name: /\d delivered, 0 of them after a retry, 1 failed/ });
  const bars = await page.getByRole("group", { name: /^Bars/ }).getByRole("link").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label")));
  const spans = bars.map((name) => name.split(": ")[0]);
  assert.ok(spans.length >= 24 && new Set(spans).size === spans.length, `each bar has a name of its own: ${spans.join(", ")}`);
  const link = await bar.getAttribute("href");
  assert.match(link, /\/logs\?since=.*&until=/);
  await accessible(page, "overview");
  await page.getByRole("button", { name: "Show as table" }).first().click();
  await page.getByRole("table", { name: "Deliveries over time" }).waitFor();
  await accessible(page, "overview as table");
  // What comes in meanwhile is counted without a reload.
  await server.event();
  await page.locator("dd", { hasText: "83.3 %" }).waitFor();
  // What was sent is counted by type, and the whole log beside its tab; each count leads there.
  await page.getByRole("definition").filter({ hasText: /^5$/ }).waitFor();
  await page.getByRole("link", { name: /^Logs 6$/ }).waitFor();
  await page.getByRole("link", { name: "alert.rule_created" }).click();
  await page.getByRole("button", { name: "Event: alert.rule_created" }).waitFor();
  await page.locator("tbody tr").first().waitFor();
  assert.equal(await page.locator("tbody tr").count(), 1);
});

test("where nothing has ended yet it is said what waits, in place of a chart without bars", async (t) => {
  const server = await serve(t, "--retry-schedule", "1h");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 503 });
  const { id } = await server.webhook({ url: receiver.url });
  await server.event();
  await server.until(`/v1/accounts/default/webhooks/${id}/stats`, ({ attempts, pending }) => attempts === 1 && pending === 1);
  const page = await browse(t, server, `/accounts/default/webhooks/${id}`);
  const chart = page.getByRole("figure", { name: /^Deliveries per/ });
  await chart.getByText("None was delivered or has failed in this time: 1 is waiting.").waitFor();
  assert.deepEqual([await chart.getByRole("button").count(), await chart.getByRole("link").count()], [0, 0]);
  await accessible(page, "overview, nothing has ended");
  receiver.answer = () => ({ status: 200 });
  await server.event();
  await chart.getByRole("link", { name: /1 delivered/ }).waitFor();
});

test("a webhook is paused, holds what comes, and says so; resuming delivers it", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const { id } = await server.webhook({ url: receiver.url });
  const page = await browse(t, server, `/accounts/default/webhooks/${id}`);
  await page.getByText("No events in the last 24 h").waitFor();
  await accessible(page, "overview without traffic");
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByLabel(/Reason/).fill("maintenance");
  await accessible(page, "pause");
  await page.keyboard.press("Enter");
  await page.getByText(/Paused by key .*: maintenance/).waitFor();
  for (let i = 0; i < 50; i++) await server.event();
  await page.getByText("50 held", { exact: true }).waitFor();
  assert.equal(receiver.requests.length, 0);
  await page.getByRole("button", { name: "Resume…" }).first().click();
  await page.getByText("50 deliveries are held").waitFor();
  await accessible(page, "resume");
  await page.getByLabel("at", { exact: true }).fill("");
  await page.getByRole("button", { name: "Resume and deliver 50" }).click();
  await receiver.got(50);
  await page.locator("dd", { hasText: /^50/ }).waitFor();
});

test("what is cancelled when a webhook is resumed is what is held, and not a retry that is planned for later", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 500 });
  const { id } = await server.webhook({ url: receiver.url });
  await server.event();
  await receiver.got(1);
  await server.until("/v1/accounts/default/deliveries", ({ data }) => data[0]?.attempts_made === 1);
  const page = await browse(t, server, `/accounts/default/webhooks/${id}`);
  await server.post(`/v1/accounts/default/webhooks/${id}/pause`, {});
  await server.event();
  await page.getByRole("button", { name: "Resume…" }).first().click();
  await page.getByText("1 delivery is held. What becomes of it?").waitFor();
  await page.getByText("1 delivery has its retry planned for later; it is made then, whatever you choose.").waitFor();
  await page.getByLabel("Cancel it").check();
  await page.getByLabel("Type 1 to cancel it").fill("1");
  await page.getByRole("button", { name: "Resume and cancel 1" }).click();
  // Read out beside that it is shown.
  await page.getByText(/ is active$/).first().waitFor();
  // What is held is cancelled in parts, after the answer.
  const statuses = ({ data }) => data.map(({ status }) => status).sort().join();
  await server.until("/v1/accounts/default/deliveries", (list) => statuses(list) === "cancelled,pending");
});

test("a test goes out with what was edited, also while paused, and a refusal is explained", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 410, body: "gone" });
  const { id } = await server.webhook({ url: receiver.url });
  const page = await browse(t, server, `/accounts/default/webhooks/${id}`);
  await page.getByRole("button", { name: "Send test" }).first().waitFor();
  await page.keyboard.press("s");
  await page.locator("dialog button:focus", { hasText: "Send" }).waitFor();
  await page.getByLabel("Event type").selectOption("sequence.email_replied");
  await page.getByLabel("Data", { exact: true }).fill('{"domain": "prospect.com", "n": 1e400}');
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("✕ 410 in").waitFor();
  await receiver.got(1);
  assert.match(receiver.requests[0].body, /"data":\{"domain": "prospect.com", "n": 1e400\}/);
  await accessible(page, "test panel");
});

test("a test whose answer is lost is sent once, and a changed one after it is another", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const { id } = await server.webhook({ url: receiver.url });
  const page = await browse(t, server, `/accounts/default/webhooks/${id}`, { expects: [/ERR_FAILED/, /status of 422 .*\/test/] });
  await page.getByRole("button", { name: "Send test" }).first().click();
  const panel = page.getByRole("dialog");
  const send = panel.getByRole("button", { name: "Send", exact: true });
  const lose = async () => {
    await page.route("**/test", async (route) => {
      await route.fetch();
      await route.abort();
    });
    await send.click();
    await panel.getByText("The server cannot be reached").waitFor();
    await page.unroute("**/test");
  };
  await panel.getByLabel("Event type").selectOption("alert.rule_created");
  await lose();
  await send.click();
  await panel.getByText(/✓ 200 in/).waitFor();
  assert.equal(receiver.requests.length, 1);
  await lose();
  await panel.getByLabel("Data", { exact: true }).fill('{"mine": 3}');
  await send.click();
  await panel.getByText(/✓ 200 in/).waitFor();
  assert.deepEqual(receiver.requests.map(({ body }) => JSON.parse(body).data.mine), [undefined, undefined, 3]);
});

test("a webhook is deleted only by whoever types its name", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const { id } = await server.webhook({ name: "Old one", url: receiver.url });
  const page = await browse(t, server, `/accounts/default/webhooks/${id}`, { expects: [/status of 404 .*webhooks/] });
  await page.getByRole("button", { name: "More actions" }).click();
  await page.getByRole("menuitem", { name: "Delete…" }).click();
  await page.getByLabel("Type Old one to delete it").fill("Old");
  assert.equal(await page.getByRole("button", { name: "Delete", exact: true }).getAttribute("aria-disabled"), "true");
  await accessible(page, "delete");
  await page.getByLabel("Type Old one to delete it").fill("Old one");
  await page.keyboard.press("Enter");
  await page.getByText("A webhook sends your events to a URL").waitFor();
  assert.deepEqual((await server.get("/v1/accounts/default/webhooks")).data, []);
});

test("an address that leads nowhere says so", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks/wh_none", { expects: [/status of 404 .*webhooks\/wh_none/] });
  await page.getByText("No webhook wh_none in this account.").waitFor();
  await accessible(page, "not found");
});

test("a certificate that ends soon needs attention", async (t) => {
  const server = await serve(t);
  const { id } = await server.webhook({ url: "https://hooks.example.com/x" });
  const page = await browse(t, server, null);
  let days = 6.5;
  // A receiver with such a certificate would need an authority of its own; what the server knows of one is tested there.
  await page.route("**/stats?*", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), certificate_ends_at: new Date(Date.now() + days * 86_400_000).toISOString() } });
  });
  await page.goto(`${server.url}/accounts/default/webhooks/${id}`);
  await page.getByText("hooks.example.com: its certificate ends in 6 days.").waitFor();
  await accessible(page, "overview, a certificate ends");
  days = 30;
  await page.reload();
  await page.getByText("No events in the last 24 h").waitFor();
  assert.equal(await page.getByText("its certificate").count(), 0);
});
