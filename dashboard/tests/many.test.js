// The log with many rows, and a stream with much on it. What is measured is printed, and judged only when asked to:
//
//     npm run many                       100,000 rows, as the tests do
//     ROWS=1000000 GATES=1 npm run many  1,000,000 rows; a long task ends it with a failure
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { browse, quit, receive, serve } from "./harness.js";

after(quit);

const ROWS = Number(process.env.ROWS ?? 100_000);
const GATES = process.env.GATES === "1";
/** The longest task of a page that answers at once, in milliseconds. */
const LONG = 50;
const WEBHOOKS = 20;

/** Collects the tasks of a page that took 50 ms or longer, from now on. */
async function watchTasks(page) {
  await page.evaluate(() => {
    globalThis.tasks = [];
    new PerformanceObserver((list) => globalThis.tasks.push(...list.getEntries().map(({ duration }) => Math.round(duration)))).observe({ type: "longtask" });
  });
  return () => page.evaluate(() => globalThis.tasks);
}

function judge(t, what, tasks, extra = "") {
  t.diagnostic(`${what}: ${tasks.length} tasks of ${LONG} ms or longer${tasks.length ? `, the longest ${Math.max(...tasks)} ms` : ""}${extra}`);
  if (GATES) assert.deepEqual(tasks, [], what);
}

const batch = (server, events) => server.call("POST", "/v1/events", events.map((place) => ({ event: "alert.domain_matched", data: { domain: `d${place}.example.com`, confidence: 0.91 } })));
const numbers = (count) => Array.from({ length: count }, (_, place) => place);

test(`the first of ${ROWS.toLocaleString("en-US")} rows, and scrolling through them`, async (t) => {
  const server = await serve(t);
  // Held deliveries have a row each, and wait for nothing.
  for (const place of numbers(WEBHOOKS)) {
    const webhook = await server.webhook({ name: `Held ${place}`, url: `http://127.0.0.1:9/${place}`, events: ["alert.*"] });
    await server.post(`/v1/accounts/default/webhooks/${webhook.id}/pause`, {});
  }
  const events = Math.ceil(ROWS / WEBHOOKS);
  for (let sent = 0; sent < events; sent += 1_000) await batch(server, numbers(Math.min(1_000, events - sent)));
  const page = await browse(t, server, "/accounts/default/webhooks");
  await page.getByRole("link", { name: "Deliveries" }).first().waitFor();
  const tasks = await watchTasks(page);
  const began = Date.now();
  await page.getByRole("link", { name: "Deliveries" }).first().click();
  await page.locator("tbody tr a").first().waitFor();
  const first = Date.now() - began;
  for (let pages = 0; pages < 6; pages += 1) {
    const before = await page.locator("tbody tr").count();
    await page.getByRole("button", { name: "Load more" }).click();
    await page.locator("tbody tr").nth(before).waitFor();
    await page.mouse.wheel(0, 20_000);
  }
  judge(t, "many rows", await tasks(), `; first rows after ${first} ms`);
  await page.getByPlaceholder("Search id, event, body").fill("no such text");
  await page.getByText("No deliveries match").or(page.getByText(/earched/)).first().waitFor();
});

test("a log that is looked at while 500 attempts a second come in", async (t) => {
  const server = await serve(t, "--max-in-flight", "200");
  const receiver = await receive(t);
  await server.webhook({ url: receiver.url });
  const page = await browse(t, server, "/accounts/default/deliveries");
  await page.getByText("Live", { exact: true }).waitFor();
  await batch(server, numbers(1));
  await page.locator("tbody tr a").first().waitFor();
  const tasks = await watchTasks(page);
  const began = Date.now();
  // 50 every tenth of a second; a machine that is slower than that gets them when it is ready.
  for (let tenth = 1; tenth <= 50; tenth += 1) {
    await batch(server, numbers(50));
    await receiver.got(1 + 50 * tenth);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + 100 * tenth - Date.now())));
  }
  const seconds = (Date.now() - began) / 1_000;
  await page.locator(".badge", { hasText: "Delivered" }).first().waitFor();
  judge(t, "live", await tasks(), `; ${Math.round(2_500 / seconds)} attempts a second`);
  // All at once is more than a page can show, and still no more than a page.
  const burst = await watchTasks(page);
  for (let sent = 0; sent < 3_000; sent += 1_000) await batch(server, numbers(1_000));
  await receiver.got(5_501);
  await server.until("/v1/accounts/default/deliveries?status=pending,sending&limit=1", ({ data }) => data.length === 0);
  judge(t, "a burst of 3,000", await burst());
  // The newest is at the top, and the page did not grow without end.
  assert.ok((await page.locator("tbody tr").count()) <= 500);
});
