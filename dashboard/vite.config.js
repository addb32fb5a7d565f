import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

/** Writes `.gz` and `.br` beside every text file, where that is smaller: the binary gives them out as they are. */
function compressed() {
  return {
    name: "compressed",
    apply: "build",
    writeBundle({ dir }) {
      for (const name of readdirSync(dir, { recursive: true })) {
        const file = join(dir, name);
        if (!/\.(js|css|svg)$/.test(name) || !statSync(file).isFile()) continue;
        const plain = readFileSync(file);
        const gzip = gzipSync(plain, { level: 9 });
        const brotli = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
        if (gzip.length < plain.length) writeFileSync(`${file}.gz`, gzip);
        if (brotli.length < plain.length) writeFileSync(`${file}.br`, brotli);
      }
    },
  };
}

export default defineConfig({
  plugins: [svelte(), compressed()],
  // Relative: the page's <base> says where the dashboard is reached.
  base: "./",
  // One style sheet: together the screens' styles are smaller than each by itself.
  build: {
    target: "es2023",
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: {
      input: { index: "index.html", portal: "src/portal/element.ts" },
      // Other pages name the portal's script, so its name stays; all others change with their content.
      output: { entryFileNames: ({ name }) => (name === "portal" ? "portal.js" : "assets/[name]-[hash].js") },
    },
  },
  server: {
    // `npm run dev` beside a running `posthaste dev`.
    proxy: { "/v1": process.env.POSTHASTE_URL ?? "http://127.0.0.1:8400" },
  },
});
