// The real binary with real rows, and a browser that looks at it.
//
//     const server = await serve(t);                      a server on a free port, with data of its own
//     const receiver = await receive(t);                  a receiver whose answers a test scripts
//     const { run } = shell(t, server);                    a shell, for lines of `posthaste` to that server
//     const page = await browse(t, server);               a signed-in page; at the test's end it must have been quiet
//     await until(read, fits, "what");                     what no locator can wait for
//     await accessible(page, "webhooks");                  axe: no fault in light and dark, at 1280 and 390 px
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const root = join(import.meta.dirname, "../..");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The platform key of every server here. */
export const KEY = "phk_of_the_browser_tests_0123456789";
/** How long anything may take on a machine that does much else, in milliseconds. */
export const PATIENCE = Number(process.env.PATIENCE ?? 60_000);

const cleanings = new WeakMap();

/** Cleans up after a test, what came last first: the page goes before the server that it speaks to. */
function after(t, clean) {
  let all = cleanings.get(t);
  if (!all) {
    cleanings.set(t, (all = []));
    t.after(async () => {
      let fault;
      for (const clean of all.reverse()) await Promise.resolve(clean()).catch((error) => (fault ??= error));
      if (fault) throw fault;
    });
  }
  all.push(async () => clean());
}

/** A directory that is gone after the test. */
function directory(t) {
  const dir = mkdtempSync(join(tmpdir(), "posthaste-dashboard-"));
  after(t, () => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Starts a program, waits for a line that fits, and ends the program after the test. */
async function start(t, file, args, options, pattern) {
  const child = spawn(file, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  after(t, async () => {
    if (child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  });
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  const found = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not ready in time:\n${said}`)), PATIENCE);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`ended with ${code}:\n${said}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      said += `${line}\n`;
      const match = pattern.exec(line);
      if (!match) return;
      clearTimeout(late);
      resolve(match);
    });
  });
  return { child, found, said: () => said };
}

const binary = () => process.env.POSTHASTE_BINARY ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/posthaste");

