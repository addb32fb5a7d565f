import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, quit, receive, serve } from "./harness.js";

after(quit);

test("an account without webhooks says what one is, and what makes one", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server);
  await page.getByText("A webhook sends your events to a URL, signed and retried.").waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  // Two places are called Webhooks: read without their groups they are told apart.
  const places = await page.getByRole("navigation", { name: "Places" }).getByRole("link").evaluateAll((all) => all.map((link) => link.getAttribute("aria-label") ?? link.textContent.trim()));
  assert.equal(new Set(places).size, places.length, places.join(", "));
  assert.equal(new URL(page.url()).pathname, "/accounts/default/webhooks");
  assert.equal(await page.title(), "Webhooks · CronDB");
  await accessible(page, "webhooks, none");
});

test("webhooks that need somebody come first, and a change is shown as it happens", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  for (const name of ["Beta", "Alpha", "Legacy"]) await server.webhook({ name, url: receiver.url, events: name === "Beta" ? ["alert.*"] : ["*"] });
  const { data } = await server.get("/v1/accounts/default/webhooks");
  const legacy = data.find(({ name }) => name === "Legacy");
  const page = await browse(t, server);
  const names = () => page.locator("tbody tr td:first-child a").allTextContents();
  await page.getByRole("link", { name: "Legacy" }).waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  assert.deepEqual(await names(), ["Alpha", "Beta", "Legacy"]);
  await server.post(`/v1/accounts/default/webhooks/${legacy.id}/pause`, { reason: "maintenance" });
  await page.getByText(/Paused by key platform .*: maintenance/).waitFor();
  assert.deepEqual(await names(), ["Legacy", "Alpha", "Beta"]);
  await accessible(page, "webhooks");
  await page.keyboard.press("/");
  await page.keyboard.type("bet");
  await page.getByRole("link", { name: "Alpha" }).waitFor({ state: "detached" });
  assert.deepEqual(await names(), ["Beta"]);
  await page.getByLabel("Status").selectOption("paused");
  await page.getByText("No webhook matches").waitFor();
  await page.getByRole("button", { name: "Clear filters" }).last().click();
  await page.getByRole("link", { name: "Alpha" }).waitFor();
  assert.equal(new URL(page.url()).search, "");
});

test("the palette finds any of many webhooks, by name, URL or id", async (t) => {
  const server = await serve(t);
  const receiver = await receive(t);
  const first = await server.webhook({ name: "The very first", url: `${receiver.url}/first` });
  for (let i = 0; i < 130; i += 1) await server.webhook({ name: `Webhook ${i}`, url: `${receiver.url}/${i}` });
  const page = await browse(t, server);
  await page.getByText("That is all: 131.").waitFor();
  for (const text of ["very fir", "hook/first", first.id.slice(0, 12)]) {
    await page.keyboard.press("ControlOrMeta+k");
    await page.getByRole("combobox", { name: "Search webhooks, places and ids" }).waitFor();
    await page.keyboard.type(text);
    await page.getByRole("option", { name: /The very first/ }).waitFor();
    await page.keyboard.press("Escape");
  }
  await page.keyboard.press("ControlOrMeta+k");
  await page.getByRole("combobox", { name: "Search webhooks, places and ids" }).waitFor();
  await page.keyboard.type("very first");
  await page.getByRole("option", { name: /The very first/ }).waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "The very first" }).waitFor();
});
