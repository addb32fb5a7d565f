// The portal in somebody else's page: another site, third-party cookies off, one account only.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { after, test } from "node:test";
import { chromium } from "playwright-core";
import { accessible, browse, files, FLAGS, KEY, PATIENCE, quit, receive, serve, until } from "./harness.js";

after(quit);

/** A port that is free now. */
async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "localhost", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** The example's own server, as its README starts it. */
async function platform(t, server, port) {
  const child = spawn(process.execPath, [join(import.meta.dirname, "../../examples/portal/server.mjs")], {
    env: { PATH: process.env.PATH, POSTHASTE_URL: server.url, POSTHASTE_KEY: KEY, ACCOUNT: "acme", PORT: String(port) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  for await (const line of createInterface({ input: child.stdout })) return line.trim();
  throw new Error("the example ended");
}

test("a customer looks after their webhooks in a frame of another site", async (t) => {
  // The example listens on localhost, posthaste on 127.0.0.1: two sites.
  const port = await freePort();
  const server = await serve(t, "--portal-origin", `http://localhost:${port}`);
  const host = await platform(t, server, port);
  const receiver = await receive(t);
  await server.post("/v1/accounts", { id: "acme", name: "Acme" });
  await server.webhook({ name: "Not theirs", url: receiver.url });
  await server.call("POST", "/v1/accounts/acme/webhooks", { name: "Theirs", url: receiver.url, events: ["*"] });

  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: [...FLAGS, "--test-third-party-cookie-phaseout"] });
  t.after(() => browser.close());
  const context = await browser.newContext();
  await files(context, server);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const faults = [];
  page.on("pageerror", (error) => faults.push(`exception: ${error.stack}`));
  // Chromium keeps `autofocus` from frames of another site, and says so; the dialog puts the focus into itself all the same.
  page.on("console", (message) => message.type() === "error" && !message.text().startsWith("Blocked autofocusing") && faults.push(message.text()));
  await page.goto(host);
  const portal = page.frameLocator("posthaste-portal iframe");
  await portal.getByRole("link", { name: "Theirs" }).click();
  await portal.getByRole("heading", { name: "Theirs" }).waitFor();
  await portal.getByText("Live", { exact: true }).waitFor();
  assert.equal(await portal.getByText("Not theirs").count(), 0);
  await portal.getByRole("button", { name: "Send test" }).first().click();
  await portal.getByRole("button", { name: "Send", exact: true }).click();
  await portal.getByText(/✓ 200 in/).waitFor();
  assert.equal(receiver.requests.length, 1);
  // The host's colours are taken; the frame is as high as what is in it.
  assert.equal(await portal.locator("html").evaluate((html) => getComputedStyle(html).getPropertyValue("--accent").trim()), "#0a5f41");
  const heights = async () => [await page.locator("posthaste-portal iframe").evaluate((frame) => frame.clientHeight), await portal.locator("html").evaluate((html) => html.scrollHeight)];
  // The frame says its height after it has drawn; heights are fractions of a pixel.
  await until(heights, ([outer, inner]) => outer >= inner - 1, "the frame is as high as what is in it");
  assert.deepEqual(await page.context().cookies(server.url), []);
  assert.deepEqual(faults, []);
  // The frame is higher than the window by far: what is said in passing, and what is asked, is in sight wherever the page around stands.
  await portal.getByRole("button", { name: "Close" }).first().click();
  await portal.getByRole("link", { name: /^Logs/ }).click();
  await portal.locator("tbody tr").first().waitFor();
  await portal.locator("body").evaluate((body) => (body.style.minHeight = "4000px"));
  await until(heights, ([outer]) => outer >= 4_000, "the frame is high");
  const inSight = (what) => until(() => what.boundingBox(), (box) => box && box.y >= 0 && box.y + box.height <= page.viewportSize().height, "it is in sight");
  for (const top of [0, 1_500, 3_400]) {
    await page.evaluate((top) => scrollTo(0, top), top);
    await page.keyboard.press("d");
    await inSight(portal.getByRole("region", { name: "Notice" }));
    for (const key of ["?", "Control+k"]) {
      await page.keyboard.press(key);
      await inSight(portal.getByRole("dialog"));
      await page.keyboard.press("Escape");
      await portal.getByRole("dialog").waitFor({ state: "detached" });
    }
    assert.equal(await page.evaluate(() => scrollY), top, "and the page around stands where it stood");
  }
  await portal.locator("body").evaluate((body) => (body.style.minHeight = ""));
  // What a customer may not see is not offered either; and the page around says where it begins.
  await portal.locator("body").press("Control+k");
  await portal.getByRole("option", { name: /Event types/ }).first().waitFor();
  assert.equal(await portal.getByRole("option", { name: /API keys|Audit log/ }).count(), 0);
  await page.evaluate(() => {
    const element = document.querySelector("posthaste-portal");
    const again = element.cloneNode();
    again.setAttribute("path", "/webhooks?status=paused");
    element.replaceWith(again);
  });
  await portal.getByText("Theirs", { exact: true }).waitFor({ state: "detached" });
  await portal.getByLabel("Status").waitFor();
  assert.equal(await portal.getByLabel("Status").inputValue(), "paused");
  // Nothing of another account opens, whatever address is asked for.
  const token = (await server.call("POST", "/v1/accounts/acme/portal-sessions", {})).token;
  const foreign = await fetch(`${server.url}/v1/accounts/default/webhooks`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(foreign.status, 404);
});

test("a page that is not listed cannot frame the portal, nor anybody the dashboard", async (t) => {
  const server = await serve(t, "--portal-origin", "https://platform.example.com");
  const page = await browse(t, server, "/accounts/default/webhooks");
  await page.getByRole("heading", { name: "Webhooks", exact: true, level: 1 }).waitFor();
  const policy = async (path) => (await fetch(server.url + path, { headers: { accept: "text/html" } })).headers.get("content-security-policy");
  assert.match(await policy("/portal"), /frame-ancestors https:\/\/platform\.example\.com/);
  assert.match(await policy("/accounts/default/webhooks"), /frame-ancestors 'none'/);
});

test("a portal's one-time link shows its account and nothing else", async (t) => {
  const server = await serve(t);
  await server.post("/v1/accounts", { id: "acme", name: "Acme" });
  const { url } = await server.call("POST", "/v1/accounts/acme/portal-sessions", {});
  const page = await browse(t, server, url.slice(new URL(url).origin.length), { key: null });
  await page.getByText("A webhook sends your events to a URL, signed and retried.").waitFor();
  assert.equal(new URL(page.url()).pathname, "/accounts/acme/webhooks");
  assert.equal(await page.getByRole("link", { name: "System" }).count(), 0);
  assert.equal(await page.getByRole("button", { name: /Account/ }).count(), 0);
  // What only whoever runs the server can do is not told to their customers.
  await page.getByRole("link", { name: "Event types" }).first().click();
  await page.getByText("That is all: 16.").waitFor();
  assert.equal(await page.getByText("--catalogue").count(), 0);
});

test("whoever may only look sees what there is, what they may not do, and why", async (t) => {
  const server = await serve(t, "--retry-schedule", "1s");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 500 });
  await server.post("/v1/accounts", { id: "acme", name: "Acme" });
  const { id } = await server.call("POST", "/v1/accounts/acme/webhooks", { name: "Theirs", url: receiver.url, events: ["*"] });
  await server.call("POST", "/v1/events", { account: "acme", event: "alert.rule_created", data: {} });
  await receiver.got(2);
  const { url } = await server.call("POST", "/v1/accounts/acme/portal-sessions", { access: "read" });
  const page = await browse(t, server, url.slice(new URL(url).origin.length), { key: null });
  await page.getByRole("link", { name: "Theirs" }).waitFor();
  const disabled = (name) => page.getByRole("button", { name, exact: true, disabled: true }).first().waitFor();
  await disabled("+ New Webhook");
  await page.keyboard.press("n");
  await page.getByText("Your session may not do this: it lacks webhooks:write.").first().waitFor();
  await page.getByRole("link", { name: "Theirs" }).click();
  await disabled("Pause");
  await disabled("Send test");
  await accessible(page, "a webhook, to look at only");
  await page.getByRole("link", { name: "Settings", exact: true }).click();
  await page.getByText("You may look at these settings.").waitFor();
  await disabled("Reveal");
  await disabled("Delete…");
  await accessible(page, "settings, to look at only");
  await page.getByRole("link", { name: /^Logs/ }).click();
  await page.getByRole("link", { name: "alert.rule_created" }).click();
  await disabled("Replay now");
  const { status } = await server.get(`/v1/accounts/acme/webhooks/${id}`);
  assert.equal(status, "active");
});
