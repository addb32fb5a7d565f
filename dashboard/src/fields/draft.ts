// A webhook as a form holds it, and as the API takes it.
import type { Webhook } from "../api/client.ts";

export interface HeaderRow {
  name: string;
  value: string;
}

export interface Draft {
  name: string;
  url: string;
  events: string[];
  headers: HeaderRow[];
  /** Empty where the operator's setting holds. */
  timeout: string;
  schedule: string;
  rate: string;
  inFlight: string;
  http2: boolean;
  /** What signs: `hmac`, or `ed25519` beside it. */
  signing: string;
  /** What the order goes by: empty for none, `webhook`, or a JSON pointer into `data`. */
  order: string;
}

/** What stands where a header's value is not shown; sent back, it keeps the value. */
export const MASK = "••••";

export const emptyDraft = (events: string[] = []): Draft => ({ name: "", url: "", events, headers: [], timeout: "", schedule: "", rate: "", inFlight: "", http2: false, signing: "hmac", order: "" });

/** The draft of a webhook that is there. */
export const draftOf = (webhook: Webhook): Draft => {
  const own = (field: string, value: string) => (webhook.defaults.includes(field) ? "" : value);
  return {
    name: webhook.name,
    url: webhook.url,
    events: [...webhook.events],
    headers: Object.keys(webhook.headers).map((name) => ({ name, value: MASK })),
    timeout: own("timeout", webhook.timeout),
    schedule: own("retry_schedule", webhook.retry_schedule.join(" ")),
    rate: webhook.rate_limit === null || webhook.rate_limit === undefined ? "" : String(webhook.rate_limit),
    inFlight: own("max_in_flight", String(webhook.max_in_flight)),
    http2: webhook.http2,
    signing: webhook.signing,
    order: webhook.order?.by ?? "",
  };
};

/** A whole number as the API takes it; other text goes as it is, and is refused with a reason. */
const number = (text: string) => (text.trim() === "" ? null : /^\d+$/.test(text.trim()) ? Number(text) : text.trim()) as number | null;

/** The body of a request. Rows without a name and a value are not there. */
export function bodyOf(draft: Draft) {
  const spans = draft.schedule.split(/[\s,·]+/).filter(Boolean);
  return {
    ...(draft.name.trim() ? { name: draft.name.trim() } : {}),
    url: draft.url.trim(),
    events: draft.events,
    headers: Object.fromEntries(draft.headers.filter(({ name, value }) => name.trim() || value).map(({ name, value }) => [name.trim(), value])),
    timeout: draft.timeout.trim() || null,
    retry_schedule: spans.length ? spans : null,
    rate_limit: number(draft.rate),
    max_in_flight: number(draft.inFlight),
    http2: draft.http2,
    signing: draft.signing,
    order: draft.order.trim() ? { by: draft.order.trim() } : null,
  };
}

/** The fields of a form in their order: how the API and people call them. */
export const WORDS: Record<keyof Draft, { field: string; label: string }> = {
  name: { field: "name", label: "Name" },
  url: { field: "url", label: "URL" },
  events: { field: "events", label: "Events" },
  headers: { field: "headers", label: "Headers" },
  timeout: { field: "timeout", label: "Time-out" },
  schedule: { field: "retry_schedule", label: "Retry schedule" },
  rate: { field: "rate_limit", label: "Rate" },
  inFlight: { field: "max_in_flight", label: "In flight" },
  order: { field: "order", label: "Order" },
  signing: { field: "signing", label: "Signing" },
  http2: { field: "http2", label: "HTTP/2" },
};

/** Headers in a text that was pasted: `Key: value` lines, or a curl command. Empty if it is neither. */
export function pastedHeaders(text: string): HeaderRow[] {
  const row = (line: string): HeaderRow[] => {
    const match = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(.*?)\s*$/.exec(line);
    return match ? [{ name: match[1]!, value: match[2]! }] : [];
  };
  if (/^\s*curl\s/.test(text)) {
    return [...text.matchAll(/\s(?:-H|--header)[ =]?(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|(\S+))/g)].flatMap(([, single, double, bare]) => row(single ?? double?.replace(/\\(.)/g, "$1") ?? bare ?? ""));
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const rows = lines.flatMap(row);
  // One line without a colon, or a URL, is a name or a value, and stays where it was pasted.
  return rows.length === lines.length && !/^\s*https?:/.test(text) ? rows : [];
}
