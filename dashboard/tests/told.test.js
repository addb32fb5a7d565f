// What is told above the page, and beside it: banners, and whether what is shown is live.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, quit, receive, serve } from "./harness.js";

after(quit);

test("a webhook that we paused is told on every screen, until it is resumed", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 410 });
  const { id } = await server.webhook({ url: receiver.url });
  const page = await browse(t, server, "/accounts/default/events");
  await page.getByText("No event has been accepted yet.").waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await server.event();
  const banner = page.getByRole("status").filter({ hasText: /CRM Sync: Paused by us .* 410 Gone/ });
  await banner.waitFor();
  await accessible(page, "banner of a paused webhook");
  await banner.getByRole("link", { name: "Open it" }).click();
  await page.waitForURL(new RegExp(`/webhooks/${id}$`));
  receiver.answer = () => ({ status: 200 });
  await server.post(`/v1/accounts/default/webhooks/${id}/resume`, { held: "deliver" });
  await banner.waitFor({ state: "detached" });
});

test("an operator is told that the disk is full, and above that, that sending is behind", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, null);
  let change = { disk_bytes: 100_000, disk_free_bytes: 8_000 };
  await page.route("**/v1/system", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), ...change } });
  });
  await page.goto(`${server.url}/system`);
  await page.getByText("The disk is 92 % full.").waitFor();
  await accessible(page, "banner of the disk");
  change = { ...change, oldest_due_seconds: 250 };
  await page.getByText("Sending is 4 min behind.").waitFor();
  assert.equal(await page.getByText("The disk is 92 % full.").count(), 0, "one banner at a time");
  change = { trouble: "Sending has stopped." };
  await page.getByRole("status").getByText("Sending has stopped.").waitFor();
  change = {};
  await page.getByRole("status").getByText("Sending has stopped.").waitFor({ state: "detached" });
});

test("without the stream the page asks instead, and says so; with it again it is live", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  await server.webhook({ url: receiver.url });
  const page = await browse(t, server, null, { expects: [/status of 503 .*\/stream/] });
  await page.route("**/stream", (route) => route.fulfill({ status: 503, body: "no streams here" }));
  await page.goto(`${server.url}/accounts/default/deliveries`);
  await page.getByText("Polling", { exact: true }).waitFor();
  await server.event();
  await page.getByRole("link", { name: "alert.domain_matched" }).waitFor();
  await accessible(page, "polling");
  await page.unroute("**/stream");
  await page.getByText("Live", { exact: true }).waitFor();
});

/**
 * A page that has begun while its stream, and the list of deliveries, did not come through, as after a long outage: the next try is seconds
 * away, and the page's clock stands still from now on, so that what happens next waits for no timer. `back` ends the outage.
 */
async function outage(t, server) {
  const page = await browse(t, server, null, { expects: [/ERR_FAILED/] });
  await page.clock.install();
  let begun = false;
  const away = (route) => {
    if (!/\/v1\/(.*\/stream|.*\/deliveries\?.*|sessions\/current)$/.test(route.request().url())) return route.fallback();
    // Whoever looks is known; later nothing says that the server answers, since then it would be asked in the stream's place.
    if (route.request().url().endsWith("/current") && !begun) return (begun = true), route.fallback();
    return route.abort();
  };
  await page.route("**/v1/**", away);
  await page.goto(`${server.url}/accounts/default/deliveries`);
  await page.getByRole("alert").getByText("The server cannot be reached").waitFor();
  await page.getByText(/Reconnecting \(([5-9]|\d\d) s\)/).waitFor();
  await page.clock.pauseAt((await page.evaluate(() => Date.now())) + 1_000);
  return { page, back: () => page.unroute("**/v1/**", away) };
}

test("the stream is back as soon as somebody looks, and what could not be read meanwhile is read", async (t) => {
  const server = await serve(t);
  const { page, back } = await outage(t, server);
  await back();
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByText("No event has been delivered yet.").waitFor();
  assert.equal(await page.getByText("cannot be reached").count(), 0, "nothing old stands beside it");
});

test("the stream is back as soon as anything else is answered", async (t) => {
  const server = await serve(t);
  const { page, back } = await outage(t, server);
  await back();
  await page.getByRole("link", { name: "Events", exact: true }).click();
  await page.getByText("Live", { exact: true }).waitFor();
});

