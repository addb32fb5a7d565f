import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, test } from "node:test";
import { accessible, browse, KEY, quit, receive, serve, until } from "./harness.js";

after(quit);

const at = (webhook, rest) => `/accounts/default/webhooks/${webhook.id}/${rest}`;
const hmac = (secret, body) => `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;

test("the secret is shown on asking, and rotated without a request that cannot be verified", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const webhook = await server.webhook({ url: receiver.url });
  const page = await browse(t, server, at(webhook, "settings"));
  await page.getByRole("heading", { name: "Signing secret" }).waitFor();
  assert.ok(!(await page.content()).includes(webhook.secret));
  await page.getByRole("button", { name: "Reveal" }).click();
  await page.getByText(webhook.secret).waitFor();
  await page.getByRole("button", { name: "Rotate…" }).click();
  await accessible(page, "rotate");
  await page.getByRole("button", { name: "Rotate", exact: true }).click();
  await page.getByText(/Two secrets until/).waitFor();
  await accessible(page, "settings, two secrets");
  await server.event();
  await receiver.got(1);
  const [{ headers, body }] = receiver.requests;
  assert.equal(headers["x-crondb-signature"], hmac(webhook.secret, body), "the old secret still signs the page's header");
  await page.getByRole("button", { name: /End now/ }).click();
  await page.getByText(/Two secrets until/).waitFor({ state: "detached" });
  const { secret } = await server.get(`/v1/accounts/default/webhooks/${webhook.id}/secret`);
  assert.notEqual(secret, webhook.secret);
  await page.getByText(secret).waitFor();
  await server.event();
  await receiver.got(2);
  assert.equal(receiver.requests[1].headers["x-crondb-signature"], hmac(secret, receiver.requests[1].body));
  // Rotated elsewhere meanwhile, it is the present one that is revealed.
  await page.getByRole("button", { name: "Hide" }).click();
  const elsewhere = await server.post(`/v1/accounts/default/webhooks/${webhook.id}/secret/rotate`, { overlap: "0s" });
  await page.getByRole("button", { name: "Reveal" }).click();
  await page.getByText(elsewhere.secret).waitFor();
});

test("two secrets are told to whoever looks, and the next rotation waits for the end of this one", async (t) => {
  const server = await serve(t);
  const webhook = await server.webhook({ url: "https://hooks.example.com/x" });
  const path = `/v1/accounts/default/webhooks/${webhook.id}/secret`;
  const page = await browse(t, server, at(webhook, "settings"));
  const rotate = page.getByRole("button", { name: "Rotate…" });
  await rotate.waitFor();
  assert.ok(await rotate.isEnabled());
  // Somebody else rotates: told here at once, and nothing of it needs a secret to be revealed.
  await server.post(`${path}/rotate`, { overlap: "24h" });
  await page.getByText(/Two secrets until .*, in (24 h|1 d|23 h 59 min)/).waitFor();
  await page.getByText("X-CronDB-Signature carries the old secret's signature.").waitFor();
  assert.ok(await rotate.isDisabled());
  assert.equal(await rotate.getAttribute("title"), "Two secrets sign already. End that first.");
  const audit = await server.get("/v1/accounts/default/audit");
  assert.ok(!JSON.stringify(audit).includes("secret_revealed"));
  await accessible(page, "settings, two secrets, none shown");
  await page.getByRole("button", { name: /End now/ }).click();
  await page.getByText(/Two secrets until/).waitFor({ state: "detached" });
  await until(() => rotate.isEnabled(), Boolean, "it can be rotated again");
});

test("the browser's Back asks before it leaves what is not saved", async (t) => {
  const server = await serve(t);
  const webhook = await server.webhook({ url: "https://hooks.example.com/x" });
  const page = await browse(t, server, "/accounts/default/webhooks");
  await page.getByRole("link", { name: webhook.name }).first().click();
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByLabel("Name", { exact: true }).fill("Not saved yet");
  const asked = [];
  page.on("dialog", (dialog) => {
    asked.push(dialog.message());
    return asked.length === 1 ? dialog.dismiss() : dialog.accept();
  });
  await page.evaluate(() => history.back());
  await until(() => asked.length, (times) => times === 1, "it asks");
  assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "Not saved yet");
  assert.match(page.url(), /\/settings$/);
  await page.evaluate(() => history.back());
  await page.getByLabel("Name", { exact: true }).waitFor({ state: "detached" });
  assert.equal(asked.length, 2);
});

test("settings that were typed are there again after the session has ended, and gone once they are left", async (t) => {
  const server = await serve(t);
  const webhook = await server.webhook({ url: "https://hooks.example.com/x" });
  const page = await browse(t, server, at(webhook, "settings"), { expects: [/status of 401/] });
  const name = page.getByLabel("Name", { exact: true });
  await name.fill("Typed for long");
  await page.getByRole("button", { name: "+ Add header" }).click();
  await page.getByLabel("Name of header 1").fill("X-Api-Key");
  await page.getByLabel("Value of header 1").fill("s3cr3t");
  // The session ends; saving is how one hears of it.
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByLabel("Key", { exact: true }).fill(KEY);
  await page.keyboard.press("Enter");
  await page.getByText("What you had changed before is here again, and not saved yet.").waitFor();
  await accessible(page, "settings, typed before");
  assert.equal(await name.inputValue(), "Typed for long");
  assert.equal(await page.getByLabel("Value of header 1").inputValue(), "s3cr3t");
  // Somebody else's change meanwhile is met as ever.
  const path = `/v1/accounts/default/webhooks/${webhook.id}`;
  await server.call("PATCH", path, { url: "https://hooks.example.com/theirs" });
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByText("Saved", { exact: true }).first().waitFor();
  const now = await server.get(path);
  assert.deepEqual([now.name, now.url, Object.keys(now.headers)], ["Typed for long", "https://hooks.example.com/theirs", ["X-Api-Key"]]);
  // What somebody leaves on purpose does not come back.
  await name.fill("Never mind");
  page.on("dialog", (dialog) => dialog.accept());
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByText("Nothing to save.").waitFor();
  assert.equal(await name.inputValue(), "Typed for long");
});

test("code that checks signatures is there in the reader's language, which is remembered", async (t) => {
  const server = await serve(t);
  const webhook = await server.webhook({ url: "https://hooks.example.com/x" });
  const page = await browse(t, server, at(webhook, "settings"));
  await page.getByText("hmac.compare_digest").waitFor();
  for (const language of ["Node", "Go", "Rust", "Ruby", "PHP", "Java", "C#", "openssl"]) {
    await page.getByRole("tab", { name: language, exact: true }).click();
    assert.ok((await page.getByRole("region", { name: "Code", exact: true }).textContent()).length > 60, language);
  }
  await page.getByRole("tab", { name: "Go", exact: true }).click();
  await page.reload();
  await page.getByRole("tab", { name: "Go", exact: true, selected: true }).waitFor();
});

test("settings are saved only if changed, and somebody else's change is shown instead of lost", async (t) => {
  const server = await serve(t);
  const webhook = await server.webhook({ url: "https://hooks.example.com/x", headers: { "X-Token": "kept as it is" } });
  const page = await browse(t, server, at(webhook, "settings"), { expects: [/status of 422/] });
  const save = page.getByRole("button", { name: "Save", exact: true });
  await page.getByText("Nothing to save.").waitFor();
  assert.equal(await save.getAttribute("aria-disabled"), "true");
  await accessible(page, "settings");
  const path = `/v1/accounts/default/webhooks/${webhook.id}`;
  await page.getByLabel("URL", { exact: true }).fill("https://10.0.0.1/x");
  await save.click();
  const summary = page.locator("main [role=alert]");
  await summary.getByText(/^URL: /).waitFor();
  await summary.locator("code", { hasText: /^--allow-private$/ }).waitFor();
  // Once it is mended nothing is wrong any more, neither above nor beside the field.
  await page.getByLabel("URL", { exact: true }).fill(webhook.url);
  await summary.waitFor({ state: "detached" });
  assert.equal(await page.locator("p.error").count(), 0);
  // A header that is renamed without its value: whoever saved it far below is led to where it is said.
  await page.getByLabel("Name of header 1").fill("X-Renamed");
  await page.getByLabel("In flight").fill("0");
  await save.click();
  await summary.getByText(/^Headers: The value of X-Renamed is needed/).waitFor();
  await page.locator("button:focus", { hasText: "+ Add header" }).waitFor();
  await page.locator("p.error", { hasText: "X-Renamed" }).waitFor();
  // A field is called what it is called here, and what is to be typed stands apart.
  await summary.getByText("In flight must be a whole number from 1 to 1000, not 0.").waitFor();
  await page.getByLabel("Name of header 1").fill("X-Token");
  await until(() => summary.getByRole("link").allTextContents(), (all) => all.join() === "In flight", "what was not mended is told still");
  await summary.getByRole("link", { name: "In flight" }).click();
  assert.equal(await page.getByLabel("In flight").evaluate((input) => input === document.activeElement), true);
  await page.getByLabel("In flight").fill("");
  await summary.waitFor({ state: "detached" });
  await page.getByLabel("URL", { exact: true }).fill("https://hooks.example.com/mine");
  await server.call("PATCH", path, { url: "https://hooks.example.com/theirs", name: "Renamed elsewhere" });
  await save.click();
  await page.getByText("Somebody else changed this webhook while you did.").waitFor();
  await page.getByText("https://hooks.example.com/theirs").first().waitFor();
  await page.getByRole("button", { name: "Save mine" }).click();
  await page.getByText("Saved", { exact: true }).first().waitFor();
  const now = await server.get(path);
  assert.deepEqual([now.url, now.name], ["https://hooks.example.com/mine", "Renamed elsewhere"]);
  assert.deepEqual(Object.keys(now.headers), ["X-Token"]);
});

test("a key is made, shown once, and revoked", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/keys");
  await page.getByText("This account has no key yet.").waitFor();
  await accessible(page, "keys, none");
  await page.getByRole("button", { name: "+ New key" }).first().click();
  await page.getByLabel("Name", { exact: true }).fill("import");
  await page.getByRole("checkbox", { name: /Post events/ }).check();
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByText("It is shown this once").waitFor();
  const key = await page.locator("dialog code", { hasText: "pha_" }).textContent();
  await accessible(page, "a new key");
  await page.getByRole("button", { name: "Done" }).click();
  const posted = () => fetch(`${server.url}/v1/events`, { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: '{"event":"alert.rule_created","data":{}}' });
  assert.equal((await posted()).status, 202);
  await accessible(page, "keys");
  await page.getByRole("button", { name: "Revoke…" }).click();
  await page.getByRole("button", { name: "Revoke", exact: true }).click();
  await page.getByText("This account has no key yet.").waitFor();
  assert.equal((await posted()).status, 401);
});
