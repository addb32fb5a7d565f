import assert from "node:assert/strict";
import { test } from "node:test";
import { contrast, readable } from "../../src/portal/contrast.ts";

const NOW = { bg: "#ffffff", surface: "#f7f8fa", text: "#15181e", muted: "#525b6b", accent: "#2f4bd8", "accent-hover": "#243cb5", "on-accent": "#ffffff", "accent-soft": "#e9edfd", control: "#7c8594" };

test("contrast is that of WCAG", () => {
  assert.equal(contrast("#000000", "#ffffff"), 21);
  assert.equal(contrast("#000", "#FFF"), 21);
  assert.ok(Math.abs(contrast("#777777", "#ffffff") - 4.48) < 0.01);
  assert.equal(contrast("red", "#ffffff"), 0);
});

test("what cannot be read is refused by name, the rest is taken", () => {
  assert.deepEqual(readable(NOW, { accent: "#0a5f41" }), { accepted: { accent: "#0a5f41" }, refused: [] });
  assert.deepEqual(readable(NOW, { accent: "#ffd900", text: "#000000" }), { accepted: { text: "#000000" }, refused: ["accent"] });
  assert.deepEqual(readable(NOW, { bg: "#000000" }).refused, ["bg"]);
  assert.deepEqual(readable(NOW, { accent: "url(x)", nope: "#000000" }).refused, ["accent", "nope"]);
});
