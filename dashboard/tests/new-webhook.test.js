import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, quit, receive, serve, until } from "./harness.js";

after(quit);

test("a webhook is made by keyboard alone, its faults told inline, and its test seen", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const page = await browse(t, server, "/", { expects: [/status of 422 .*\/webhooks/] });
  await page.getByRole("link", { name: "+ New Webhook" }).first().waitFor();
  await page.keyboard.press("n");
  const name = page.getByLabel("Name", { exact: true });
  await name.waitFor();
  // Nothing picked, nothing typed: told in text, and the focus is where the first fault is.
  await page.keyboard.press("Control+Enter");
  await page.getByRole("alert").getByText("Say where the events go").waitFor();
  assert.match(await page.evaluate(() => document.activeElement.id), /-url$/);
  await accessible(page, "new webhook, with faults");
  await page.keyboard.type("https://10.0.0.1/hook");
  await page.locator("p.error", { hasText: "10.0.0.1" }).first().waitFor();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type(receiver.url);
  await page.getByText("✓ Leads to 127.0.0.1").waitFor();
  await page.getByLabel("Only these").focus();
  await page.getByLabel(/^Filter 16 events/).waitFor();
  await page.getByLabel(/^Filter 16 events/).focus();
  await page.keyboard.type("alert");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await page.getByText("3 of 3").waitFor();
  await accessible(page, "new webhook, events picked");
  await page.getByRole("button", { name: "+ Add header" }).focus();
  await page.keyboard.press("Enter");
  // The new row has the focus a frame after it is there.
  await page.locator("[aria-label='Name of header 1']:focus").waitFor();
  await page.keyboard.type("X-CronDB-Evil");
  await page.keyboard.press("Tab");
  await page.keyboard.type("1");
  await name.focus();
  await page.keyboard.type("CRM Sync");
  await page.keyboard.press("Control+Enter");
  // The server's own word on a reserved name, beside the field.
  await page.locator("p.error", { hasText: "X-CronDB-Evil" }).waitFor();
  await page.getByLabel("Name of header 1").focus();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type("X-Api-Key");
  await page.keyboard.press("Control+Enter");
  await page.getByText("✓ CRM Sync is saved").waitFor();
  await page.getByText(/✓ 200 in/).waitFor();
  await receiver.got(1);
  assert.equal(receiver.requests[0].headers["x-api-key"], "1");
  const { data } = await server.get("/v1/accounts/default/webhooks");
  assert.deepEqual(data.map(({ name, events }) => [name, events]), [["CRM Sync", ["alert.*"]]]);
  await page.getByRole("button", { name: "Reveal" }).click();
  const { secret } = await server.get(`/v1/accounts/default/webhooks/${data[0].id}/secret`);
  await page.getByText(secret ?? /whsec_/).waitFor();
  await accessible(page, "webhook, just saved");
});

test("a slip in the URL is told once the field is left, and saving names every fault at once", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks/new", { expects: [/status of 422 .*\/webhooks/] });
  const url = page.getByLabel("URL", { exact: true });
  for (const [slip, said] of [["example.com/hook", "is no URL"], ["//x", "is no URL"], ["https://", "is no URL"], ["javascript:alert(1)", "it has to start with https://"], ["ftp://x", "it has to start with https://"]]) {
    await url.fill(slip);
    await page.keyboard.press("Tab");
    await page.locator("p.error", { hasText: said }).waitFor();
    assert.equal(await url.getAttribute("aria-invalid"), "true");
    await url.fill("");
    await page.locator("p.error").waitFor({ state: "detached" });
  }
  // What was kept as a draft is judged as it stands, too.
  await url.fill("example.com/hook");
  await page.reload();
  assert.equal(await url.inputValue(), "example.com/hook");
  await url.focus();
  await page.keyboard.press("Tab");
  await page.locator("p.error", { hasText: "is no URL" }).waitFor();
  await page.getByLabel("Only these").check();
  await page.getByRole("button", { name: "Save" }).click();
  const summary = page.getByRole("alert");
  await summary.getByText("is no URL").waitFor();
  assert.deepEqual(await summary.getByRole("link").allTextContents(), ["URL", "Events"]);
  assert.deepEqual((await server.get("/v1/accounts/default/webhooks")).data, []);
});