function server(url, process) {
  const call = async (method, path, body, headers = {}) => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${KEY}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  };
  return {
    url,
    process,
    call,
    get: (path) => call("GET", path),
    post: (path, body) => call("POST", path, body),
    /** A webhook of the default account; its JSON with the secret. */
    webhook: (fields) => call("POST", "/v1/accounts/default/webhooks", { name: "CRM Sync", events: ["*"], ...fields }),
    /** An event of the default account. */
    event: (event = "alert.domain_matched", data = { domain: "newstartup.com" }) => call("POST", "/v1/events", { event, data }),
    /** Reads `path` until `fits` says so; the JSON that fits. */
    async until(path, fits) {
      const end = Date.now() + PATIENCE;
      for (;;) {
        const json = await call("GET", path);
        if (fits(json)) return json;
        assert.ok(Date.now() < end, `${path} never fits: ${JSON.stringify(json)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
  };
}

/** `posthaste serve`, with loopback and plain http opened for webhooks, and further flags. */
export async function serve(t, ...flags) {
  const dir = directory(t);
  const args = ["serve", "--listen", "127.0.0.1:0", "--data", join(dir, "data"), "--allow-private", "127.0.0.0/8", "--allow-http", "--jitter", "0", ...flags];
  const env = { PATH: process.env.PATH, POSTHASTE_PLATFORM_KEY: KEY };
  const { child, found } = await start(t, binary(), args, { cwd: dir, env }, /listening on (http:\/\/[\d.:]+)/);
  return server(found[1], child);
}

/** `posthaste dev`, with its inbox; `link` is what it prints for the browser. */
export async function dev(t, ...flags) {
  const dir = directory(t);
  const args = ["dev", "--listen", "127.0.0.1:0", "--inbox-listen", "127.0.0.1:0", "--json", ...flags];
  const env = { PATH: process.env.PATH, POSTHASTE_PLATFORM_KEY: KEY };
  const lines = [];
  const { child, found, said } = await start(t, binary(), args, { cwd: dir, env }, /"type":"ready"/);
  void found;
  for (const line of said().split("\n")) if (line.startsWith("{")) lines.push(JSON.parse(line));
  const started = lines.find(({ type }) => type === "started");
  return { ...server(new URL(started.api).origin, child), started };
}

/** A shell beside a server, for lines of `posthaste`: `run` gives what one wrote to stdout, if it ended well. `dir` is where it runs, and empty. */
export function shell(t, server) {
  const root = directory(t);
  const [bin, dir] = ["bin", "work"].map((name) => join(root, name));
  for (const path of [bin, dir]) mkdirSync(path);
  symlinkSync(binary(), join(bin, "posthaste"));
  const env = { PATH: `${bin}:${process.env.PATH}`, POSTHASTE_URL: server.url, POSTHASTE_KEY: KEY };
  const run = (line) =>
    new Promise((resolve, reject) => {
      execFile("sh", ["-c", line], { cwd: dir, env, timeout: PATIENCE }, (error, out, said) => (error ? reject(new Error(`${line}: ${error.code}: ${said}`)) : resolve(out)));
    });
  return { dir, run };
}

/** A receiver on loopback. `answer` is called with each request and gives `{status, body?, headers?}`, or null to hang. */
export async function receive(t) {
  const requests = [];
  const receiver = { requests, answer: () => ({ status: 200, body: "ok" }), looks: 0, look: () => ({ status: 405 }) };
  const http = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      // A look at the URL before it is saved is no request of a webhook.
      if (request.method === "HEAD") {
        receiver.looks += 1;
        const { status, headers } = receiver.look();
        return response.writeHead(status, headers ?? {}).end();
      }
      const received = { url: request.url, headers: request.headers, body: Buffer.concat(chunks).toString() };
      requests.push(received);
      const answer = receiver.answer(received);
      if (!answer) return;
      response.writeHead(answer.status, answer.headers ?? {});
      response.end(answer.body ?? "");
    });
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  after(t, () => {
    http.closeAllConnections();
    return new Promise((resolve) => http.close(resolve));
  });
  receiver.url = `http://127.0.0.1:${http.address().port}/hook`;
  /** Waits until so many requests have come. */
  receiver.got = async (count) => {
    const end = Date.now() + PATIENCE;
    while (requests.length < count) {
      assert.ok(Date.now() < end, `only ${requests.length} of ${count} requests came`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return receiver;
}

/** What the browser is started with: it speaks to nobody but the tests' own servers. */
export const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let browser;

/** The one browser of this test file. Call in `after` of the file: `after(quit)`. */
export async function chrome() {
  browser ??= await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: FLAGS,
  });
  return browser;
}

export const quit = async () => {
  await browser?.close();
  browser = undefined;
};

/**
 * A page on the server, signed in with the platform key (or `key`; null for nobody) at `path` (null for nowhere yet). At the end of the test there must
 * have been no message of the console but those that `expects` allows, no exception, and no request to another host.
 */
export async function browse(t, server, path = "/", { key = KEY, width = 1280, height = 800, theme = "light", expects = [], context: options = {} } = {}) {
  const context = await (await chrome()).newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion: "reduce", locale: "en-GB", ...options });
  const faults = [];
  await files(context, server);
  // How full this machine's disk is, is not what is looked at.
  await context.route(`${server.url}/v1/system`, (route) => withRoom(route).catch(() => route.abort().catch(() => undefined)));
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  watch(page, server, faults, expects);
  after(t, async () => {
    // A test may have closed it.
    await context.unrouteAll({ behavior: "ignoreErrors" }).catch(() => undefined);
    await context.close();
    assert.deepEqual(faults, [], "the page was quiet");
  });
  if (key !== null) await signIn(context, server, key);
  if (path !== null) await page.goto(server.url + path);
  return page;
}

/** The state of the system with an empty disk. A page that is closed meanwhile needs no answer. */
async function withRoom(route) {
  const answer = await route.fetch();
  await route.fulfill(answer.ok() ? { response: answer, json: { ...(await answer.json()), disk_bytes: 100e9, disk_free_bytes: 60e9 } } : { response: answer });
}

/** Gives a browser a session, as signing in does. */
async function signIn(context, server, key) {
  const answer = await context.request.post(`${server.url}/v1/sessions`, { data: { token: key }, headers: { "x-requested-with": "tests" } });
  assert.equal(answer.status(), 201, await answer.text());
  await context.addInitScript(() => localStorage.setItem("posthaste.signed-in", "yes"));
}

/**
 * For work on the dashboard: its files from a directory instead of from the binary, under the binary's own headers. So a change
 * needs `npm run build` and nothing of cargo.
 */
export async function files(context, server) {
  const dist = process.env.POSTHASTE_UI_DIST;
  if (dist) await context.route(`${server.url}/**`, (route) => fromDist(route, dist));
}

async function fromDist(route, dist) {
  const path = new URL(route.request().url()).pathname;
  if (path.startsWith("/v1/")) return route.continue();
  const file = join(dist, path);
  if (/\.\w+$/.test(path) && existsSync(file)) return route.fulfill({ path: file });
  const page = await route.fetch();
  return route.fulfill({ response: page, body: readFileSync(join(dist, "index.html")) });
}

/** Puts what a page should not do into `faults`. */
function watch(page, server, faults, expects) {
  page.on("console", (message) => {
    const text = `${message.type()}: ${message.text()} ${message.location().url}`;
    if (["error", "warning"].includes(message.type()) && !expects.some((pattern) => pattern.test(text))) faults.push(text);
  });
  page.on("pageerror", (error) => faults.push(`exception: ${error.stack}`));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== server.url && !["data:", "blob:"].includes(protocol)) faults.push(`a request to ${request.url()}`);
  });
}

