import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, KEY, quit, receive, serve, tabTo, until } from "./harness.js";

after(quit);

const LOG = "/accounts/default/deliveries";

test("a failing delivery counts down, is retried and delivered, while somebody looks", async (t) => {
  // Long enough that the countdown is seen, however busy the machine is.
  const server = await serve(t, "--retry-schedule", "9s,1h");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 500, body: '{"error":"db locked"}', headers: { "content-type": "application/json" } });
  await server.webhook({ url: receiver.url, headers: { "X-Token": "a secret value" } });
  const page = await browse(t, server, LOG);
  await page.getByText("No event has been delivered yet.").waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await accessible(page, "deliveries, none");
  // It appears by itself, without a reload.
  await server.event();
  await page.getByRole("link", { name: "alert.domain_matched" }).click();
  await page.getByRole("heading", { name: "alert.domain_matched" }).waitFor();
  await page.getByText(/2 · next in 0:0\d/).waitFor();
  await page.getByText("Your server answered 500. It reached your code.").waitFor();
  await page.getByRole("button", { name: /1 · 500 .* first .*db locked/ }).waitFor();
  receiver.answer = () => ({ status: 204 });
  await page.getByRole("button", { name: /2 · 204/ }).waitFor();
  await page.getByLabel("Delivery", { exact: true }).locator(".badge", { hasText: "Delivered" }).waitFor();
  await page.getByRole("tab", { name: "Request" }).click();
  await page.getByText("X-CronDB-Signature").waitFor();
  assert.ok(!(await page.content()).includes("a secret value"), "custom values are masked");
  await accessible(page, "a delivery");
  await page.getByRole("tab", { name: "Timing" }).click();
  await page.getByRole("cell", { name: "First byte" }).waitFor();
  await accessible(page, "a delivery's timing");
});

