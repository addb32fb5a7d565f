import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, quit, receive, serve } from "./harness.js";

after(quit);

const TURNED = "\u202eevil";
const ARABIC = "شركة 2030";

/** Everything on the page that is read or shown in passing. */
const written = (page) =>
  page.evaluate(() => {
    const attributes = [...document.querySelectorAll("[title], [aria-label]")].flatMap((element) => [element.title, element.getAttribute("aria-label") ?? ""]);
    return [document.title, document.body.innerText, ...attributes].join("\n");
  });

/** Whether what stands behind the first element that `selector` finds is also seen behind it. */
const keepsOrder = (locator, selector) =>
  locator.evaluate((element, selector) => {
    const name = element.querySelector(selector);
    const range = document.createRange();
    range.selectNodeContents(name.nextSibling);
    const boxes = [...range.getClientRects()].filter(({ width }) => width > 0);
    // On the same line it is to the right of it, letter by letter.
    return boxes.length > 0 && boxes.every((box) => box.top > name.getBoundingClientRect().top + 4 || box.left >= name.getBoundingClientRect().right - 1);
  }, selector);

test("names and answers that turn round the order of writing are written out, and change nothing beside them", async (t) => {
  const server = await serve(t, "--retry-schedule", "1h");
  const receiver = await receive(t);
  receiver.answer = () => ({ status: 500, body: "\u202edenruter 123", headers: { "content-type": "text/plain; charset=utf-8" } });
  const turned = await server.webhook({ name: TURNED, url: receiver.url });
  const arabic = await server.webhook({ name: ARABIC, url: `${receiver.url}/2` });
  const { id: event } = await server.event("alert.domain_matched", { domain: "مثال 12", said: "\u2067turned" });
  await server.until("/v1/accounts/default/deliveries?code=500", ({ data }) => data.length === 2);
  const { data: deliveries } = await server.get("/v1/accounts/default/deliveries");
  const page = await browse(t, server, null, { expects: [/status of 404 .*webhooks/] });
  const at = "/accounts/default";
  const shown = [
    [`${at}/webhooks`, "\\u{202e}evil"],
    [`${at}/webhooks/${turned.id}`, "\\u{202e}evil"],
    [`${at}/webhooks/${turned.id}/settings`, "\\u{202e}evil"],
    [`${at}/events/${event}`, "\\u{202e}evil"],
    [`${at}/deliveries/${deliveries.find(({ webhook_id }) => webhook_id === turned.id).id}`, "“\\u{202e}denruter 123”"],
    [`${at}/audit`, "\\u{202e}evil"],
  ];
  for (const [path, text] of shown) {
    await page.goto(server.url + path);
    await page.getByText(text).first().waitFor();
    assert.doesNotMatch(await written(page), /[\u202a-\u202e\u2066\u2067]/, path);
  }

  await page.goto(`${server.url}${at}/deliveries`);
  const row = page.locator("tbody tr", { hasText: "شركة" });
  await row.getByText(/500 · attempt 1/).waitFor();
  assert.ok(await keepsOrder(row.locator(".why"), "bdi"), "a row of the log");

  await page.goto(`${server.url}${at}/webhooks/${arabic.id}`);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("dialog").getByRole("heading", { name: /شركة/ }).waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
  await page.getByLabel("Notice").getByText(`\u2068${ARABIC}\u2069 is paused`).waitFor();
  await accessible(page, "a webhook with an Arabic name");

  // What cannot be typed can be deleted all the same.
  await page.goto(`${server.url}${at}/webhooks/${turned.id}`);
  await page.getByRole("button", { name: "More actions" }).click();
  await page.getByRole("menuitem", { name: "Delete…" }).click();
  await page.getByLabel("Type \\u{202e}evil to delete it").fill("\\u{202e}evil");
  await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("link", { name: /شركة/ }).waitFor();
  assert.equal((await server.get("/v1/accounts/default/webhooks")).data.length, 1);
});