/** Waits until `read` gives what `fits`; what it gave then. For what no locator can wait for. */
export async function until(read, fits, what) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const value = await read();
    if (fits(value)) return value;
    assert.ok(Date.now() < end, `${what}: ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Presses Tab until the focus is on what is called like this; Shift+Tab with `back`. So it can be reached by keyboard. */
export async function tabTo(page, name, { back = false, most = 120 } = {}) {
  const called = () =>
    page.evaluate(() => {
      let element = document.activeElement;
      while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
      if (!element || element === document.body) return "";
      const text = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
      return text.replace(/\s+/g, " ").trim();
    });
  const fits = (text) => (name instanceof RegExp ? name.test(text) : text === name);
  const passed = [];
  for (let presses = 0; presses < most; presses += 1) {
    const now = await called();
    if (fits(now)) return;
    passed.push(now.slice(0, 40));
    await page.keyboard.press(back ? "Shift+Tab" : "Tab");
  }
  assert.fail(`${name} cannot be reached by keyboard; passed: ${passed.join(" | ")}`);
}

/** axe finds nothing (WCAG 2.2 AA), in light and dark, at 1280 and 390 px, and nothing is cut off, down to 320 px. The page comes back as it was. */
export async function accessible(page, what) {
  const before = page.viewportSize();
  const theme = await page.evaluate(() => document.documentElement.dataset.theme);
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 800 });
    for (const theme of ["light", "dark"]) {
      await page.evaluate((theme) => (document.documentElement.dataset.theme = theme), theme);
      const found = await audit(page);
      assert.deepEqual(found, [], `${what}, ${theme}, ${width} px`);
      assert.equal(await tooWide(page), 0, `${what} at ${width} px is wider than the window`);
    }
  }
  // WCAG 1.4.10: 320 px are enough, as when a page of 1280 px is looked at four times as large.
  await page.setViewportSize({ width: 320, height: 800 });
  assert.equal(await tooWide(page), 0, `${what} at 320 px is wider than the window`);
  await page.setViewportSize(before);
  await page.evaluate((theme) => (document.documentElement.dataset.theme = theme), theme);
}

/** By how many pixels the page is wider than the window, or what is in a dialog wider than that. */
export const tooWide = (page) =>
  page.evaluate(() => {
    const dialogs = [...document.querySelectorAll("dialog[open]")].map((dialog) => dialog.scrollWidth - dialog.clientWidth);
    return Math.max(0, document.documentElement.scrollWidth - innerWidth, ...dialogs);
  });

async function audit(page) {
  // Evaluated, not added as a script: the page's policy forbids foreign scripts, and that stays so.
  await page.evaluate(`${axe}; void 0`);
  return page.evaluate(async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const { violations } = await globalThis.axe.run(document, { runOnly: { type: "tag", values: tags } });
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(" | ")}`);
  });
}
