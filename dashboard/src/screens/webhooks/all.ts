// Every webhook of an account, in the order in which they need somebody.
import { get, type Webhook } from "../../api/client.ts";

/** An account has at most 1,000: they are read whole, and searched and sorted here. */
export async function allWebhooks(account: string, signal?: AbortSignal) {
  const all: Webhook[] = [];
  let cursor: string | undefined;
  do {
    const page: { data: Webhook[]; next_cursor: string | null } = await get("/v1/accounts/{account}/webhooks", { account }, { query: { limit: 100, cursor }, signal });
    all.push(...page.data);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  return all;
}

/** How much a webhook needs somebody: failing, stopped by us, paused by a person, the rest. */
export function need({ status, status_reason, health }: Pick<Webhook, "status" | "status_reason" | "health">) {
  if (status === "paused") return status_reason?.by === "us" ? 1 : 2;
  return health === "failing" ? 0 : 3;
}

/** The order of the list: by need, then by name. */
export const byNeed = (a: Webhook, b: Webhook) => need(a) - need(b) || a.name.localeCompare(b.name) || a.id.localeCompare(b.id);
