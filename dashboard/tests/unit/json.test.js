import assert from "node:assert/strict";
import { test } from "node:test";
import { memberText, parse, pretty } from "../../src/screens/logs/json.ts";

test("numbers, keys and their order stay as they were written", () => {
  const text = '{"b":1e400,"a":[9223372036854775808,-0.10,{"é":"\\u0041\\"}"}],"c":{},"d":[],"b":null}';
  assert.equal(pretty(text), '{\n  "b": 1e400,\n  "a": [\n    9223372036854775808,\n    -0.10,\n    {\n      "é": "\\u0041\\"}"\n    }\n  ],\n  "c": {},\n  "d": [],\n  "b": null\n}');
});

test("what is no JSON is shown as it is", () => {
  for (const text of ["", "<html>", "{", "[1,]", '{"a":}', "{} x", '"open', "01", "[".repeat(5_000)]) {
    assert.equal(parse(text), null, text.slice(0, 20));
    assert.equal(pretty(text), text);
  }
});

test("a member's text is as it was written", () => {
  assert.equal(memberText('{"id":"x", "data" : { "a": 1e400,"data":2 } , "z":1}', "data"), '{ "a": 1e400,"data":2 }');
  assert.equal(memberText('{"a":1}', "data"), null);
  assert.equal(memberText("no JSON", "data"), null);
});
