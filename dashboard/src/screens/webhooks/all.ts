// Every webhook of an account, in the order in which they need somebody.
import { get, type Schema } from "../../api/client.ts";

/** A webhook with its figures of the last 24 h. */
export type Row = Schema<"WebhookRow">;

/** An account has at most 1,000: they are read whole, and searched and sorted here. */
export async function allWebhooks(account: string, signal?: AbortSignal) {
  const all: Row[] = [];
  let cursor: string | undefined;
  do {
    const page: { data: Row[]; next_cursor: string | null } = await get("/v1/accounts/{account}/webhooks", { account }, { query: { limit: 100, cursor, stats: "24h" }, signal });
    all.push(...page.data);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  return all;
}

/** How much a webhook needs somebody: failing, stopped by us, degraded, paused by a person, the rest. */
export function need({ status, status_reason, stats }: Pick<Row, "status" | "status_reason" | "stats">) {
  if (status === "paused") return status_reason?.by === "us" ? 1 : 3;
  return { failing: 0, degraded: 2, healthy: 4, no_traffic: 4 }[stats?.health ?? "healthy"];
}

/** The order of the list: by need, then by name. */
export const byNeed = (a: Row, b: Row) => need(a) - need(b) || a.name.localeCompare(b.name) || a.id.localeCompare(b.id);
