// A difference of two texts, with what did not change folded away except beside a change.

/** Lines that belong beside each other; `folded` ones are the same and shown on asking. */
export interface Part {
  kind: "changed" | "same" | "folded";
  left: string[];
  right: string[];
}

/** How many unchanged lines stay beside a change. */
const BESIDE = 3;
/** How many are worth a fold, which takes a line itself, and a click. */
const WORTH = 4;

const same = (kind: "same" | "folded", lines: string[]): Part => ({ kind, left: lines, right: lines });

/** The parts of what `diffLines` says: what was removed stands beside what came in its place. */
export function hunks(changes: { value: string; added?: boolean; removed?: boolean }[]): Part[] {
  const parts: Part[] = [];
  for (const [place, { value, added, removed }] of changes.entries()) {
    const lines = value.replace(/\n$/, "").split("\n");
    const last = parts.at(-1);
    if (added && last?.kind === "changed" && last.right.length === 0) last.right = lines;
    else if (added) parts.push({ kind: "changed", left: [], right: lines });
    else if (removed) parts.push({ kind: "changed", left: lines, right: [] });
    else parts.push(...unchanged(lines, place > 0 ? BESIDE : 0, place < changes.length - 1 ? BESIDE : 0));
  }
  return parts;
}

/** Unchanged lines, with a change before and after them or not. */
function unchanged(lines: string[], before: number, after: number): Part[] {
  if (lines.length < before + after + WORTH) return [same("same", lines)];
  const end = lines.length - after;
  return [...(before ? [same("same", lines.slice(0, before))] : []), same("folded", lines.slice(before, end)), ...(after ? [same("same", lines.slice(end))] : [])];
}

/** The lines of a part in pairs, the shorter side filled up with null. */
export const pairs = ({ left, right }: Part) => Array.from({ length: Math.max(left.length, right.length) }, (_, place) => ({ left: left[place] ?? null, right: right[place] ?? null }));
