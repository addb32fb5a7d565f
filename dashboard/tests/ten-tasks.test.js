// The ten tasks of the design: can they be done, and with how many clicks and keys? The counts are printed, and stand in
// docs/dashboard.md. A text that is typed counts as one key a letter.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { browse, quit, receive, serve } from "./harness.js";

after(quit);

/** A person who counts what they do. */
function person(page) {
  const done = { clicks: 0, keys: 0 };
  return {
    done,
    async click(locator) {
      await locator.click();
      done.clicks += 1;
    },
    async press(key) {
      await page.keyboard.press(key);
      done.keys += 1;
    },
    async type(text) {
      await page.keyboard.type(text);
      done.keys += text.length;
    },
  };
}

test("ten tasks", async (t) => {
  const server = await serve(t, "--retry-schedule", "2s,1h");
  const healthy = await receive(t);
  const flaky = await receive(t);
  let outage = false;
  flaky.answer = ({ headers }) => (outage ? { status: 503 } : headers["x-crondb-event"] === "sequence.email_replied" ? { status: 500, body: '{"error":"db locked"}' } : { status: 200 });
  const crm = await server.webhook({ name: "CRM Sync", url: healthy.url });
  const billing = await server.webhook({ name: "Billing", url: flaky.url, retry_schedule: ["1s"], events: ["alert.*", "sequence.*"] });
  await server.webhook({ name: "Dead", url: "http://127.0.0.1:9/", events: ["enrichment.*"] });
  for (let sent = 0; sent < 2_000; sent += 500) await server.call("POST", "/v1/events", Array.from({ length: 500 }, (_, place) => ({ event: "watchlist.domain_changed", data: { domain: `d${sent + place}.example.com`, changes: [] } })));
  await server.event("sequence.email_replied", { domain: "prospect.com", step_number: 2 });
  await server.until(`/v1/accounts/default/deliveries?webhook=${billing.id}&status=failed`, ({ data }) => data.length === 1);
  await healthy.got(2_001);

  const figures = [];
  async function task(name, path, act, options = {}) {
    const page = await browse(t, server, path, options);
    await page.locator("main h1").first().waitFor();
    const who = person(page);
    await act(page, who);
    figures.push(`${name}: ${who.done.clicks} clicks, ${who.done.keys} keys`);
    await page.context().close();
  }
  const LIST = "/accounts/default/webhooks";

  await task("T1 create a webhook", LIST, async (page, who) => {
    await who.press("n");
    await page.locator("input:focus").waitFor();
    await who.type("Slack");
    await who.press("Tab");
    await who.type(`${healthy.url}/slack`);
    await who.click(page.getByRole("radio", { name: /All events/ }).or(page.getByRole("checkbox", { name: /All events/ })).first());
    await who.press("Control+Enter");
    await page.getByRole("heading", { name: "Slack", exact: true }).waitFor();
  });
  await task("T2 send a test, see the result", `${LIST}/${crm.id}`, async (page, who) => {
    await who.press("s");
    await page.locator("dialog button:focus", { hasText: "Send" }).waitFor();
    await who.press("Enter");
    await page.getByText(/✓ 200 in/).waitFor();
  });
  await task("T3 find why sequence.email_replied for prospect.com failed", LIST, async (page, who) => {
    await who.click(page.getByRole("link", { name: "Billing", exact: true }));
    await who.click(page.getByRole("link", { name: /^Logs/ }));
    await page.locator("main [data-search]").waitFor();
    await who.press("/");
    await page.locator("input:focus").waitFor();
    await who.type("prospect.com");
    await who.click(page.getByRole("link", { name: "sequence.email_replied" }).first());
    await page.getByText("Your server answered 500. It reached your code.").waitFor();
  });
  await server.call("PATCH", `/v1/accounts/default/webhooks/${billing.id}`, { retry_schedule: ["1h"] });
  const { id } = await server.event("sequence.email_replied", { domain: "later.com" });
  const [later] = await server.until(`/v1/accounts/default/events/${id}`, ({ deliveries }) => deliveries.some(({ webhook_id, attempts_made }) => webhook_id === billing.id && attempts_made === 1)).then(({ deliveries }) => deliveries.filter(({ webhook_id }) => webhook_id === billing.id));
  await task("T4 say when it is tried again", `${LIST}/${billing.id}/logs`, async (page, who) => {
    await page.locator("tbody tr a").first().waitFor();
    await who.press("j");
    await page.waitForURL(new RegExp(later.id));
    await page.getByRole("region", { name: "Delivery", exact: true }).getByText(/2 · next in \d+/).waitFor();
  });
  await task("T5 replay it now", `${LIST}/${billing.id}/logs/${later.id}`, async (page, who) => {
    await page.getByRole("button", { name: "Replay now" }).waitFor();
    await who.press("r");
    await page.getByRole("button", { name: /2 · 500 .* replay/ }).waitFor();
  });
  outage = true;
  await server.call("PATCH", `/v1/accounts/default/webhooks/${billing.id}`, { retry_schedule: ["1s"] });
  for (let i = 0; i < 10; i += 1) await server.event("alert.rule_created", { rule: i });
  await server.until(`/v1/accounts/default/deliveries?webhook=${billing.id}&status=failed&event=alert.*`, ({ data }) => data.length === 10);
  outage = false;
  await task("T6 replay all failures of an outage", `${LIST}/${billing.id}`, async (page, who) => {
    await who.click(page.getByRole("link", { name: "Replay failed…" }).first());
    await page.getByText(/^\d+ deliveries$/).waitFor();
    await who.click(page.getByRole("button", { name: /^Replay \d+$/ }));
    await page.locator(".badge", { hasText: "Done" }).waitFor();
  });
  await task("T7 rotate the secret without loss", `${LIST}/${crm.id}/settings`, async (page, who) => {
    await who.click(page.getByRole("button", { name: "Rotate…" }));
    await who.click(page.getByRole("button", { name: "Rotate", exact: true }));
    await page.getByText(/Two secrets until/).waitFor();
    await who.click(page.getByRole("button", { name: /End now/ }));
    await page.getByText(/Two secrets until/).waitFor({ state: "detached" });
  });
  await task("T8 pause, 50 events, resume", `${LIST}/${crm.id}`, async (page, who) => {
    const before = healthy.requests.length;
    await who.click(page.getByRole("button", { name: "Pause", exact: true }));
    await who.click(page.getByRole("dialog").getByRole("button", { name: "Pause", exact: true }));
    await page.locator(".badge", { hasText: "Paused" }).waitFor();
    await server.call("POST", "/v1/events", Array.from({ length: 50 }, (_, place) => ({ event: "watchlist.domain_added", data: { domain: `n${place}.example.com` } })));
    await who.click(page.getByRole("button", { name: "Resume…" }).first());
    await who.click(page.getByRole("button", { name: /Resume and deliver 50/ }));
    await page.locator(".badge", { hasText: "Active" }).waitFor();
    // Slack takes them as well, at once.
    await healthy.got(before + 100);
  });
  await task("T9 T3 to T5 by keyboard only", `${LIST}/${billing.id}/logs`, async (page, who) => {
    await page.locator("main [data-search]").waitFor();
    await who.press("/");
    await page.locator("input:focus").waitFor();
    await who.type("later.com");
    await who.press("Enter");
    await page.waitForURL(/q=later\.com/);
    await page.locator("tbody tr").nth(0).waitFor();
    await page.locator("tbody tr").nth(1).waitFor({ state: "detached" });
    await who.press("Escape");
    await page.evaluate(() => document.activeElement.blur());
    await who.press("j");
    await page.getByRole("button", { name: /1 · 500/ }).waitFor();
    await who.press("r");
    await page.getByRole("button", { name: /3 · 500 .* replay/ }).waitFor();
    assert.equal(who.done.clicks, 0);
  });
  await task("T10 T3 on a phone", LIST, async (page, who) => {
    await who.click(page.getByRole("link", { name: "Billing", exact: true }));
    await who.click(page.getByRole("link", { name: /^Logs/ }));
    await who.click(page.getByPlaceholder("Search id, event, body"));
    await who.type("prospect.com");
    await who.click(page.getByRole("link", { name: "sequence.email_replied" }).first());
    await page.getByText("Your server answered 500. It reached your code.").waitFor();
  }, { width: 390 });
  for (const figure of figures) t.diagnostic(figure);
});
