// How much the browser loads, as gzip: counted over the built files, against the budgets. Exits 1 if one is over.
//
//     npm run build && npm run size
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const KB = 1_000;
const dist = join(import.meta.dirname, "../dist");
const assets = readdirSync(join(dist, "assets"));
const bytes = (name) => gzipSync(readFileSync(join(dist, "assets", name)), { level: 9 }).length;
const all = (ending) => assets.filter((name) => name.endsWith(ending));
const sum = (names) => [...names].reduce((total, name) => total + bytes(name), 0);

/** A script with everything that it imports before it runs. */
function withImports(name, found = new Set()) {
  if (found.has(name)) return found;
  found.add(name);
  const text = readFileSync(join(dist, "assets", name), "utf8");
  for (const [, other] of text.matchAll(/(?:import|from)\s*["']\.\/([\w.-]+\.js)["']/g)) withImports(other, found);
  return found;
}

const page = readFileSync(join(dist, "index.html"), "utf8");
const entry = /src="\.?\/?assets\/([\w.-]+\.js)"/.exec(page)[1];
const list = all(".js").find((name) => name.startsWith("Webhooks-"));

const budgets = [
  ["list route, scripts", sum(new Set([...withImports(entry), ...withImports(list)])), 60 * KB],
  ["whole app, scripts", sum(all(".js")), 160 * KB],
  ["styles", sum(all(".css")), 12 * KB],
  ["portal element", gzipSync(readFileSync(join(dist, "portal.js")), { level: 9 }).length, 4 * KB],
];
let over = 0;
for (const [what, size, budget] of budgets) {
  console.log(`${what}: ${(size / KB).toFixed(1)} kB of ${budget / KB} kB gzip`);
  if (size > budget) over += 1;
}
console.log(`# pass ${budgets.length - over}\n# fail ${over}`);
process.exitCode = over ? 1 : 0;