test("what is typed survives a reload, pasted headers fill rows, and another webhook at the same URL is named", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  await server.webhook({ name: "Billing", url: receiver.url });
  const page = await browse(t, server, "/accounts/default/webhooks/new");
  await page.getByLabel("URL", { exact: true }).fill(receiver.url);
  await page.getByText("Billing already sends here").waitFor();
  await page.getByRole("button", { name: "+ Add header" }).click();
  await page.getByLabel("Name of header 1").evaluate((input) => {
    const data = new DataTransfer();
    data.setData("text", `curl -X POST https://x.example -H 'Authorization: Bearer a:b' --header "X-Team: core"`);
    input.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  });
  assert.equal(await page.getByLabel("Value of header 2").inputValue(), "core");
  await page.getByText("2 of 20, 33 of 4,096 bytes").waitFor();
  await page.reload();
  assert.equal(await page.getByLabel("Value of header 1").inputValue(), "Bearer a:b");
  assert.equal(await page.getByLabel("URL", { exact: true }).inputValue(), receiver.url);
});

test("once the URL is left it is connected to: a redirect is told, and its target taken over", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const elsewhere = await receive(t);
  receiver.look = () => ({ status: 308, headers: { location: elsewhere.url } });
  const page = await browse(t, server, "/accounts/default/webhooks/new");
  const url = page.getByLabel("URL", { exact: true });
  await url.focus();
  await page.keyboard.type(receiver.url);
  await page.getByText("✓ Leads to 127.0.0.1").waitFor();
  assert.equal(receiver.looks, 0, "nobody's server is bothered while somebody types");
  await page.keyboard.press("Tab");
  await page.getByText(`It redirects to ${elsewhere.url}; we do not follow. Use that URL.`).waitFor();
  assert.deepEqual([receiver.looks, elsewhere.looks], [1, 0]);
  await accessible(page, "new webhook, redirected");
  await page.getByRole("button", { name: "Use it" }).click();
  assert.equal(await url.inputValue(), elsewhere.url);
  await page.getByText("It redirects to").waitFor({ state: "detached" });
  await page.getByText("✓ Leads to 127.0.0.1").waitFor();
  assert.equal(receiver.requests.length + elsewhere.requests.length, 0);
});

test("a draft that was saved makes one webhook however often its answer is lost", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const other = await server.webhook({ name: "Billing", url: `${receiver.url}/billing` });
  const page = await browse(t, server, "/accounts/default/webhooks/new", { expects: [/ERR_FAILED/, /status of 504/] });
  const made = async (name) => (await server.get("/v1/accounts/default/webhooks")).data.filter((webhook) => webhook.name === name).length;
  const save = page.getByRole("button", { name: "Save" });
  const posts = "**/v1/accounts/default/webhooks";
  /** The request comes through, its answer does not; or something in between answers in its place. */
  const lose = async (name, answer) => {
    await page.route(posts, async (route) => {
      if (route.request().method() !== "POST") return route.fallback();
      await route.fetch();
      return answer ? route.fulfill(answer) : route.abort();
    });
    await save.click();
    await page.locator("main").getByText(answer ? "Gateway Timeout" : "The server cannot be reached").waitFor();
    await page.unroute(posts);
    assert.equal(await made(name), 1);
    await page.reload();
  };
  await page.getByLabel("Name", { exact: true }).fill("CRM Sync");
  await page.getByLabel("URL", { exact: true }).fill(receiver.url);
  await page.getByLabel("All events, also future ones").check();
  await lose("CRM Sync");
  await lose("CRM Sync");
  await lose("CRM Sync", { status: 504, body: "<h1>Gateway Timeout</h1>" });
  await save.click();
  await page.getByText("✓ CRM Sync is saved").waitFor();
  assert.equal(await made("CRM Sync"), 1);
  // A copy of another webhook is a draft like others.
  await page.goto(`${server.url}/accounts/default/webhooks/new?from=${other.id}`);
  await until(() => page.getByLabel("Name", { exact: true }).inputValue(), (name) => name === "Billing copy", "it is copied");
  await page.getByLabel("Name", { exact: true }).fill("Ledger");
  await lose("Ledger");
  assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "Ledger");
  await save.click();
  await page.getByText("✓ Ledger is saved").waitFor();
  assert.equal(await made("Ledger"), 1);
});

