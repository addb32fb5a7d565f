import assert from "node:assert/strict";
import { test } from "node:test";
import { unlessSame } from "../../src/api/same.ts";

test("what says the same stays what it was, rows each by itself", () => {
  const whole = { a: [1, { b: 2 }] };
  assert.equal(unlessSame(whole, structuredClone(whole)), whole);
  assert.deepEqual(unlessSame(whole, { a: [2] }), { a: [2] });
  const rows = [{ id: "1", n: 1 }, { id: "2", n: 2 }];
  assert.equal(unlessSame(rows, structuredClone(rows)), rows);
  const next = unlessSame(rows, [{ id: "2", n: 2 }, { id: "1", n: 3 }]);
  assert.deepEqual([next[0] === rows[1], next[1]], [true, { id: "1", n: 3 }]);
  // Fewer, or in another order, is another list.
  assert.notEqual(unlessSame(rows, [rows[0]]), rows);
  assert.notEqual(unlessSame(rows, rows.toReversed()), rows);
  assert.deepEqual(unlessSame(rows, []), []);
  assert.equal(unlessSame(undefined, whole), whole);
});
