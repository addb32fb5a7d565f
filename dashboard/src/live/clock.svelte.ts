// The server's time, ticking, and how times are written.
import { clockAhead } from "../api/client.ts";
import { browser } from "../api/session.svelte.ts";
import { span } from "./span.ts";

export { span };

/** How exact the slow time is, in milliseconds. */
const SLOW = 10_000;
const ZONE = "posthaste.zone";
const pad = (value: number) => String(value).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

class Clock {
  /** The server's time in milliseconds, to the second. */
  now = $state(Date.now());
  /** The same to ten seconds: for what is written in minutes and does not change each second. */
  slow = $state(Date.now());
  /** Whether times are written in UTC. */
  utc = $state(browser.get(ZONE) === "utc");

  constructor() {
    setInterval(() => {
      this.now = Date.now() + clockAhead;
      if (Math.abs(this.now - this.slow) >= SLOW) this.slow = this.now;
    }, 1_000);
  }

  /** The time as far as it matters to how long ago `at` was: a thousand old rows are not written anew each second. */
  for(at: Date) {
    const age = this.slow - at.getTime();
    return age > 60_000 || age < -60_000 ? this.slow : this.now;
  }

  /** Switches between local time and UTC. */
  toggleZone() {
    this.utc = !this.utc;
    browser.set(ZONE, this.utc ? "utc" : "local");
  }
}

export const clock = new Clock();

const parts = (at: Date) =>
  clock.utc
    ? { year: at.getUTCFullYear(), month: at.getUTCMonth(), day: at.getUTCDate(), hour: at.getUTCHours(), minute: at.getUTCMinutes(), second: at.getUTCSeconds() }
    : { year: at.getFullYear(), month: at.getMonth(), day: at.getDate(), hour: at.getHours(), minute: at.getMinutes(), second: at.getSeconds() };

/** `14:02:11`. */
export function time(at: Date, seconds = true) {
  const { hour, minute, second } = parts(at);
  return `${pad(hour)}:${pad(minute)}${seconds ? `:${pad(second)}` : ""}`;
}

/** `21 Nov`, with the year if it is another one. */
export function day(at: Date) {
  const { year, month, day } = parts(at);
  return `${day} ${MONTHS[month]}${year === parts(new Date(clock.now)).year ? "" : ` ${year}`}`;
}

/** To the second, with the day where it is another one. */
export const timed = (at: Date) => (day(at) === day(new Date(clock.now)) ? time(at) : `${day(at)} ${time(at)}`);

/** A sentence of the server's with its instants as people here read them. */
export const spoken = (text: string) => text.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (at) => timed(new Date(at)));

/** To the millisecond, with the zone: for a title. */
export function exact(at: Date) {
  const { year, month, day } = parts(at);
  const milliseconds = String(at.getMilliseconds()).padStart(3, "0");
  return `${year}-${pad(month + 1)}-${pad(day)} ${time(at)}.${milliseconds} ${clock.utc ? "UTC" : "local time"}`;
}

/** Under an hour relative, today the time, else the day with the time. */
export function when(at: Date, now = clock.now) {
  const ago = (now - at.getTime()) / 1_000;
  if (ago >= -2 && ago < 1) return "just now";
  if (ago >= 0 && ago < 60) return `${Math.floor(ago)} s ago`;
  if (ago >= 0 && ago < 3_600) return `${Math.floor(ago / 60)} min ago`;
  return day(at) === day(new Date(now)) ? time(at) : `${day(at)} ${time(at, false)}`;
}

/** How long it is until `at`: `0:48`, `12:30`, `5 h 59 min`, `2 d 3 h`. */
export function countdown(at: Date, now = clock.now) {
  const left = Math.max(0, Math.ceil((at.getTime() - now) / 1_000));
  if (left < 3_600) return `${Math.floor(left / 60)}:${pad(left % 60)}`;
  return span(left * 1_000);
}

/** A span of the API such as `30s`, `1h30m` or `24h`, in milliseconds. */
export function milliseconds(text: string) {
  const units: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  let sum = 0;
  for (const [, value, unit] of text.matchAll(/([\d.]+)(ms|s|m|h|d)/g)) sum += Number(value) * units[unit!]!;
  return sum;
}

/** `1,204`. */
export const count = (value: number) => value.toLocaleString("en-US");
/** `97.0 %`. */
export const percent = (share: number) => `${(Math.floor(share * 1_000) / 10).toFixed(1)} %`;
