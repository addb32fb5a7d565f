// Every screen, taken from the app's own routes: a new one is looked at here without being named. axe finds nothing on any
// of them, in light and dark, at 1280 and 390 px; each has one h1, a title, and is quiet.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { accessible, browse, dev, quit } from "./harness.js";

after(quit);

const source = readFileSync(join(import.meta.dirname, "../src/routes.ts"), "utf8");
const patterns = [...source.matchAll(/pattern: "([^"]+)"/g)].map(([, pattern]) => pattern);

test("every screen of the app's routes is accessible", async (t) => {
  assert.ok(patterns.length >= 24, `only ${patterns.length} routes were found`);
  // A pattern that is written in another way would be missed.
  assert.equal(patterns.length, source.match(/\{ pattern: /g).length);
  const server = await dev(t, "--retry-schedule", "1s,1h", "--egress-ip", "127.0.0.1");
  const [webhook] = (await server.get("/v1/accounts/default/webhooks")).data;
  const { data: failed } = await server.until("/v1/accounts/default/deliveries?code=5xx", ({ data }) => data.length > 0);
  const [delivery] = failed;
  const replay = await server.post("/v1/accounts/default/replays", { status: "delivered,failed,cancelled", since: "24h", rate: 1 });
  await server.post("/v1/accounts/default/keys", { name: "import", scopes: ["events:write"] });
  await server.post("/v1/accounts/default/portal-sessions", {});
  const values = { account: "default", id: webhook.id, delivery: delivery.id, event: delivery.event_id, replay: replay.id, name: "demo" };
  const page = await browse(t, server, "/");
  await page.getByText("Live", { exact: true }).waitFor();
  const seen = [];
  for (const pattern of patterns) {
    const path = pattern.replace(/:(\w+)/g, (_, name) => {
      assert.ok(values[name], `say above which ${name} is shown for ${pattern}`);
      return values[name];
    });
    await page.goto(server.url + path);
    await page.locator("main h1").first().waitFor();
    await page.locator("main [aria-busy=true]").first().waitFor({ state: "detached" });
    assert.equal(await page.locator("h1").count(), 1, `${path} has one h1`);
    assert.ok(!(await page.getByRole("heading", { name: "Not found" }).count()), `${path} is there`);
    assert.match(await page.title(), / · CronDB$/, path);
    await accessible(page, path);
    seen.push(pattern);
  }
  t.diagnostic(`${seen.length} screens`);
});

test("what stands over every screen is accessible: palette, keys, switcher, menus, and signing in", async (t) => {
  const server = await dev(t);
  const page = await browse(t, server, "/accounts/default/webhooks");
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Demo inbox" }).waitFor();
  // In the reader's own colours the present place is outlined, since its ground is not seen.
  await page.emulateMedia({ forcedColors: "active" });
  const place = page.getByRole("navigation", { name: "Places" }).locator("[aria-current=page]");
  assert.equal(await place.evaluate((link) => getComputedStyle(link).outlineStyle), "solid");
  await page.emulateMedia({ forcedColors: "none" });
  await page.keyboard.press("ControlOrMeta+k");
  await page.getByRole("option", { name: /Demo inbox/ }).waitFor();
  await accessible(page, "palette");
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await accessible(page, "keys");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: /Account: default/ }).click();
  await page.getByRole("option", { name: /Default/ }).waitFor();
  await accessible(page, "account switcher");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Actions for Demo inbox" }).click();
  await page.getByRole("menuitem", { name: "Duplicate" }).waitFor();
  await accessible(page, "menu of a row");
  await page.keyboard.press("Escape");
  await page.setViewportSize({ width: 390, height: 800 });
  await page.getByRole("button", { name: "Menu", exact: true }).click();
  await page.getByRole("dialog", { name: "Menu" }).waitFor();
  await accessible(page, "drawer");
  const made = await server.post("/v1/accounts/default/portal-sessions", {});
  const portal = await browse(t, server, made.url.slice(new URL(made.url).origin.length), { key: null });
  await portal.getByRole("link", { name: "Demo inbox" }).waitFor();
  await accessible(portal, "portal");
  const nobody = await browse(t, server, "/", { key: null });
  await nobody.getByLabel("Key").waitFor();
  await accessible(nobody, "sign-in");
});
