// How many deliveries there are: counted by the server, up to a bound.
import { get, type Schema } from "../../api/client.ts";
import { count } from "../../live/clock.svelte.ts";

export type Counted = Schema<"DeliveryCount">;

/** Counts what the filter means. */
export const counted = (account: string, filter: { webhook?: string; since?: string; status?: string }, signal?: AbortSignal): Promise<Counted> =>
  get("/v1/accounts/{account}/deliveries/count", { account }, { query: filter as never, signal });

/** `1,204`; where there are more than were counted `10,000+`. */
export const countText = ({ count: number, more }: Pick<Counted, "count" | "more">) => `${count(number)}${more ? "+" : ""}`;