test("replay now sends the same bytes again", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  await server.webhook({ url: receiver.url });
  await server.event();
  await receiver.got(1);
  const page = await browse(t, server, LOG);
  await page.getByRole("link", { name: "alert.domain_matched" }).click();
  await page.getByRole("button", { name: /1 · 200/ }).waitFor();
  await page.getByRole("button", { name: "Replay now" }).click();
  await page.getByRole("button", { name: /2 · 200 .* replay/ }).waitFor();
  await receiver.got(2);
  assert.equal(receiver.requests[0].body, receiver.requests[1].body);
  assert.equal(receiver.requests[0].headers["webhook-id"], receiver.requests[1].headers["webhook-id"]);
  // A test starts from what this delivery carried, not from the type's example.
  await page.getByRole("button", { name: "More about this delivery" }).click();
  await page.getByRole("menuitem", { name: "Edit and send as test" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Send", exact: true }).click();
  await receiver.got(3);
  assert.deepEqual(JSON.parse(receiver.requests[2].body).data, JSON.parse(receiver.requests[0].body).data);
});

test("the filter is the address, in the grammar of the API", async (t) => {
  const server = await serve(t, "--retry-schedule", "1h");
  const receiver = await receive(t);
  receiver.answer = ({ headers }) => ({ status: headers["x-crondb-event"].startsWith("alert.") ? 503 : 200 });
  await server.webhook({ url: receiver.url });
  await server.event("alert.domain_matched");
  await server.event("watchlist.domain_changed", { domain: "competitor.com", changes: [] });
  await server.until("/v1/accounts/default/deliveries?status=delivered", ({ data }) => data.length === 1);
  await server.until("/v1/accounts/default/deliveries?code=5xx", ({ data }) => data.length === 1);
  await server.call("PATCH", "/v1/accounts/default", { retention: "60d" });
  const page = await browse(t, server, `${LOG}?status=delivered`);
  const names = () => page.locator("tbody tr td a").allTextContents();
  await page.getByRole("link", { name: "watchlist.domain_changed" }).waitFor();
  // The sheet names every key that does something.
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).getByText("Filter by the row's error, or its event").waitFor();
  await page.keyboard.press("Escape");
  assert.deepEqual(await names(), ["watchlist.domain_changed"]);
  await page.getByText("That is all: 1. What ended more than 60 d ago is removed (retention).").waitFor();
  await page.getByRole("button", { name: "Status: Delivered" }).click();
  await page.getByRole("menuitemcheckbox", { name: "Pending" }).click();
  await page.getByRole("link", { name: "alert.domain_matched" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("status"), "delivered,pending");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Code: any" }).click();
  await page.getByRole("menuitemcheckbox", { name: "5xx" }).click();
  await page.getByRole("link", { name: "watchlist.domain_changed" }).waitFor({ state: "detached" });
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Tests: With tests" }).click();
  await page.getByRole("menuitemcheckbox", { name: "Tests only" }).click();
  await page.getByText("No deliveries match").waitFor();
  await page.getByRole("button", { name: "Tests: Tests only" }).click();
  await page.getByRole("menuitemcheckbox", { name: "Without tests" }).click();
  await page.getByRole("link", { name: "alert.domain_matched" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("test"), "false");
  await page.getByPlaceholder("Search id, event, body").fill("no such text");
  await page.getByText("No deliveries match").waitFor();
  await accessible(page, "deliveries, no match");
  await page.getByRole("button", { name: "Clear filters" }).last().click();
  await page.getByRole("link", { name: "watchlist.domain_changed" }).waitFor();
  assert.equal(new URL(page.url()).search, "");
  await page.getByPlaceholder("Search id, event, body").fill("competitor.com");
  await page.getByRole("link", { name: "alert.domain_matched" }).waitFor({ state: "detached" });
  await page.getByRole("link", { name: "watchlist.domain_changed" }).waitFor();
  assert.deepEqual(await names(), ["watchlist.domain_changed"]);
});

test("two deliveries compare, and what is selected is replayed, by keys alone", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  await server.webhook({ url: receiver.url });
  for (const domain of ["one.example.com", "two.example.com"]) await server.event("alert.domain_matched", { domain, confidence: 0.9 });
  await receiver.got(2);
  await server.until("/v1/accounts/default/deliveries?status=delivered", ({ data }) => data.length === 2);
  const page = await browse(t, server, LOG);
  await page.locator("tbody tr").nth(1).waitFor();
  for (const key of ["j", "x", "j", "x"]) await page.keyboard.press(key);
  await page.getByText("2 selected").waitFor();
  await page.keyboard.press("d");
  const dialog = page.getByRole("dialog", { name: "Compare two deliveries" });
  // Beside each other where there is room, and every other line of the bodies is the same.
  await dialog.getByRole("row", { name: /two\.example\.com.*one\.example\.com/ }).waitFor();
  await accessible(page, "compare, side by side");
  // The timestamps differ first, then the domains.
  await page.keyboard.press("n");
  await page.keyboard.press("n");
  assert.match(await page.evaluate(() => document.activeElement.textContent), /example\.com/);
  await tabTo(page, "Unified", { back: true });
  await page.keyboard.press("Enter");
  await dialog.getByRole("row", { name: /^only in the first:\s+"domain": "two\.example\.com"/ }).waitFor();
  await accessible(page, "compare, unified");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  // What was chosen is remembered; a narrow window has no choice.
  await page.keyboard.press("d");
  await dialog.getByRole("button", { name: "Unified", pressed: true }).waitFor();
  await page.setViewportSize({ width: 900, height: 800 });
  await dialog.getByRole("button", { name: "Unified" }).waitFor({ state: "detached" });
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("toolbar").getByRole("button", { name: "Replay" }).click();
  await receiver.got(4);
  await page.getByText("2 replayed").first().waitFor();
});

test("comparing shows a few lines that did not change instead of folding them", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  await server.webhook({ url: receiver.url });
  const lines = (count, last) => Object.fromEntries([...Array.from({ length: count }, (_, place) => [`k${place}`, place]), ["last", last]]);
  for (const last of ["one", "two"]) await server.event("alert.domain_matched", { domain: "a.example", ...lines(20, last) });
  for (const last of ["three", "four"]) await server.event("alert.domain_matched", { domain: "a.example", ...lines(7, last) });
  await server.until("/v1/accounts/default/deliveries?status=delivered", ({ data }) => data.length === 4);
  const page = await browse(t, server, LOG);
  await page.locator("tbody tr").nth(3).waitFor();
  for (const key of ["j", "x", "j", "x", "d"]) await page.keyboard.press(key);
  const dialog = page.getByRole("dialog", { name: "Compare two deliveries" });
  await dialog.getByText("2 changes").waitFor();
  await dialog.getByText(/"k3"/).first().waitFor();
  assert.equal(await dialog.getByRole("button", { name: /unchanged/ }).count(), 0);
  await page.keyboard.press("Escape");
  for (const key of ["x", "k", "x", "j", "j", "x", "j", "x", "d"]) await page.keyboard.press(key);
  await dialog.getByText("2 changes").waitFor();
  await dialog.getByRole("button", { name: /^\d\d unchanged lines$/ }).waitFor();
});

