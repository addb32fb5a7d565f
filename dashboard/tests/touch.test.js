import assert from "node:assert/strict";
import { after, test } from "node:test";
import { browse, quit, receive, serve, tooWide } from "./harness.js";

after(quit);

/** What a finger meets that is smaller than 44 px: buttons, fields, and boxes with their labels. Links in text may be as their line is. */
const small = (page) =>
  page.evaluate(() => {
    const all = [...document.querySelectorAll("button, .button, select, textarea, input:not([type=hidden]), nav a, [role=menuitem]")];
    return all.flatMap((element) => {
      const target = element.matches("[type=checkbox], [type=radio]") ? (element.closest("label") ?? element) : element;
      const { width, height } = target.getBoundingClientRect();
      const shown = element.checkVisibility() && width > 1 && height > 1;
      return shown && (Math.round(width) < 44 || Math.round(height) < 44) ? [`${element.getAttribute("aria-label") ?? element.textContent.trim() ?? element.id}: ${Math.round(width)} × ${Math.round(height)}`] : [];
    });
  });

test("what a finger presses is 44 px wide and high, on a phone and on a wide screen that is touched", async (t) => {
  const server = await serve(t, "--retry-schedule", "1h");
  const receiver = await receive(t);
  const { id } = await server.webhook({ url: receiver.url, headers: { "X-Token": "1" } });
  const { id: event } = await server.event();
  const { data } = await server.until("/v1/accounts/default/deliveries?status=delivered", ({ data }) => data.length === 1);
  const at = "/accounts/default";
  const screens = [`${at}/webhooks`, `${at}/webhooks/${id}`, `${at}/webhooks/${id}/settings`, `${at}/webhooks/new`, `${at}/deliveries`, `${at}/deliveries/${data[0].id}`, `${at}/events/${event}`, `${at}/replays/new`, `${at}/audit`, "/signature-check"];
  for (const width of [360, 1280]) {
    const page = await browse(t, server, null, { width, context: { hasTouch: true, isMobile: true } });
    for (const path of screens) {
      await page.goto(server.url + path);
      await page.locator("main h1").first().waitFor({ state: "attached" });
      await page.locator("main [aria-busy=true]").first().waitFor({ state: "detached" });
      await page.locator("main :is(button, a, input):visible").first().waitFor();
      assert.deepEqual(await small(page), [], `${path} at ${width} px`);
      assert.equal(await tooWide(page), 0, `${path} at ${width} px is wider than the window`);
    }
  }
});

test("on a phone every menu of the filter is in sight", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/deliveries", { width: 390, height: 844, context: { hasTouch: true, isMobile: true } });
  for (const name of ["Status", "Event", "Code", "Error", "Tests", "Since"]) {
    await page.getByRole("button", { name: new RegExp(`^${name}`) }).click();
    const menu = page.getByRole("menu");
    await menu.waitFor();
    const box = await menu.boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 390, `${name}: ${JSON.stringify(box)}`);
    await page.keyboard.press("Escape");
    await menu.waitFor({ state: "detached" });
  }
});
