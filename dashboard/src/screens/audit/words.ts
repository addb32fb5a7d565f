// Entries of the audit log, in words.
import type { Schema } from "../../api/client.ts";
import { day, time } from "../../live/clock.svelte.ts";
import { theirs } from "../../parts/strangers.ts";

export type Entry = Schema<"AuditEntry">;

/** What was done, by the name of the action. */
const DONE: Record<string, string> = {
  "account.created": "Account created",
  "account.updated": "Account changed",
  "account.deleted": "Account deleted",
  "webhook.created": "Webhook created",
  "webhook.updated": "Webhook changed",
  "webhook.paused": "Webhook paused",
  "webhook.resumed": "Webhook resumed",
  "webhook.deleted": "Webhook deleted",
  "webhook.secret_revealed": "Signing secret revealed",
  "webhook.secret_rotated": "Signing secret rotated",
  "webhook.secret_confirmed": "Overlap of secrets ended",
  "key.created": "Key created",
  "key.revoked": "Key revoked",
  "session.opened": "Session opened",
  "session.ended": "Session ended",
  "delivery.replayed": "Delivery replayed",
  "delivery.cancelled": "Delivery cancelled",
  "replay.started": "Replay started",
  "replay.paused": "Replay paused",
  "replay.resumed": "Replay resumed",
  "replay.stopped": "Replay stopped",
};

/** The groups of actions, as the filter takes them. */
export const GROUPS: [string, string][] = [
  ["webhook.*", "Webhooks"],
  ["delivery.*", "Deliveries"],
  ["replay.*", "Replays"],
  ["key.*", "Keys"],
  ["session.*", "Sessions"],
  ["account.*", "Accounts"],
];

export const done = (action: string) => DONE[action] ?? action;

/** A value on one line. */
function say(value: unknown): string {
  if (value === null || value === undefined) return "default";
  if (Array.isArray(value)) return value.map(say).join(", ") || "none";
  if (typeof value === "object") return Object.entries(value).map(([name, one]) => `${name} ${say(one)}`).join(", ") || "none";
  const text = String(value);
  // An instant as instants are written here.
  if (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text)) return `${day(new Date(text))} ${time(new Date(text))}`;
  return theirs(text) || "empty";
}

/** The particulars, a line each: what was changed from and to, and the rest by its name. */
export function particulars({ detail }: Entry): string[] {
  const { changes = {}, ...rest } = detail as { changes?: Record<string, { from: unknown; to: unknown }> };
  const words = (name: string) => name.replaceAll("_", " ");
  return [
    ...Object.entries(changes).map(([name, { from, to }]) => `${words(name)}: ${say(from)} → ${say(to)}`),
    ...Object.entries(rest).flatMap(([name, value]) => (value === null || value === false || (Array.isArray(value) && value.length === 0) ? [] : [value === true ? words(name) : `${words(name)}: ${say(value)}`])),
  ];
}

/** Where its target is shown, if it still can be. */
export function place({ account, action, target }: Entry): string | null {
  if (!account || action.endsWith(".deleted")) return null;
  const base = `/accounts/${account}`;
  const places: Record<string, string> = {
    webhook: `${base}/webhooks/${target.id}`,
    delivery: `${base}/deliveries/${target.id}`,
    replay: `${base}/replays/${target.id}`,
    account: `${base}/webhooks`,
    key: `${base}/keys`,
  };
  return places[target.kind] ?? null;
}