test("what the receiver asked for is told in the reader's time", async (t) => {
  const server = await serve(t, "--retry-schedule", "1h");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 503, headers: { "retry-after": "600" } });
  await server.webhook({ url: receiver.url });
  await server.event();
  await receiver.got(1);
  await server.event("alert.rule_created", { name: "x" });
  await server.until("/v1/accounts/default/deliveries", ({ data }) => data.some(({ note }) => /wait until \d{4}-/.test(note ?? "")));
  const page = await browse(t, server, LOG);
  await page.locator("tbody").getByText(/ · the receiver asked to wait until \d\d:\d\d:\d\d$/).waitFor();
  await page.getByRole("link", { name: "alert.rule_created" }).click();
  await page.getByRole("region", { name: "Delivery", exact: true }).getByText(/1 · the receiver asked to wait until \d\d:\d\d:\d\d$/).waitFor();
});

test("where nothing was delivered nothing is offered that needs a delivery", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, LOG);
  await page.getByText("No event has been delivered yet.").waitFor();
  assert.deepEqual(await Promise.all([page.getByText("Select a delivery.").isVisible(), page.getByText("copy cURL").isVisible()]), [false, false]);
  // A list without a webhook has nothing to search, and one button that leads on.
  await page.goto(`${server.url}/accounts/default/webhooks`);
  await page.getByText("A webhook sends your events to a URL").waitFor();
  assert.equal(await page.getByPlaceholder("Search name, URL, id").isVisible(), false);
  const grounds = await page.getByRole("link", { name: "+ New Webhook" }).evaluateAll((links) => links.map((link) => getComputedStyle(link).backgroundColor));
  assert.equal(new Set(grounds).size, 2, grounds.join());
  await accessible(page, "webhooks, none yet");
});

test("a delivery that was not sent yet shows what it will send, by itself and beside another", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const webhook = await server.webhook({ url: receiver.url });
  await server.event("alert.domain_matched", { domain: "one.example.com", n: 0.5 });
  await receiver.got(1);
  await server.until("/v1/accounts/default/deliveries?status=delivered", ({ data }) => data.length === 1);
  await server.post(`/v1/accounts/default/webhooks/${webhook.id}/pause`, {});
  const posted = '{"event":"alert.domain_matched","data":{"domain":"two.example.com","n":1e400}}';
  await fetch(`${server.url}/v1/events`, { method: "POST", headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" }, body: posted });
  const page = await browse(t, server, `${LOG}?status=held,delivered`);
  await page.locator("tbody tr").nth(1).waitFor();
  for (const key of ["j", "x", "j", "x", "d"]) await page.keyboard.press(key);
  const dialog = page.getByRole("dialog", { name: "Compare two deliveries" });
  await dialog.getByRole("row", { name: /two\.example\.com.*one\.example\.com/ }).waitFor();
  await dialog.getByText("1e400").waitFor();
  await dialog.getByRole("columnheader", { name: /, not sent yet$/ }).waitFor();
  await accessible(page, "compare, one not sent yet");
  await dialog.getByRole("button", { name: "Answers" }).click();
  await dialog.getByText("no attempt yet, so no answer").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Clear", exact: true }).click();
  await page.getByRole("link", { name: "alert.domain_matched" }).first().click();
  const detail = page.getByRole("region", { name: "Delivery", exact: true });
  await detail.getByRole("heading", { name: "Will be sent" }).waitFor();
  await detail.getByText("1e400").waitFor();
  await detail.getByText("held until the webhook is resumed").waitFor();
  assert.equal(await detail.getByText("while each fails").count(), 0, "nothing is planned for a time that passes while it is held");
  await accessible(page, "a delivery, not sent yet");
  // What is promised is what is sent, to the byte.
  await detail.getByRole("button", { name: "Exact" }).click();
  const promised = await detail.locator("pre.exact").textContent();
  await server.post(`/v1/accounts/default/webhooks/${webhook.id}/resume`, { held: "deliver" });
  await receiver.got(2);
  assert.equal(promised, receiver.requests[1].body);
});

test("what is selected beyond the rows is said to be what can be replayed, and not all that is shown", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const webhook = await server.webhook({ url: receiver.url });
  for (const domain of ["one.example.com", "two.example.com"]) await server.event("alert.domain_matched", { domain });
  await receiver.got(2);
  await server.until("/v1/accounts/default/deliveries?status=delivered", ({ data }) => data.length === 2);
  const other = await server.webhook({ name: "Paused", url: receiver.url, events: ["watchlist.*"] });
  await server.post(`/v1/accounts/default/webhooks/${other.id}/pause`, {});
  await server.call("PATCH", `/v1/accounts/default/webhooks/${webhook.id}`, { events: ["alert.*"] });
  for (let i = 0; i < 3; i += 1) await server.event("watchlist.domain_added", { domain: "a.example.com" });
  const page = await browse(t, server, LOG);
  await page.locator("tbody tr").nth(4).waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.getByRole("button", { name: "Select all 2 that can be replayed" }).click();
  await page.getByText("All 2 that can be replayed are selected").waitFor();
  await page.getByText("what is still to be sent, and tests, are left out").waitFor();
  await accessible(page, "deliveries, all selected");
});