test("a page that begins while the server is away comes by itself", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, null, { expects: [/ERR_FAILED/] });
  await page.clock.install();
  await page.route("**/v1/brand", (route) => route.abort());
  await page.goto(`${server.url}/accounts/default/webhooks`);
  await page.getByText("The server cannot be reached").waitFor();
  await page.unroute("**/v1/brand");
  await page.clock.fastForward(60_000);
  await page.getByRole("heading", { name: "Webhooks", exact: true, level: 1 }).waitFor();
});

test("a newer version of the page is told after the stream was away, and loaded on asking", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks");
  await page.getByText("Live", { exact: true }).waitFor();
  // A stream that ends, as with a server that is replaced, and a page that starts with another script.
  await page.route("**/stream", (route) => route.fulfill({ contentType: "text/event-stream", body: "retry: 2000\nid: 1\n: connected\n\n" }));
  await page.route(`${server.url}/`, (route) => route.fulfill({ contentType: "text/html", body: '<script type="module" src="assets/index-newer.js"></script>' }));
  await page.reload();
  await page.evaluate(() => (globalThis.before = true));
  await page.getByText("There is a new version of this page.").waitFor();
  await accessible(page, "banner of a new version");
  await page.unroute("**/stream");
  await page.unroute(`${server.url}/`);
  await page.getByRole("button", { name: "Reload" }).click();
  await page.waitForFunction(() => globalThis.before === undefined);
  await page.getByText("Live", { exact: true }).waitFor();
  assert.equal(await page.getByText("There is a new version").count(), 0);
});

test("a screen that does not come while the server is away says so, and comes by itself once it is back", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/deliveries", { expects: [/ERR_CONNECTION_REFUSED/, /status of 404 .*\/assets\//] });
  await page.getByText("Live", { exact: true }).waitFor();
  const away = (route) => route.abort("connectionrefused");
  await page.route(`${server.url}/**`, away);
  await page.getByRole("link", { name: "Events", exact: true }).click();
  const alert = page.getByRole("alert");
  await alert.getByText("The server cannot be reached").waitFor();
  assert.equal(await page.getByText("older than the server").count(), 0);
  await page.unroute(`${server.url}/**`, away);
  await page.getByText("No event has been accepted yet.").waitFor();
  assert.equal(await alert.count(), 0);

  // Only a page that the server no longer has is older than the server.
  await page.route("**/assets/**", (route) => route.fulfill({ status: 404 }));
  await page.route(`${server.url}/`, (route) => route.fulfill({ contentType: "text/html", body: '<script type="module" src="assets/index-newer.js"></script>' }));
  await page.getByRole("link", { name: "Replays", exact: true }).click();
  await alert.getByText("This page is older than the server").waitFor();
  await page.unrouteAll();
  await alert.getByRole("button", { name: "Try again" }).click();
  await page.getByText("A replay sends many deliveries again").waitFor();
});

test("of nodes that leave it is told what they still hold, and of those that died only that", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks");
  const at = new Date().toISOString();
  const node = (name, status, shards) => ({ name, version: "0.1.0", since: at, heard: at, status, here: status === "live", shards, in_flight: shards, known: shards, oldest_due: null });
  const nodes = [node("goes", "leaving", 24), node("died", "gone", 0), node("stays", "live", 700)];
  await page.route("**/v1/cluster", (route) => route.fulfill({ json: { shared: true, shards: 1024, free: 300, oldest_due: null, lag_seconds: 0, refused: 0, nodes } }));
  await page.goto(`${server.url}/system`);
  const told = async (name) => (await page.getByRole("row").filter({ has: page.getByRole("rowheader", { name }) }).getByRole("cell").allInnerTexts()).slice(0, 4);
  await page.getByRole("rowheader", { name: "stays" }).waitFor();
  assert.deepEqual(await told("stays"), ["live", "700", "700", "700"]);
  assert.deepEqual(await told("goes"), ["leaving", "24", "24", "24"]);
  assert.match((await told("died")).join(" "), /^gone, heard .* — — —$/);
  // Those that are there come first.
  assert.deepEqual(await page.getByRole("rowheader").allInnerTexts().then((names) => names.map((name) => name.split(" ")[0]).slice(0, 3)), ["stays", "goes", "died"]);
});
