import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { curl } from "../../src/screens/logs/as-sent.ts";

test("a shell reads the body of the curl command byte for byte", () => {
  const body = `{"name":"O'Hara","text":"$HOME \\"x\\" \`id\` é"}`;
  const command = curl({ method: "POST", url: "https://example.com/a?b=1&c='", headers: [{ name: "X-A", value: "it's" }], body });
  const shown = execFileSync("sh", ["-c", command.replace(/^curl/, `printf '%s\\n'`)]).toString().split("\n");
  assert.deepEqual(shown, ["-X", "POST", "https://example.com/a?b=1&c='", "-H", "X-A: it's", "--data-binary", body, ""]);
});