test("what is planned is told to the second, and with the day where that is another", async (t) => {
  const server = await serve(t, "--retry-schedule", "40s,20s,20s,2d");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 500 });
  await server.webhook({ url: receiver.url });
  await server.event();
  const { data } = await server.until("/v1/accounts/default/deliveries", ({ data }) => data[0]?.attempts_made === 1);
  const { schedule } = await server.get(`/v1/accounts/default/deliveries/${data[0].id}`);
  const page = await browse(t, server, `${LOG}/${data[0].id}`, { context: { timezoneId: "UTC" } });
  const [first, second, last] = schedule.slice(1).map(({ at }) => at.slice(11, 19));
  assert.equal(schedule.length, 4);
  // A midnight between them would put a day before either.
  const planned = new RegExp(`${first} · .*${second} · \\d+ [A-Z][a-z]{2} (\\d{4} )?${last}, the 5th and last, while each fails`);
  await page.getByText(planned).waitFor();
});

test("an event shows its fan-out and its data as it was written", async (t) => {
  const server = await serve(t, "--retry-schedule", "1h");
  const receiver = await receive(t);
  await server.webhook({ name: "Takes it", url: receiver.url });
  const response = await fetch(`${server.url}/v1/events`, {
    method: "POST",
    headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
    body: '{"event":"alert.rule_created","data":{"big":1e400,"id":9223372036854775808}}',
  });
  assert.equal(response.status, 202);
  const page = await browse(t, server, "/accounts/default/events");
  await page.getByRole("link", { name: "alert.rule_created" }).click();
  await page.getByRole("link", { name: "Takes it" }).waitFor();
  await page.getByText("9223372036854775808").waitFor();
  await page.getByText("1e400").waitFor();
  await page.locator(".badge", { hasText: "Delivered" }).waitFor();
  await accessible(page, "an event");
});

test("what is tried again stays at its place, and what comes to fit the filter goes to its own", async (t) => {
  const server = await serve(t, "--retry-schedule", "2s,2s,2s,2s,1h");
  const receiver = await receive(t);
  receiver.answer = ({ body }) => ({ status: body.includes("broken") ? 500 : 200 });
  await server.webhook({ url: receiver.url });
  const broken = await server.event("alert.domain_matched", { domain: "broken.example.com" });
  // Pushed off the first page of the log by what comes after it.
  await server.call("POST", "/v1/events", Array.from({ length: 55 }, () => ({ event: "watchlist.domain_added", data: { domain: "a.example.com" } })));
  const newest = await server.event("alert.rule_created", { rule: 1 });
  await receiver.got(57);
  const page = await browse(t, server, LOG);
  const first = () => page.locator("tbody tr").first().locator("a").getAttribute("href");
  const id = async (event) => (await server.get(`/v1/accounts/default/events/${event.id}`)).deliveries[0].id;
  await page.locator("tbody tr").nth(49).waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  assert.ok((await first()).endsWith(await id(newest)));
  await server.until(`/v1/accounts/default/events/${broken.id}`, ({ deliveries }) => deliveries[0].attempts_made === 5);
  // The next one is there, and so what was told before it has been taken.
  const next = await server.event("alert.rule_created", { rule: 2 });
  const row = page.locator(`a[href$="${await id(next)}"]`);
  await row.waitFor();
  assert.ok((await first()).endsWith(await id(next)));
  assert.equal(await page.locator(`a[href$="${await id(broken)}"]`).count(), 0);
});

