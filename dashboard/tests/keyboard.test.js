// What people do most, by keyboard alone: nothing here clicks, and nothing is focused but by Tab.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, test } from "node:test";
import { browse, KEY, quit, receive, serve, tabTo } from "./harness.js";

after(quit);

const press = async (page, ...keys) => {
  for (const key of keys) await page.keyboard.press(key);
};

test("pause, 50 events, resume", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const { id } = await server.webhook({ url: receiver.url });
  const page = await browse(t, server, `/accounts/default/webhooks/${id}`);
  await page.getByText("No events in the last 24 h").waitFor();
  await tabTo(page, "Pause");
  await press(page, "Enter");
  await page.getByLabel(/Reason/).waitFor();
  await page.keyboard.type("maintenance");
  await press(page, "Enter");
  await page.getByText(/Paused by key .*: maintenance/).waitFor();
  for (let i = 0; i < 50; i += 1) await server.event();
  await page.getByText("50 held", { exact: true }).waitFor();
  assert.equal(receiver.requests.length, 0);
  await tabTo(page, "Resume…");
  await press(page, "Enter");
  await page.getByText("50 deliveries are held").waitFor();
  await tabTo(page, "at");
  await press(page, "ControlOrMeta+a", "Delete");
  await tabTo(page, "Resume and deliver 50");
  await press(page, "Enter");
  await receiver.got(50);
  await page.locator(".badge", { hasText: "Active" }).waitFor();
});

test("rotate", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const webhook = await server.webhook({ url: receiver.url });
  const page = await browse(t, server, `/accounts/default/webhooks/${webhook.id}`);
  await page.getByRole("heading", { name: "CRM Sync" }).waitFor();
  await tabTo(page, "Settings");
  await press(page, "Enter");
  await page.getByRole("heading", { name: "Signing secret" }).waitFor();
  await tabTo(page, "Reveal");
  await press(page, "Enter");
  await page.getByText(webhook.secret).waitFor();
  await tabTo(page, "Rotate…");
  await press(page, "Enter");
  await page.getByRole("dialog", { name: "Rotate the signing secret" }).waitFor();
  // The overlap is chosen with the arrows of its group, and comes back to a day.
  await tabTo(page, "24 hours");
  await press(page, "ArrowUp");
  assert.ok(await page.getByLabel("1 hour").isChecked());
  await press(page, "ArrowDown");
  await tabTo(page, "Rotate");
  await press(page, "Enter");
  await page.getByText(/Two secrets until/).waitFor();
  await tabTo(page, /^End now/);
  await press(page, "Enter");
  await page.getByText(/Two secrets until/).waitFor({ state: "detached" });
  const { secret } = await server.get(`/v1/accounts/default/webhooks/${webhook.id}/secret`);
  assert.notEqual(secret, webhook.secret);
  await server.event();
  await receiver.got(1);
  const [{ headers, body }] = receiver.requests;
  assert.equal(headers["x-crondb-signature"], `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`);
});

test("replay all that match a filter of the log", async (t) => {
  const server = await serve(t, "--retry-schedule", "1s");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 503 });
  const webhook = await server.webhook({ url: receiver.url });
  // More than a page of the log shows.
  const batch = (event, count) => server.call("POST", "/v1/events", Array.from({ length: count }, (_, place) => ({ event, data: { domain: `d${place}.example.com` } })));
  await batch("alert.rule_created", 64);
  await batch("watchlist.domain_added", 3);
  await server.until(`/v1/accounts/default/webhooks/${webhook.id}/stats`, ({ failed }) => failed === 67);
  receiver.answer = () => ({ status: 200 });
  receiver.requests.length = 0;
  const page = await browse(t, server, `/accounts/default/webhooks/${webhook.id}/logs?event=alert.*&status=failed`);
  await page.locator("tbody tr").nth(49).waitFor();
  await press(page, "j", "x");
  await page.getByText("1 selected").waitFor();
  await page.getByRole("button", { name: "Select all 64 that can be replayed" }).waitFor();
  await tabTo(page, "Select all 64 that can be replayed", { back: true });
  await press(page, "Enter");
  await page.getByText("All 64 that can be replayed are selected").waitFor();
  // The focus has gone on to what comes next.
  await tabTo(page, "Replay 64…", { most: 1 });
  await press(page, "Enter");
  await page.getByText("64 deliveries", { exact: true }).waitFor();
  await page.getByLabel("Events", { exact: true }).locator("option:checked", { hasText: /^alert\.\*$/ }).waitFor({ state: "attached" });
  await tabTo(page, "Per second");
  await press(page, "ControlOrMeta+a", "Delete");
  await page.getByText("64 deliveries", { exact: true }).waitFor();
  await tabTo(page, "Replay 64");
  await press(page, "Enter");
  await page.getByText("64 of 64").waitFor();
  await page.locator(".badge", { hasText: "Done" }).waitFor();
  assert.equal(receiver.requests.length, 64);
});

