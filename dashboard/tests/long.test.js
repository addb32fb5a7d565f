import assert from "node:assert/strict";
import { after, test } from "node:test";
import { browse, quit, receive, serve, tooWide, until } from "./harness.js";

after(quit);

const HOST = "webhooks.eu-west-1.integrations.customer-success.example-company.com";

/** Pairs of things in the header that lie over each other. */
const overlaps = (page) =>
  page.evaluate(() => {
    const all = [...document.querySelectorAll("header :is(a, button, li > span)")].filter((element) => element.getClientRects().length > 0 && !element.closest("[role=menu], .list"));
    const boxes = all.map((element) => ({ text: element.textContent.trim().slice(0, 30), box: element.getBoundingClientRect() }));
    return boxes.flatMap(({ text, box }, place) =>
      boxes.slice(place + 1).flatMap((other) => (box.right > other.box.left + 1 && other.box.right > box.left + 1 && box.bottom > other.box.top + 1 && other.box.bottom > box.top + 1 ? [`${text} / ${other.text}`] : [])),
    );
  });

/** What in the page is cut off, though it has to be read. */
const cut = (page, selector) => page.evaluate((selector) => [...document.querySelectorAll(selector)].filter((element) => element.getBoundingClientRect().right > innerWidth || element.scrollWidth > element.clientWidth + 1).map(({ textContent }) => textContent.slice(0, 60)), selector);

for (const [what, name] of [["the default name, of a long host", HOST], ["a name of 200 letters without a break", "x".repeat(200)]]) {
  test(`${what} fits everywhere, from 360 px on`, async (t) => {
    const server = await serve(t, "--retry-schedule", "1h");
    const receiver = await receive(t);
    receiver.answer = () => ({ status: 500, body: "y".repeat(200) });
    const { id } = await server.webhook({ name, url: `${receiver.url}/${"p".repeat(200)}` });
    const { id: event } = await server.event("alert.domain_matched", { domain: `${"d".repeat(200)}.com` });
    const { data } = await server.until("/v1/accounts/default/deliveries?code=500", ({ data }) => data.length === 1);
    await server.post(`/v1/accounts/default/keys`, { name: "k".repeat(200) });
    const page = await browse(t, server, "/accounts/default/webhooks");
    const at = "/accounts/default";
    const screens = [`${at}/webhooks`, `${at}/webhooks/${id}`, `${at}/webhooks/${id}/logs`, `${at}/webhooks/${id}/settings`, `${at}/webhooks/${id}/logs/${data[0].id}`, `${at}/deliveries`, `${at}/deliveries/${data[0].id}`, `${at}/events/${event}`, `${at}/event-types`, `${at}/replays/new?webhook=${id}`, `${at}/keys`, `${at}/audit`];
    for (const path of screens) {
      await page.goto(server.url + path);
      await page.locator("main h1").first().waitFor();
      await page.locator("main [aria-busy=true]").first().waitFor({ state: "detached" });
      if (!/event-types|\/keys|replays/.test(path)) await page.getByText(name.slice(0, 20)).first().waitFor({ state: "attached" });
      for (const width of [1280, 900, 360]) {
        await page.setViewportSize({ width, height: 800 });
        assert.equal(await until(() => tooWide(page), () => true, path), 0, `${path} at ${width} px is wider than the window`);
        assert.deepEqual(await overlaps(page), [], `the header of ${path} at ${width} px`);
        assert.deepEqual(await cut(page, ".detail .ids > span, .detail .ids a"), [], `${path} at ${width} px cuts off what it says`);
      }
    }
  });
}

test("between phone and desk a list leaves out columns, and not what they say", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const { id } = await server.webhook({ name: "Ledger of the subsidiary", url: `${receiver.url}/a/place`, events: ["alert.domain_matched"] });
  await server.event();
  await server.until(`/v1/accounts/default/webhooks/${id}/stats`, ({ delivered }) => delivered === 1);
  const page = await browse(t, server, "/accounts/default/webhooks", { width: 820 });
  const name = page.getByRole("link", { name: "Ledger of the subsidiary" });
  const chart = page.getByRole("img", { name: /^Last 24 h/ });
  await chart.waitFor();
  const heads = () => page.getByRole("columnheader").allInnerTexts();
  assert.deepEqual(await heads(), ["Webhook", "Last 24 h", "Success", "Ended or held", "Actions"]);
  assert.ok((await name.boundingBox()).height < 30, "the name stands in one line");
  // The newest bar is the last one: nothing of the chart is cut off.
  const inside = () => chart.evaluate((svg) => svg.querySelector("rect:last-child").getBoundingClientRect().right <= svg.closest("td").getBoundingClientRect().right);
  assert.ok(await inside());
  await page.setViewportSize({ width: 1280, height: 800 });
  assert.deepEqual(await heads(), ["Webhook", "Events", "Last 24 h", "Success", "Ended or held", "Last attempt", "Actions"]);
  assert.ok((await page.getByRole("columnheader", { name: "Success" }).boundingBox()).width > 20, "what a column says can be read");
  // Cards say it again.
  await page.setViewportSize({ width: 390, height: 800 });
  await page.getByText("alert.domain_matched").waitFor();
  // Where one is, as far as it fits: nothing is cut in the middle of a letter.
  await page.setViewportSize({ width: 820, height: 800 });
  await page.goto(`${server.url}/accounts/default/webhooks/${id}/settings`);
  await page.getByRole("heading", { name: "Signing secret" }).waitFor();
  const crumbs = page.getByRole("navigation", { name: "You are here" });
  assert.ok(await crumbs.evaluate((nav) => nav.scrollWidth <= nav.clientWidth), "the way here is whole");
});
