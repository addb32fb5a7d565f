// The filter of the log: the same grammar in the address bar, in the API and on the command line.
import type { Delivery } from "../../api/client.ts";

/** The keys of the grammar that the dashboard offers; the webhook is part of the path. */
export const KEYS = ["status", "event", "code", "error", "test", "since", "until", "q"] as const;
export type Key = (typeof KEYS)[number];
export type Filter = Partial<Record<Key, string>>;

export const STATUSES = ["pending", "sending", "delivered", "failed", "held", "cancelled"];
export const CODES = ["2xx", "3xx", "4xx", "5xx"];
export const ERRORS = [
  "dns_not_found",
  "dns_timeout",
  "dns_failed",
  "connect_refused",
  "connect_timeout",
  "address_blocked",
  "tls_expired",
  "tls_name_mismatch",
  "tls_unknown_issuer",
  "tls_other",
  "response_timeout",
  "connection_reset",
  "bad_http",
  "http_3xx",
  "http_4xx",
  "http_5xx",
];
/** Spans for `since`, and how they are said. */
export const SPANS: [string, string][] = [
  ["15m", "15 min"],
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["7d", "7 d"],
  ["30d", "30 d"],
];

/** The filter that an address says. */
export function read(query: URLSearchParams): Filter {
  const filter: Filter = {};
  for (const key of KEYS) {
    const value = query.get(key);
    if (value) filter[key] = value;
  }
  return filter;
}

export const isEmpty = (filter: Filter) => KEYS.every((key) => !filter[key]);

/** The values of a key that takes several. */
export const values = (filter: Filter, key: Key) => filter[key]?.split(",") ?? [];

/** The list of `key` with `value` put in, or taken out if it was there. */
export function toggled(filter: Filter, key: Key, value: string) {
  const before = values(filter, key);
  return (before.includes(value) ? before.filter((other) => other !== value) : [...before, value]).join(",");
}

/** The last key that is set and its list without the last value: what Backspace takes away. */
export function withoutLast(filter: Filter): Filter {
  const key = KEYS.findLast((key) => key !== "q" && filter[key]);
  return key ? { ...filter, [key]: values(filter, key).slice(0, -1).join(",") } : filter;
}

/** The query of a request. */
export const query = (filter: Filter) => Object.fromEntries(KEYS.flatMap((key) => (filter[key] ? [[key, filter[key]]] : []))) as Record<Key, string>;

/** Its words on the command line, before a shell reads them. */
export const pairs = (filter: Filter) => KEYS.flatMap((key) => (filter[key] ? [`${key}=${filter[key]}`] : []));

const fits = (wanted: string[], is: (value: string) => boolean) => wanted.length === 0 || wanted.some(is);

/** What of a delivery a filter looks at. */
type Seen = Pick<Delivery, "status" | "event" | "test"> & { last_status_code?: number | null; last_error?: string | null };

/** Whether a delivery that has just come in fits, as far as its news tells; never for a search in bodies. */
export function matches(filter: Filter, delivery: Seen) {
  if (filter.q || filter.until) return false;
  const code = delivery.last_status_code;
  return (
    fits(values(filter, "status"), (status) => status === delivery.status) &&
    fits(values(filter, "event"), (name) => name === "*" || name === delivery.event || (name.endsWith(".*") && delivery.event.startsWith(name.slice(0, -1)))) &&
    (!filter.test || filter.test === String(delivery.test)) &&
    fits(values(filter, "code"), (wanted) => code != null && (wanted === String(code) || wanted === `${String(code)[0]}xx`)) &&
    fits(values(filter, "error"), (error) => error === delivery.last_error)
  );
}
