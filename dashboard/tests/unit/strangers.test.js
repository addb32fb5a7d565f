import assert from "node:assert/strict";
import { test } from "node:test";
import { seen, theirs } from "../../src/parts/strangers.ts";

test("what is not seen or turns the order of writing is written out", () => {
  assert.equal(seen("\u202eevil"), "\\u{202e}evil");
  assert.equal(seen("a\u2066b\u2069\u0000\u001b[2Jc\rd"), "a\\u{2066}b\\u{2069}\\u{0}\\u{1b}[2Jc\\u{d}d");
  for (const plain of ["", "CRM Sync", "Zoë’s 🦊", "شركة 2030", "one\ntwo\r\n\tthree"]) assert.equal(seen(plain), plain);
});

test("in a sentence only what is written from right to left is kept apart", () => {
  assert.equal(theirs("CRM Sync"), "CRM Sync");
  assert.equal(theirs("שלום 1"), "\u2068שלום 1\u2069");
  // It cannot end its own isolation.
  assert.equal(theirs("שלום\u2069\u202e1"), "\u2068שלום\\u{2069}\\u{202e}1\u2069");
});
