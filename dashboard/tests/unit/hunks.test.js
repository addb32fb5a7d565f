import assert from "node:assert/strict";
import { test } from "node:test";
import { diffLines } from "diff";
import { hunks, pairs } from "../../src/screens/logs/compare/hunks.ts";

const text = (lines) => `${lines.join("\n")}\n`;

test("what came in a line's place stands beside it, and what did not change is folded but for what is near", () => {
  const before = Array.from({ length: 20 }, (_, place) => `line ${place}`);
  const after = before.with(10, "another").toSpliced(18, 1, "x", "y");
  const parts = hunks(diffLines(text(before), text(after)));
  assert.deepEqual(
    parts.map(({ kind, left, right }) => [kind, left.length, right.length]),
    [["folded", 7, 7], ["same", 3, 3], ["changed", 1, 1], ["same", 7, 7], ["changed", 1, 2], ["same", 1, 1]],
  );
  assert.deepEqual(pairs(parts[4]), [{ left: "line 18", right: "x" }, { left: null, right: "y" }]);
});

test("lines are folded only where that saves something", () => {
  const before = Array.from({ length: 40 }, (_, place) => `line ${place}`);
  const kinds = (...places) => hunks(diffLines(text(before), text(before.map((line, place) => (places.includes(place) ? "another" : line))))).map(({ kind, left }) => [kind, left.length]);
  // Nine lines between two changes, of which three would be folded; then ten, of which four are.
  assert.deepEqual(kinds(0, 10, 39), [["changed", 1], ["same", 9], ["changed", 1], ["same", 3], ["folded", 22], ["same", 3], ["changed", 1]]);
  assert.deepEqual(kinds(0, 11, 39), [["changed", 1], ["same", 3], ["folded", 4], ["same", 3], ["changed", 1], ["same", 3], ["folded", 21], ["same", 3], ["changed", 1]]);
  assert.deepEqual(kinds(6), [["same", 6], ["changed", 1], ["same", 3], ["folded", 30]]);
});

test("lines that are only in one of the two have nothing beside them", () => {
  const [part] = hunks(diffLines("", "a\nb\n"));
  assert.deepEqual([part.kind, pairs(part)], ["changed", [{ left: null, right: "a" }, { left: null, right: "b" }]]);
  assert.deepEqual(hunks(diffLines("a\n", "a\n")).map(({ kind }) => kind), ["same"]);
});
