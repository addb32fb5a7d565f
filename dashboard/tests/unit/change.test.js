import assert from "node:assert/strict";
import { test } from "node:test";
import { change } from "../../src/screens/webhook/change.ts";

const DAY = 86_400_000;
const of = (now, before, age = 90 * DAY) => change({ now, before, length: DAY, age });

test("a change is a share of the period before, and many times as many are said so", () => {
  assert.deepEqual([of(104, 100), of(88, 100), of(100, 100), of(0, 100)], ["▲ 4 %", "▼ 12 %", "as many", "▼ 100 %"]);
  assert.deepEqual([of(200, 100), of(340, 100), of(9_800, 100), of(250_000, 100)], ["▲ 2 times as many", "▲ 3.4 times as many", "▲ 98 times as many", "▲ 2,500 times as many"]);
});

test("nothing is compared with a handful, nor with a time before the webhook was there as a whole", () => {
  assert.deepEqual([of(98, 1), of(98, 0), of(98, 19)], [null, null, null]);
  assert.deepEqual([of(980, 100, 2 * DAY - 1), of(980, 100, 2 * DAY)], [null, "▲ 9.8 times as many"]);
});
