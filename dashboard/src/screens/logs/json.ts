// A body as a tree: read without touching a number or a key, since what was sent are these bytes.

/** A value, with the text that it was written with. */
export type Node =
  | { kind: "object"; members: { key: string; value: Node }[] }
  | { kind: "array"; items: Node[] }
  | { kind: "string" | "number" | "word"; text: string };

/** The text of a top-level member as it was written; null if there is none. */
export function memberText(text: string, key: string) {
  let found: string | null = null;
  const node = parse(text, (name, value) => {
    if (name === JSON.stringify(key)) found ??= value;
  });
  return node ? found : null;
}

/** How deep a tree may be; deeper bodies are shown as they are. */
const DEPTH_MAX = 100;

/** The tree of a JSON text; null if it is none. `onMember` is told each top-level member with its text. */
export function parse(text: string, onMember?: (key: string, value: string) => void): Node | null {
  let at = 0;
  const space = () => {
    while (" \t\r\n".includes(text[at] ?? "x")) at += 1;
  };
  const fail = (): never => {
    throw new SyntaxError("not JSON");
  };
  const take = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found === undefined) return fail();
    at += found.length;
    return found;
  };
  const string = () => take(/"(?:[^"\\]|\\.)*"/sy);
  function value(depth: number): Node {
    if (depth > DEPTH_MAX) return fail();
    space();
    const first = text[at];
    if (first === "{") return { kind: "object", members: list("}", () => member(depth)) };
    if (first === "[") return { kind: "array", items: list("]", () => value(depth + 1)) };
    if (first === '"') return { kind: "string", text: string() };
    if (first === "-" || (first !== undefined && first >= "0" && first <= "9")) return { kind: "number", text: take(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y) };
    return { kind: "word", text: take(/true|false|null/y) };
  }
  function member(depth: number) {
    const key = string();
    space();
    if (text[at++] !== ":") return fail();
    space();
    const from = at;
    const node = value(depth + 1);
    if (depth === 0) onMember?.(key, text.slice(from, at));
    return { key, value: node };
  }
  function list<T>(end: string, one: () => T): T[] {
    const all: T[] = [];
    at += 1;
    space();
    if (text[at] === end) {
      at += 1;
      return all;
    }
    for (;;) {
      space();
      all.push(one());
      space();
      const next = text[at++];
      if (next === end) return all;
      if (next !== ",") return fail();
    }
  }
  try {
    const node = value(0);
    space();
    return at === text.length ? node : null;
  } catch {
    return null;
  }
}

/** A JSON text with a member a line; other texts as they are. Numbers, keys and their order stay. */
export function pretty(text: string): string {
  const node = parse(text);
  return node ? write(node, "") : text;
}

function write(node: Node, indent: string): string {
  const inner = `${indent}  `;
  switch (node.kind) {
    case "object":
      return node.members.length ? `{\n${node.members.map(({ key, value }) => `${inner}${key}: ${write(value, inner)}`).join(",\n")}\n${indent}}` : "{}";
    case "array":
      return node.items.length ? `[\n${node.items.map((item) => inner + write(item, inner)).join(",\n")}\n${indent}]` : "[]";
    default:
      return node.text;
  }
}