test("what is to be typed stands apart in a warning about a URL", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks/new");
  await page.getByLabel("URL", { exact: true }).fill("http://127.0.0.1:1/hook");
  await page.keyboard.press("Tab");
  await page.locator("code", { hasText: /^posthaste listen$/ }).waitFor();
});

test("a form that was looked at and left takes nothing from the next way into it", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks/new");
  await page.getByLabel("Name", { exact: true }).waitFor();
  await page.goto(`${server.url}/accounts/default/webhooks/new?events=alert.*`);
  await page.getByText("3 of 3").waitFor();
});

test("what was begun as a copy is there again at the copy, and not in the form of a new webhook", async (t) => {
  const server = await serve(t);
  const other = await server.webhook({ name: "Billing", url: "https://hooks.example.com/billing" });
  const page = await browse(t, server, `/accounts/default/webhooks/new?from=${other.id}`);
  const name = page.getByLabel("Name", { exact: true });
  await until(() => name.inputValue(), (value) => value === "Billing copy", "it is copied");
  await name.fill("Ledger");
  // The palette leads from the one form to the other without a screen between.
  await page.keyboard.press("ControlOrMeta+k");
  await page.getByRole("combobox", { name: /^Search webhooks/ }).fill("+ New Webhook");
  await page.getByRole("option", { selected: true, name: "+ New Webhook" }).click();
  await until(() => name.inputValue(), (value) => value === "", "the form is empty");
  assert.equal(await page.getByLabel("URL", { exact: true }).inputValue(), "");
  await name.fill("Of my own");
  await page.goto(`${server.url}/accounts/default/webhooks/new?from=${other.id}`);
  await until(() => name.inputValue(), (value) => value === "Ledger", "the copy is as it was left");
  assert.equal(await page.getByLabel("URL", { exact: true }).inputValue(), "https://hooks.example.com/billing");
  await page.goto(`${server.url}/accounts/default/webhooks`);
  await page.getByRole("link", { name: "+ New Webhook" }).click();
  await until(() => name.inputValue(), (value) => value === "Of my own", "the draft of the new one is as it was left");
  // A copy that was only looked at is the copy of what the other one is by then.
  await page.goto(`${server.url}/accounts/default/webhooks/new?from=${other.id}`);
  await page.getByRole("link", { name: "Cancel" }).click();
  await server.call("PATCH", `/v1/accounts/default/webhooks/${other.id}`, { name: "Invoices" });
  await page.goto(`${server.url}/accounts/default/webhooks/new?from=${other.id}`);
  await until(() => name.inputValue(), (value) => value === "Invoices copy", "it is copied anew");
});

test("what stands below the events stays there when they come", async (t) => {
  const server = await serve(t);
  for (const width of [1280, 390]) {
    const page = await browse(t, server, null, { width });
    let answer;
    const asked = new Promise((resolve) => (answer = resolve));
    await page.route("**/v1/event-types?*", async (route) => {
      await asked;
      await route.continue();
    });
    await page.goto(`${server.url}/accounts/default/webhooks/new`);
    await page.getByText("Reading the event types.").waitFor();
    const top = async () => (await page.getByRole("button", { name: "+ Add header" }).boundingBox()).y;
    const before = await top();
    answer();
    await page.getByPlaceholder("Filter 16 events").waitFor();
    assert.ok(Math.abs((await top()) - before) < 48, `at ${width} px it moves from ${before} to ${await top()}`);
  }
});
