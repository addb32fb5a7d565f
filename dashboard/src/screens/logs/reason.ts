// The second line of a delivery's row: the shortest reason for where it stands.
import type { Delivery } from "../../api/client.ts";
import { countdown, span, spoken } from "../../live/clock.svelte.ts";

/** What an error without a status code means, in few words. */
const SHORT: Record<string, string> = {
  dns_not_found: "name does not exist",
  dns_timeout: "name servers did not answer",
  dns_failed: "name servers failed",
  connect_refused: "connection refused",
  connect_timeout: "no connection in time",
  address_blocked: "address is not public",
  tls_expired: "certificate has ended",
  tls_name_mismatch: "certificate is for another name",
  tls_unknown_issuer: "certificate's issuer is unknown",
  tls_other: "TLS failed",
  response_timeout: "no answer in time",
  connection_reset: "closed before answering",
  bad_http: "answer was not HTTP",
  http_3xx: "answered with a redirect",
  http_4xx: "answered 4xx",
  http_5xx: "answered 5xx",
};

/** The last attempt's end: `500`, or what went wrong. */
export const ending = ({ last_status_code: code, last_error: error }: Pick<Delivery, "last_status_code" | "last_error">) =>
  code != null ? String(code) : error ? (SHORT[error] ?? error) : "no attempt yet";

export const shortError = (code: string) => SHORT[code] ?? code;

/** `3rd`. */
export const ordinal = (number: number) => `${number}${["th", "st", "nd", "rd"][number % 100 > 10 && number % 100 < 14 ? 0 : number % 10] ?? "th"}`;

/** When a planned attempt comes: a countdown, then why it has not begun. */
export function next(delivery: Pick<Delivery, "next_attempt_at" | "note">, now: number) {
  if (!delivery.next_attempt_at) return "";
  const at = new Date(delivery.next_attempt_at);
  if (at.getTime() > now) return `next in ${countdown(at, now)}`;
  return spoken(delivery.note ?? "due");
}

/** Where it stands and why, in a line. `attempts` is how many a whole schedule has. */
export function reason(delivery: Delivery, attempts: number, now: number): string {
  const { status, attempts_made: made } = delivery;
  switch (status) {
    case "pending":
      return made === 0 ? next(delivery, now) : [ending(delivery), made < attempts ? `attempt ${made} of ${attempts}` : `${made} attempts`, next(delivery, now)].filter(Boolean).join(" · ");
    case "sending":
      return made === 0 ? "request in flight" : `request in flight · attempt ${made + 1}`;
    case "delivered": {
      const took = delivery.last_duration_ms != null ? span(delivery.last_duration_ms) : null;
      if (made <= 1 || !delivery.ended_at) return [ending(delivery), took].filter(Boolean).join(" · ");
      const after = new Date(delivery.ended_at).getTime() - new Date(delivery.timestamp).getTime();
      return `${ending(delivery)} · ${ordinal(made)} attempt · after ${span(after)}`;
    }
    case "failed":
      return `${ending(delivery)} · ${made === 1 ? "1 attempt" : `${made} attempts`}`;
    case "held":
      return made === 0 ? "the webhook is paused · kept" : `${ending(delivery)} · the webhook is paused · kept`;
    default:
      return made === 0 ? "before its first attempt" : `${ending(delivery)} · after attempt ${made}`;
  }
}
