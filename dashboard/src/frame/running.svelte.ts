// How many replays in bulk are not over, for the nav: read once, and kept by what the stream tells.
import { get, type Schema } from "../api/client.ts";
import { Query } from "../api/query.svelte.ts";
import { session } from "../api/session.svelte.ts";
import { live } from "../live/stream.svelte.ts";
import { idle } from "./idle.svelte.ts";

type Replay = Pick<Schema<"Replay">, "id" | "ended_at">;

/** Those of an account. Use in a component's script. */
export class Running {
  readonly #ids: Query<string[]>;

  constructor(account: () => string) {
    this.#ids = new Query(
      () => (!idle.is || session.mayNot("deliveries:read") ? null : `replays:${account()}:running`),
      async (signal) => {
        // The newest page is enough: at most 50 are unfinished, and hardly ever behind a hundred newer ones that are over.
        const { data } = await get("/v1/accounts/{account}/replays", { account: account() }, { query: { limit: 100 } as never, signal });
        return data.filter(({ ended_at }) => !ended_at).map(({ id }) => id);
      },
    );
    $effect(() => live.on("replay", (replay) => this.#take(replay)));
  }

  /** How many there are. */
  get number() {
    return this.#ids.data?.length ?? 0;
  }

  #take({ id, ended_at }: Replay) {
    const ids = this.#ids.data;
    if (!ids || ids.includes(id) === !ended_at) return;
    this.#ids.set(ended_at ? ids.filter((other) => other !== id) : [...ids, id]);
  }
}
