// What is read again is mostly the same: then it stays what it was, and nothing that shows it has to look at it anew.

type Row = { id: string };

const isRows = (data: unknown): data is Row[] => Array.isArray(data) && typeof data[0]?.id === "string";

/** `after`, or `before` if it says the same; of rows each by itself. Both are JSON. */
export function unlessSame<T>(before: T | undefined, after: T): T {
  if (before === undefined) return after;
  if (!isRows(before) || !isRows(after)) return JSON.stringify(before) === JSON.stringify(after) ? before : after;
  const known = new Map(before.map((row) => [row.id, row]));
  const rows = after.map((row) => {
    const was = known.get(row.id);
    return was && JSON.stringify(was) === JSON.stringify(row) ? was : row;
  });
  return rows.length === before.length && rows.every((row, place) => row === before[place]) ? before : (rows as T);
}
