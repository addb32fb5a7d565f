// Replays in bulk, in words.
import type { Schema } from "../../api/client.ts";
import { count, day, span, time } from "../../live/clock.svelte.ts";
import type { Look } from "../../parts/states.ts";
import { theirs } from "../../parts/strangers.ts";

export type Replay = Schema<"Replay">;
export type PassedOver = Schema<"PassedOver">;

/** The states that a replay takes where none is named: those that have ended. */
export const ENDED = "delivered,failed,cancelled";

/** What a dry run answers, in a replay's place. */
export type DryRun = Schema<"ReplayDryRun">;

/** A replay's state. */
export function replayLook({ status }: Pick<Replay, "status">): Look {
  switch (status) {
    case "running":
      return { icon: "◔", word: "Running", tone: "info" };
    case "queued":
      return { icon: "○", word: "Queued", tone: "info" };
    case "paused":
      return { icon: "‖", word: "Paused", tone: "pause" };
    case "stopped":
      return { icon: "⊘", word: "Stopped", tone: "pause" };
    default:
      return { icon: "✓", word: "Done", tone: "ok" };
  }
}

const WHY: [keyof PassedOver, string][] = [
  ["unfinished", "still to be sent anyway"],
  ["tests", "tests"],
  ["webhook_paused", "to a paused webhook"],
  ["webhook_deleted", "to a deleted webhook"],
  ["gone", "past retention"],
];

/** Which are left out, and why: "3 still to be sent anyway, 1 to a paused webhook"; empty if none are. */
export const leftOut = (passed: PassedOver) => WHY.flatMap(([key, why]) => (passed[key] ? [`${count(passed[key])} ${why}`] : [])).join(", ");

/** How many have an end. */
export const ended = ({ results }: Replay) => results.delivered + results.failed + results.cancelled;

/** Which deliveries are meant: "failed · alert.* · 23 Nov 13:00 to 13:30". */
export function meant(filter: Record<string, string>) {
  const at = (text: string) => {
    const instant = new Date(text);
    return `${day(instant)} ${time(instant, false)}`;
  };
  const { since, until } = filter;
  const period = since && until ? `${at(since)} to ${at(until)}` : since ? `since ${at(since)}` : until ? `until ${at(until)}` : "";
  return [filter.status, filter.event, filter.code, filter.error, filter.q && `“${theirs(filter.q)}”`, period].filter(Boolean).join(" · ") || "all";
}

/** "214 deliveries". */
export const deliveries = (number: number) => (number === 1 ? "1 delivery" : `${count(number)} deliveries`);

/** How long so many take at a rate. */
export const takes = (number: number, rate: number | null) => (rate ? `about ${span(Math.max(1_000, (number / rate) * 1_000))}` : "as fast as it is answered");
