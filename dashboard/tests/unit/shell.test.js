import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as lines from "../../src/parts/command-lines.ts";
import { command } from "../../src/parts/shell.ts";

/** What a shell makes of a command's words. */
const words = (line) => execFileSync("sh", ["-c", line.replace(/^posthaste /, `printf '%s\\0' `)]).toString().split("\0").slice(0, -1);

test("a shell gets each word as it is, whoever wrote it", () => {
  const strange = ["", " ", "'", "a'; touch x; 'b", '"$HOME"', "`id`", "$(id)", "*", "~", "a\nb", "\\", "!!", "a&b|c>d", "#", "{a,b}", "é", "--x=y"];
  assert.deepEqual(words(command("posthaste", ...strange)), strange);
});

test("what is no danger is not in quotes", () => {
  assert.equal(lines.list("deliveries", "acme", { status: "failed,pending", event: "alert.*", q: "new startup" }, "wh_1"), "posthaste deliveries list webhook=wh_1 status=failed,pending 'event=alert.*' 'q=new startup' --account acme");
  assert.equal(lines.send("default"), "posthaste send alert.domain_matched");
});

test("an account's name and a filter of an address stay words of the command", () => {
  const q = "a'; touch /tmp/x; 'b";
  assert.deepEqual(words(lines.list("events", "a'b", { q })), ["events", "list", `q=${q}`, "--account", "a'b"]);
  assert.deepEqual(words(lines.audit("-all")), ["audit", "--account=-all"]);
});

test("every line for the command line comes from one place", () => {
  const src = join(import.meta.dirname, "../../src");
  for (const name of readdirSync(src, { recursive: true })) {
    if (!/\.(svelte|ts)$/.test(name) || name === "parts/command-lines.ts") continue;
    const found = /(<code>|[`"'])posthaste [a-z-]+ /.exec(readFileSync(join(src, name), "utf8"));
    assert.equal(found, null, `${name} writes a command line by itself: ${found?.[0]}`);
  }
});
