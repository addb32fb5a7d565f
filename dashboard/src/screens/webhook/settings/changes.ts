// What a form changes of a webhook, and where somebody else changed the same meanwhile.
import type { Webhook } from "../../../api/client.ts";
import { bodyOf, draftOf, WORDS, type Draft } from "../../../fields/draft.ts";

type Body = ReturnType<typeof bodyOf>;

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
    const field = word.field as keyof Body;
    if (!Object.hasOwn(mine, field) || !Object.hasOwn(theirs, field) || same(mine[field], theirs[field])) return [];
    return [{ key: key as keyof Draft, label: word.label, mine: text(mine[field]), theirs: text(theirs[field]) }];
  });
}
