import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, test } from "node:test";
import { accessible, browse, quit, receive, serve } from "./harness.js";

after(quit);

test("an account is created, opened, and deleted by its id", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts", { expects: [/status of 422 .*\/v1\/accounts/] });
  await page.getByRole("link", { name: "Default" }).waitFor();
  await accessible(page, "accounts");
  await page.keyboard.press("n");
  await page.getByLabel("Name", { exact: true }).fill("Acme Inc.");
  await page.getByLabel("Id", { exact: true }).fill("acme !");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("alert").waitFor();
  await accessible(page, "a new account, refused");
  await page.getByLabel("Id", { exact: true }).fill("acme");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("link", { name: "Acme Inc." }).click();
  await page.getByText("A webhook sends your events to a URL, signed and retried.").waitFor();
  assert.equal(new URL(page.url()).pathname, "/accounts/acme/webhooks");
  await page.goBack();
  await page.getByRole("button", { name: "Actions for Acme Inc." }).click();
  await page.getByRole("menuitem", { name: "Delete…" }).click();
  const act = page.getByRole("button", { name: "Delete", exact: true });
  assert.equal(await act.getAttribute("aria-disabled"), "true");
  await page.getByLabel("Type acme to delete it").fill("acme");
  await act.click();
  await page.getByRole("link", { name: "Acme Inc." }).waitFor({ state: "detached" });
  assert.deepEqual((await server.get("/v1/accounts")).data.map(({ id }) => id), ["default"]);
});

test("what the system says of webhooks without a success is not what the list calls failing", async (t) => {
  const server = await serve(t);
  const { id } = await server.webhook({ url: "https://hooks.example.com/x" });
  const page = await browse(t, server, "/accounts/default/webhooks");
  await page.route("**/v1/system", async (route) => {
    const answer = await route.fetch();
    const failing = [{ account: "default", id, name: "CRM Sync", since: new Date().toISOString() }];
    await route.fulfill({ response: answer, json: { ...(await answer.json()), webhooks_failing: 1, failing } });
  });
  await page.goto(`${server.url}/system`);
  const table = page.getByRole("table", { name: "Webhooks without a success, longest first" });
  await table.getByRole("link", { name: "CRM Sync" }).waitFor();
  await table.getByRole("columnheader", { name: "No success since" }).waitFor();
  assert.equal(await page.getByText(/failing/i).count(), 0);
  await accessible(page, "system, a webhook without a success");
});

test("addresses are listed in the forms that firewalls take, or said not to be fixed", async (t) => {
  const fixed = await serve(t, "--egress-ip", "127.0.0.2");
  const page = await browse(t, fixed, "/addresses");
  await page.getByText("allow 127.0.0.2;").waitFor();
  await accessible(page, "addresses");
  const none = await browse(t, await serve(t), "/addresses");
  await none.getByText("Not fixed: the operator has listed none.").waitFor();
});

test("a request that was received is judged, and its fault named, without a request of the page", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const { secret } = await server.webhook({ url: receiver.url });
  await server.event();
  await receiver.got(1);
  const [{ headers, body }] = receiver.requests;
  assert.equal(headers["x-crondb-signature"], `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`);
  const page = await browse(t, server, "/signature-check");
  await page.getByLabel("Headers").fill(Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\n"));
  await page.getByLabel("Body").fill(body);
  await page.getByLabel("Signing secret").fill(secret);
  // What the frame around it asks for by itself has nothing of it.
  const sent = [];
  page.on("request", (request) => sent.push(`${request.method()} ${request.url()} ${request.postData() ?? ""}`));
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByText("X-CronDB-Signature fits").waitFor();
  await page.getByText("webhook-signature fits").waitFor();
  await accessible(page, "signature check");
  // A verdict goes with what it was about.
  await page.getByLabel("Body").fill(`${body} `);
  await page.getByText("X-CronDB-Signature fits").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByText("X-CronDB-Signature does not fit").waitFor();
  const pasted = await page.getByLabel("Headers").inputValue();
  await page.getByLabel("Headers").fill("");
  await page.getByText("X-CronDB-Signature does not fit").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByRole("alert").getByText("Paste the headers of the request.").waitFor();
  await page.getByLabel("Headers").fill(pasted);
  await page.getByRole("alert").waitFor({ state: "detached" });
  await page.getByLabel("Body").fill(JSON.stringify(JSON.parse(body), null, 2));
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByText("X-CronDB-Signature does not fit").waitFor();
  await page.getByText(/the same JSON written again/).first().waitFor();
  assert.deepEqual(sent.filter((text) => !/^GET [^ ]*\/v1\/system $/.test(text)), []);
});

test("a portal session is seen and ended, and the log of changes says by whom", async (t) => {
  const server = await serve(t);
  await server.post("/v1/accounts", { id: "acme", name: "Acme" });
  const { token } = await server.call("POST", "/v1/accounts/acme/portal-sessions", { name: "jane@acme.example", access: "read" });
  const status = async () => (await fetch(`${server.url}/v1/accounts/acme/webhooks`, { headers: { authorization: `Bearer ${token}` } })).status;
  assert.equal(await status(), 200);
  const page = await browse(t, server, "/accounts");
  await page.getByRole("button", { name: "Actions for Acme" }).click();
  await page.getByRole("menuitem", { name: "Portal link and embed token…" }).click();
  await page.getByText("jane@acme.example").first().waitFor();
  await accessible(page, "portal sessions");
  // A link is longer than a phone is wide.
  await page.getByRole("button", { name: "Make a link and a token" }).click();
  await page.getByText("No page may embed it yet").waitFor();
  await accessible(page, "a portal's link and token");
  await page.getByRole("button", { name: "End the token of jane@acme.example" }).click();
  await page.getByRole("button", { name: "End the token of jane@acme.example" }).waitFor({ state: "detached" });
  assert.equal(await status(), 401);
  await page.keyboard.press("Escape");
  await page.goto(`${server.url}/accounts/acme/audit`);
  const ended = page.locator("tbody tr").filter({ hasText: "Session ended" });
  await ended.getByText("jane@acme.example").waitFor();
  await ended.getByText("platform").waitFor();
  await page.getByText(/^expires at: \d+ [A-Z][a-z]{2} \d\d:\d\d:\d\d$/).first().waitFor();
  await accessible(page, "audit log");
  await server.call("PATCH", "/v1/accounts/acme", { name: "Acme Inc." });
  await page.getByLabel("What", { exact: true }).selectOption("account.*");
  await page.getByText("name: Acme → Acme Inc.").waitFor();
  assert.equal(await ended.count(), 0);
  assert.equal(new URL(page.url()).search, "?action=account.*");
  await page.getByLabel("By: the id of a key or session").fill("key_nobody");
  await page.getByText("Nothing in the audit log matches.").waitFor();
  await page.getByRole("button", { name: "Clear filters" }).last().click();
  await ended.waitFor();
  // The one list that spans accounts is reached, and left, by the switcher.
  await page.getByRole("button", { name: /^Account: acme/ }).click();
  await page.getByRole("option", { name: "All accounts" }).click();
  await page.waitForURL(`${server.url}/audit`);
  await page.getByText("in acme").first().waitFor();
  await page.getByText("Acme Inc.").first().waitFor();
  await page.getByRole("button", { name: /^Account: All accounts/ }).click();
  await page.getByRole("option", { name: "Default" }).click();
  await page.waitForURL(`${server.url}/accounts/default/audit`);
});
