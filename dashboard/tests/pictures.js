// The pictures of the README and the documents, from the real binary with real rows:
//
//     npm run pictures
import { join } from "node:path";
import { after, test } from "node:test";
import { browse, quit, receive, serve } from "./harness.js";

after(quit);

const DIR = join(import.meta.dirname, "../../docs/pictures");

test("pictures", async (t) => {
  const server = await serve(t, "--retry-schedule", "30s,2m,10m,1h,6h");
  const receiver = await receive(t);
  const failing = new Set(["sequence.email_replied"]);
  receiver.answer = ({ headers }) => (failing.has(headers["x-crondb-event"]) ? { status: 500, body: '{"error":"db locked","request":"a41f"}', headers: { "content-type": "application/json" } } : { status: 200, body: '{"ok":true}', headers: { "content-type": "application/json" } });
  const crm = await server.webhook({ name: "CRM Sync", url: receiver.url, events: ["alert.*", "watchlist.*", "sequence.*"] });
  const legacy = await server.webhook({ name: "Legacy", url: `${receiver.url}/legacy`, events: ["enrichment.*"] });
  await server.webhook({ name: "Slack Notifications", url: `${receiver.url}/slack`, events: ["alert.domain_matched"] });
  const { data: types } = await server.get("/v1/event-types?limit=100");
  for (let round = 0; round < 12; round += 1) for (const { name, example } of types) if (round === 0 || !failing.has(name)) await server.event(name, example);
  await server.post(`/v1/accounts/default/webhooks/${legacy.id}/pause`, { reason: "maintenance until noon" });
  await server.event("enrichment.completed", types.find(({ name }) => name === "enrichment.completed").example);
  await server.until("/v1/accounts/default/deliveries?code=500", ({ data }) => data.length === 1);
  const picture = async (name, path, ready, options) => {
    const page = await browse(t, server, path, { height: 800, ...options });
    await ready(page);
    await page.evaluate(() => document.fonts.ready);
    await page.screenshot({ path: join(DIR, `${name}.png`) });
    await page.context().close();
  };
  const base = `/accounts/default/webhooks`;
  const failed = (await server.get("/v1/accounts/default/deliveries?code=500")).data[0];
  await picture("webhooks", base, (page) => page.getByRole("link", { name: "CRM Sync" }).waitFor());
  await picture("overview", `${base}/${crm.id}`, (page) => page.getByRole("heading", { name: "CRM Sync" }).waitFor());
  const open = async (page) => {
    await page.getByText("Your server answered 500. It reached your code.").waitFor();
  };
  await picture("logs", `${base}/${crm.id}/logs/${failed.id}`, open);
  await picture("logs-dark", `${base}/${crm.id}/logs/${failed.id}`, open, { theme: "dark" });
  await picture("logs-phone", `${base}/${crm.id}/logs/${failed.id}`, open, { theme: "dark", width: 390 });
  await picture("new-webhook", `${base}/new`, (page) => page.getByRole("heading", { name: "New webhook" }).waitFor());
});