test("signing in by a key, and out; and the portal by its link, made and used without a mouse", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  await server.post("/v1/accounts", { id: "acme", name: "Acme" });
  await server.call("POST", "/v1/accounts/acme/webhooks", { name: "Theirs", url: receiver.url, events: ["*"] });
  const page = await browse(t, server, "/accounts", { key: null });
  await page.getByLabel("Key").waitFor();
  await page.keyboard.type(KEY);
  await press(page, "Enter");
  await page.getByRole("link", { name: "Acme" }).waitFor();
  await tabTo(page, "Actions for Acme");
  await press(page, "Enter", "p");
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "Portal link and embed token…");
  await press(page, "Enter");
  await tabTo(page, "Make a link and a token");
  await press(page, "Enter");
  const link = await page.locator("dialog code", { hasText: "#t=" }).textContent();
  await press(page, "Escape");

  const theirs = await browse(t, server, link.slice(new URL(link).origin.length), { key: null });
  await theirs.getByRole("link", { name: "Theirs" }).waitFor();
  await press(theirs, "j", "Enter");
  await theirs.getByRole("heading", { name: "Theirs" }).waitFor();
  await press(theirs, "s");
  await theirs.locator("dialog button:focus", { hasText: "Send" }).waitFor();
  await press(theirs, "Enter");
  await theirs.getByText(/✓ 200 in/).waitFor();
  await receiver.got(1);
  await press(theirs, "Escape");
  await tabTo(theirs, /^Signed in as/, { back: true });
  await press(theirs, "Enter", "s");
  // "Switch single keys off" comes first; the next one of that letter is wanted.
  await press(theirs, "s", "Enter");
  await theirs.getByLabel("Key").waitFor();
});

test("a key that is pressed while the palette closes is for the page", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks");
  await page.getByText("Live", { exact: true }).waitFor();
  await press(page, "ControlOrMeta+k");
  const field = page.getByRole("combobox", { name: "Search webhooks, places and ids" });
  await field.waitFor();
  // On a machine that is busy the field has the focus for some time after that.
  await field.evaluate((field) => {
    field.closest("dialog").close();
    field.dispatchEvent(new KeyboardEvent("keydown", { key: "?", bubbles: true, cancelable: true }));
  });
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
});

test("what the search shows does not move away under the pointer", async (t) => {
  const server = await serve(t);
  await server.webhook({ name: "Billing", url: "https://hooks.example.com/x" });
  const page = await browse(t, server, "/accounts/default/events");
  await page.getByText("No event has been accepted yet.").waitFor();
  let answer;
  const asked = new Promise((resolve) => (answer = resolve));
  await page.route("**/webhooks?limit=12", async (route) => {
    await asked;
    await route.continue();
  });
  await page.keyboard.press("ControlOrMeta+k");
  const search = page.getByRole("combobox", { name: /^Search webhooks/ });
  await search.waitFor();
  await page.getByText("Searching.").waitFor();
  assert.equal(await page.getByRole("option").count(), 0);
  // What is typed finds places and actions meanwhile.
  await search.fill("theme: dark");
  await page.getByRole("option", { name: /^Theme: dark/ }).waitFor();
  await search.fill("");
  answer();
  await page.getByRole("option", { name: /^Billing/ }).waitFor();
  assert.match(await page.getByRole("option").first().innerText(), /^Billing/);
});

test("a key acts from a checkbox too, into which nothing is typed", async (t) => {
  const server = await serve(t, "--retry-schedule", "1h");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 500 });
  await server.webhook({ url: receiver.url });
  for (let i = 0; i < 2; i += 1) await server.event();
  await receiver.got(2);
  const page = await browse(t, server, "/accounts/default/deliveries");
  await page.locator("tbody tr").nth(1).waitFor();
  await press(page, "j", "Enter");
  await page.getByRole("button", { name: "Replay now" }).waitFor();
  // Tab comes to the box of the row below.
  await press(page, "Tab");
  await page.locator("tbody tr:nth-child(2) input:focus").waitFor();
  await press(page, "x");
  await page.getByText("1 selected").waitFor();
  await press(page, "k");
  await page.locator("tbody tr:nth-child(1) a:focus").waitFor();
});