test("Back comes to the row and the selection that were left, and a slip of the fingers loses nothing", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  await server.webhook({ url: receiver.url });
  for (let rule = 0; rule < 4; rule += 1) await server.event("alert.rule_created", { rule });
  await receiver.got(4);
  const page = await browse(t, server, LOG);
  await page.locator("tbody tr").nth(3).waitFor();
  for (const key of ["j", "x", "j", "x"]) await page.keyboard.press(key);
  await page.getByText("2 selected").waitFor();
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("href"));
  const row = await focused();
  await page.getByRole("region", { name: "Delivery", exact: true }).getByRole("link", { name: "CRM Sync" }).click();
  await page.getByRole("heading", { name: "CRM Sync" }).waitFor();
  await page.goBack();
  await page.getByText("2 selected").waitFor();
  await until(focused, (now) => now === row, "the focus is where it was");
  // A dialog that is closed and opened in one go stays open; the focus comes back to where it was.
  await page.keyboard.press("d");
  const dialog = page.getByRole("dialog", { name: "Compare two deliveries" });
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("d");
  await dialog.getByText("2 changes").waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await until(focused, (now) => now === row, "the focus comes back from the dialog");
  // What was typed and taken back at once is not searched for later.
  await page.getByPlaceholder("Search id, event, body").fill("never");
  await page.getByText("No deliveries match").waitFor();
  await page.getByPlaceholder("Search id, event, body").pressSequentially("x");
  await page.getByRole("button", { name: "Clear filters" }).first().click();
  await page.locator("tbody tr").nth(3).waitFor();
  await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: "Events", exact: true }).click();
  await page.getByRole("heading", { name: "Events", exact: true }).waitFor();
  assert.equal(new URL(page.url()).search, "");
});

test("on a phone, Back from a delivery and its own link back come to the row that was left", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  await server.webhook({ url: receiver.url });
  await server.call("POST", "/v1/events", Array.from({ length: 30 }, (_, rule) => ({ event: "alert.rule_created", data: { rule } })));
  await receiver.got(30);
  await server.until("/v1/accounts/default/deliveries?status=delivered&limit=100", ({ data }) => data.length === 30);
  const page = await browse(t, server, LOG, { width: 390, height: 700, context: { hasTouch: true, isMobile: true } });
  const row = page.locator("tbody tr").nth(20);
  await row.waitFor();
  /** The row is opened where it stands; its own page begins at its top. */
  const open = async () => {
    await row.scrollIntoViewIfNeeded();
    const top = (await row.boundingBox()).y;
    await row.getByRole("link").click();
    await page.getByRole("link", { name: "‹ All deliveries" }).waitFor();
    await until(() => page.evaluate(() => scrollY), (y) => y === 0, "a delivery starts at its top");
    return top;
  };
  const same = async (top) => {
    await row.waitFor();
    await until(async () => (await row.boundingBox()).y, (now) => Math.abs(now - top) < 2, `the row stands where it stood, at ${top}`);
    await until(() => row.evaluate((row) => row.contains(document.activeElement)), Boolean, "the row has the focus");
  };
  let top = await open();
  await page.goBack();
  await same(top);
  top = await open();
  await page.getByRole("link", { name: "‹ All deliveries" }).click();
  await same(top);
  // Whoever came by a link finds the row all the same.
  await open();
  await page.reload();
  await page.getByRole("link", { name: "‹ All deliveries" }).click();
  await row.waitFor();
  await until(() => row.evaluate((row) => row.getBoundingClientRect().top >= 0 && row.getBoundingClientRect().bottom <= innerHeight), Boolean, "the row is in sight");
});

test("an event that nobody gets is added to a webhook", async (t) => {
  const server = await serve(t);
  const { id } = await server.webhook({ name: "Alerts only", url: "http://127.0.0.1:9/hook", events: ["alert.*"] });
  const event = await server.event("sequence.email_sent", {});
  const page = await browse(t, server, `/accounts/default/events/${event.id}`);
  await page.getByText("No webhook gets sequence.email_sent.").waitFor();
  await accessible(page, "an event that nobody gets");
  await page.getByRole("button", { name: "Add to…" }).click();
  await page.getByRole("menuitem", { name: "Alerts only" }).click();
  await page.getByText("No webhook got sequence.email_sent then; Alerts only gets the next one.").waitFor();
  assert.deepEqual((await server.get(`/v1/accounts/default/webhooks/${id}`)).events, ["alert.*", "sequence.email_sent"]);
});
