// What a form changes of a webhook, and where somebody else changed the same meanwhile.
import type { Webhook } from "../../../api/client.ts";
import { bodyOf, draftOf, type Draft, type Field } from "../../../fields/draft.ts";

type Body = ReturnType<typeof bodyOf>;

/** The fields of a form: how the API and people call them. */
export const WORDS: Partial<Record<string, { field: Field | "http2"; label: string }>> = {
  name: { field: "name", label: "Name" },
  url: { field: "url", label: "URL" },
  events: { field: "events", label: "Events" },
  headers: { field: "headers", label: "Headers" },
  timeout: { field: "timeout", label: "Time-out" },
  schedule: { field: "retry_schedule", label: "Retry schedule" },
  rate: { field: "rate_limit", label: "Rate" },
  inFlight: { field: "max_in_flight", label: "In flight" },
  http2: { field: "http2", label: "HTTP/2" },
  signing: { field: "signing", label: "Signing" },
  order: { field: "order", label: "Order" },
} satisfies Record<keyof Draft, { field: Field | "http2"; label: string }>;

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

/** The fields of `after` that are others than those of `before`. */
export const changed = (before: Body, after: Body) => Object.fromEntries(Object.entries(after).filter(([field, value]) => !same(before[field as keyof Body], value))) as Partial<Body>;

export interface Conflict {
  /** The field of the draft. */
  key: keyof Draft;
  label: string;
  mine: string;
  theirs: string;
}

const text = (value: unknown) => (value === null || value === undefined ? "default" : Array.isArray(value) ? value.join(" ") : typeof value === "object" ? Object.keys(value).join(", ") || "none" : String(value));

/** What both changed, to different values, since `base`. */
export function conflicts(base: Webhook, now: Webhook, mine: Partial<Body>): Conflict[] {
  const theirs = changed(bodyOf(draftOf(base)), bodyOf(draftOf(now)));
  return Object.entries(WORDS).flatMap(([key, word]) => {
    const field = word!.field as keyof Body;
    if (!Object.hasOwn(mine, field) || !Object.hasOwn(theirs, field) || same(mine[field], theirs[field])) return [];
    return [{ key: key as keyof Draft, label: word!.label, mine: text(mine[field]), theirs: text(theirs[field]) }];
  });
}
