import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, browse, dev, KEY, quit, serve, until } from "./harness.js";

after(quit);

test("whoever is not signed in signs in at the address that was wanted", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks?q=crm", { key: null, expects: [/status of 401 .*\/v1\/sessions/] });
  const key = page.getByLabel("Key");
  await key.waitFor();
  await accessible(page, "sign-in");
  await key.fill("phk_wrong");
  await page.keyboard.press("Enter");
  await page.getByText("This link or key opens nothing here").waitFor();
  await key.fill(KEY);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Webhooks", exact: true, level: 1 }).waitFor();
  assert.equal(new URL(page.url()).search, "?q=crm");
  await page.getByRole("button", { name: /Signed in as/ }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await key.waitFor();
  const answer = await page.context().request.get(`${server.url}/v1/sessions/current`);
  assert.equal(answer.status(), 401);
});

test("what was typed is gone with whoever signs out, and nothing of other pages", async (t) => {
  const server = await serve(t);
  const page = await browse(t, server, "/accounts/default/webhooks/new");
  const name = page.getByLabel("Name", { exact: true });
  await name.fill("Somebody's");
  await page.reload();
  await until(() => name.inputValue(), (value) => value === "Somebody's", "it is kept");
  await page.evaluate(() => sessionStorage.setItem("another-page", "theirs"));
  await page.getByRole("button", { name: /Signed in as/ }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.getByLabel("Key", { exact: true }).fill(KEY);
  await page.keyboard.press("Enter");
  await name.waitFor();
  assert.equal(await name.inputValue(), "");
  assert.equal(await page.evaluate(() => sessionStorage.getItem("another-page")), "theirs");
});

test("the link that dev prints signs in once", async (t) => {
  const server = await dev(t);
  assert.match(server.started.dashboard, /#t=phl_/);
  const path = (link) => link.slice(new URL(link).origin.length);
  const page = await browse(t, server, path(server.started.dashboard), { key: null });
  await page.getByRole("heading", { name: "Webhooks", exact: true, level: 1 }).waitFor();
  assert.equal(new URL(page.url()).hash, "");
  await page.reload();
  await page.getByRole("heading", { name: "Webhooks", exact: true, level: 1 }).waitFor();
  const other = await browse(t, server, path(server.started.dashboard), { key: null, expects: [/status of 410 .*\/v1\/sessions/] });
  await other.getByText("This link was used already: it signs in once.").waitFor();
  await other.getByLabel("Key").waitFor();
});
