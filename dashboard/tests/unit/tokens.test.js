import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const css = readFileSync(join(import.meta.dirname, "../../src/look/tokens.css"), "utf8");

/** The colours of a theme, by name. */
function colours(selector) {
  const block = css.slice(css.indexOf(`${selector} {`)).split("}")[0];
  return Object.fromEntries([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value]));
}

/** WCAG's contrast ratio. */
function contrast(a, b) {
  const luminance = (hex) => {
    const [r, g, b] = [1, 3, 5].map((at) => {
      const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

const light = colours(":root");
for (const [theme, tokens] of [["light", light], ["dark", { ...light, ...colours(':root[data-theme="dark"]') }]]) {
  test(`text of the ${theme} theme has a contrast of 4.5, marks one of 3`, () => {
    const least = (names, grounds, ratio) => {
      for (const name of names) {
        for (const ground of grounds) {
          const found = contrast(tokens[name], tokens[ground]);
          assert.ok(found >= ratio, `--${name} on --${ground}: ${found.toFixed(2)}`);
        }
      }
    };
    const states = ["ok", "warn", "bad", "info", "pause", "accent"];
    least(["text", "muted", ...states], ["bg", "surface"], 4.5);
    least(["text", "muted"], ["sunken", "accent-soft"], 4.5);
    for (const state of states) least([state], [`${state}-soft`], 4.5);
    least(["on-accent"], ["accent", "accent-hover"], 4.5);
    least(["bg"], ["bad", "text"], 4.5);
    least(["control", "chart-ok", "chart-warn", "chart-bad"], ["bg", "surface"], 3);
  });
}
