// Why an attempt was made, in words.
import type { Schema } from "../../../api/client.ts";

type Attempt = Pick<Schema<"Attempt">, "reason">;

/** "first", "retry 2", "replay", "test": retries are counted from the last start of the schedule. */
export function why(attempts: Attempt[], place: number) {
  const { reason } = attempts[place]!;
  if (reason !== "retry") return reason === "first" ? "first" : reason;
  let number = 0;
  for (let at = place; at >= 0 && attempts[at]!.reason === "retry"; at -= 1) number += 1;
  return `retry ${number}`;
}
