// A difference of two texts, with what did not change folded away except beside a change.

export interface Part {
  kind: "added" | "removed" | "same" | "folded";
  lines: string[];
}

/** How many unchanged lines stay beside a change. */
const BESIDE = 3;

/** The parts of what `diffLines` says. */
export function hunks(changes: { value: string; added?: boolean; removed?: boolean }[]): Part[] {
  return changes.flatMap(({ value, added, removed }, place): Part[] => {
    const lines = value.replace(/\n$/, "").split("\n");
    if (added || removed) return [{ kind: added ? "added" : "removed", lines }];
    const before = place > 0 ? BESIDE : 0;
    const after = place < changes.length - 1 ? BESIDE : 0;
    if (lines.length <= before + after + 1) return [{ kind: "same", lines }];
    const end = lines.length - after;
    return [
      ...(before ? [{ kind: "same" as const, lines: lines.slice(0, before) }] : []),
      { kind: "folded", lines: lines.slice(before, end) },
      ...(after ? [{ kind: "same" as const, lines: lines.slice(end) }] : []),
    ];
  });
}
