// By whom a delivery was sent again: a replay in bulk says who started it, the audit log who replayed one by itself.
import { get, type Schema } from "../../../api/client.ts";
import { Query } from "../../../api/query.svelte.ts";
import { session } from "../../../api/session.svelte.ts";

type Detail = Schema<"DeliveryDetail">;

/** The names, by the number of the attempt. Use in a component's script. */
export function replayedBy(delivery: () => Detail) {
  const again = () => delivery().attempts.filter(({ reason }) => reason === "replay");
  const query = new Query(
    () => (again().length ? `replayed-by:${delivery().account}:${delivery().id}:${again().at(-1)?.number}` : null),
    async (signal) => {
      const { account, id } = delivery();
      const names: Record<number, string> = {};
      const bulk = new Map<string, string | null>();
      for (const replay of new Set(again().flatMap(({ replay }) => replay ?? []))) {
        // It may be past its retention.
        bulk.set(replay, await get("/v1/accounts/{account}/replays/{id}", { account, id: replay }, { signal }).then(({ started_by }) => started_by, () => null));
      }
      const alone = again().some(({ replay }) => !replay) && !session.mayNot("audit:read");
      const acts = alone ? (await get("/v1/accounts/{account}/audit", { account }, { query: { action: "delivery.replayed", target: id, limit: "100" } as never, signal })).data : [];
      for (const { number, replay, started_at } of again()) {
        // Newest first: the last one before the attempt was made is its cause.
        const name = replay ? bulk.get(replay) : acts.find(({ at }) => new Date(at) <= new Date(started_at))?.actor.name;
        if (name) names[number] = name;
      }
      return names;
    },
  );
  return (number: number) => query.data?.[number];
}
