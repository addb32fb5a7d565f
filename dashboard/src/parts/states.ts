// How states look: one table for lists, details and charts.
import type { Delivery, Webhook } from "../api/client.ts";
import { day, time } from "../live/clock.svelte.ts";
import { theirs } from "./strangers.ts";

export type Tone = "ok" | "warn" | "bad" | "info" | "pause";
export interface Look {
  icon: string;
  word: string;
  tone: Tone;
}

/** A delivery's state. After a failed attempt "pending" is a warning. */
export function deliveryLook({ status, attempts_made, last_error }: Pick<Delivery, "status" | "attempts_made" | "last_error">): Look {
  switch (status) {
    case "pending":
      return attempts_made > 0 && last_error ? { icon: "↻", word: "Pending", tone: "warn" } : { icon: "○", word: "Pending", tone: "info" };
    case "sending":
      return { icon: "◔", word: "Sending", tone: "info" };
    case "delivered":
      return { icon: "✓", word: "Delivered", tone: "ok" };
    case "failed":
      return { icon: "✕", word: "Failed", tone: "bad" };
    case "held":
      return { icon: "‖", word: "Held", tone: "pause" };
    default:
      return { icon: "⊘", word: "Cancelled", tone: "pause" };
  }
}

/** A webhook's status: active or paused, nothing else. */
export const webhookLook = ({ status }: Pick<Webhook, "status">): Look =>
  status === "paused" ? { icon: "‖", word: "Paused", tone: "pause" } : { icon: "✓", word: "Active", tone: "ok" };

/** A webhook's health, which its figures tell; it stands beside the status. */
export type Health = "healthy" | "degraded" | "failing" | "no_traffic";

export const HEALTH: Record<Health, Look> = {
  healthy: { icon: "✓", word: "Healthy", tone: "ok" },
  degraded: { icon: "!", word: "Degraded", tone: "warn" },
  failing: { icon: "✕", word: "Failing", tone: "bad" },
  no_traffic: { icon: "–", word: "No traffic", tone: "pause" },
};

/** Who paused it, since when, why: "Paused by us 21 Nov 14:02: it answered 410 Gone". */
export function pauseSentence({ status_reason: why }: Pick<Webhook, "status_reason">): string {
  if (!why) return "Paused";
  const since = new Date(why.since);
  const date = `${day(since)} ${time(since, false)}`;
  switch (why.cause) {
    case "gone":
      return `Paused by us ${date}: it answered 410 Gone`;
    case "all_failed":
      return `Paused by us ${date}: every attempt failed for too long`;
    case "nobody_listens":
      return `Paused by us ${date}: nobody listens`;
    default:
      return `Paused by key ${theirs(why.key ?? "?")} ${date}${why.reason ? `: ${theirs(why.reason)}` : ""}`;
  }
}
