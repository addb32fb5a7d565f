// Pictures of screens, to be looked at: `node tests/look.js PATH…`, or with no path those of the list below.
//
//     SHOTS=/tmp/shots node tests/look.js /accounts/default/webhooks
import { mkdirSync } from "node:fs";
import { after, test } from "node:test";
import { browse, quit, receive, serve } from "./harness.js";

after(quit);

const paths = process.env.PATHS?.split(" ") ?? ["/accounts/default/webhooks"];
const dir = process.env.SHOTS ?? "/tmp/posthaste-shots";

test("pictures", async (t) => {
  mkdirSync(dir, { recursive: true });
  const server = await serve(t, "--retry-schedule", "1s,2s");
  const good = await receive(t);
  const bad = await receive(t);
  bad.answer = () => ({ status: 500, body: "db locked" });
  const crm = await server.webhook({ name: "CRM Sync", url: good.url, events: ["alert.*", "watchlist.*", "enrichment.completed"] });
  await server.webhook({ name: "Flaky inbox", url: bad.url });
  const legacy = await server.webhook({ name: "Legacy", url: good.url, events: ["sequence.*"] });
  for (const event of ["alert.domain_matched", "watchlist.domain_changed", "sequence.email_replied", "alert.domain_matched"]) await server.event(event, { domain: "prospect.com" });
  await good.got(3);
  await bad.got(4);
  await server.post(`/v1/accounts/default/webhooks/${legacy.id}/pause`, { reason: "moving house" });
  for (let i = 0; i < 12; i++) await server.event("sequence.email_sent", {});
  for (const [theme, width] of [["light", 1280], ["dark", 390], ["dark", 1280], ["light", 390]]) {
    const page = await browse(t, server, "/", { theme, width, height: width === 390 ? 844 : 800 });
    await page.getByText("Live", { exact: true }).waitFor();
    for (const path of paths) {
      await page.goto(server.url + path.replace("{crm}", crm.id).replace("{legacy}", legacy.id));
      await page.locator("main h1").first().waitFor();
      await page.waitForTimeout(600);
      await page.screenshot({ path: `${dir}/${path.replace(/\W+/g, "-")}-${theme}-${width}.png`, fullPage: true });
    }
  }
});
