// What the server does that concerns whoever looks, wherever they are: told above the page.
import { get } from "../api/client.ts";
import { invalidate, Query } from "../api/query.svelte.ts";
import { session } from "../api/session.svelte.ts";
import { span } from "../live/clock.svelte.ts";
import { live } from "../live/stream.svelte.ts";
import { pauseSentence } from "../parts/states.ts";
import { href } from "../router.svelte.ts";
import { banners, URGENCY } from "./banners.svelte.ts";
import { idle } from "./idle.svelte.ts";
import { pageThere } from "./version.ts";
import { theirs } from "../parts/strangers.ts";

/** How often the state of the system is asked for; no stream tells it. */
const SYSTEM_EVERY = 10_000;
/** From how many seconds on sending is behind. */
const BEHIND = 60;
/** From which share on the disk is full, in percent. */
const FULL = 90;

/** Use in a component's script. */
export function watch(account: () => string) {
  watchSystem();
  watchPaused(account);
  watchVersion();
}

/** The operator's: sending, and the disk. */
function watchSystem() {
  const isOperator = () => Boolean(session.who?.platform);
  const system = new Query(
    () => (idle.is && isOperator() ? "system" : null),
    (signal) => get("/v1/system", {}, { signal }),
  );
  $effect(() => {
    if (!isOperator()) return;
    // Nobody reads what a hidden page says.
    const timer = setInterval(() => document.hidden || void system.reload(), SYSTEM_EVERY);
    return () => clearInterval(timer);
  });
  const way = () => ({ text: "System", href: href("/system") });
  // Of what is read only what is said counts: the same again is no news to whoever listens.
  const sending = $derived.by(() => {
    if (system.data?.trouble) return system.data.trouble;
    const behind = system.data?.oldest_due_seconds ?? 0;
    return behind >= BEHIND ? `Sending is ${span(Math.floor(behind / 60) * 60_000)} behind.` : null;
  });
  const disk = $derived.by(() => {
    const { disk_free_bytes: free, disk_bytes: all } = system.data ?? {};
    if (typeof free !== "number" || typeof all !== "number" || all === 0) return null;
    const percent = Math.floor((100 * (all - free)) / all);
    return percent >= FULL ? `The disk is ${percent} % full. Once it is full, events are refused.` : null;
  });
  $effect(() => (sending ? banners.put(URGENCY.sending, sending, way()) : undefined));
  $effect(() => (disk ? banners.put(URGENCY.disk, disk, way()) : undefined));
}

/** The account's: webhooks that were paused by us. */
function watchPaused(account: () => string) {
  const paused = new Query(
    () => (idle.is ? `webhooks:${account()}:paused` : null),
    async (signal) => (await get("/v1/accounts/{account}/webhooks", { account: account() }, { query: { status: "paused", limit: 100 }, signal })).data,
  );
  $effect(() =>
    live.on("webhook", (news) => {
      if (news.status === "paused" || paused.data?.some(({ id }) => id === news.id)) invalidate(`webhooks:${account()}:paused`);
    }),
  );
  $effect(() => {
    const [first, ...others] = (paused.data ?? []).filter(({ status_reason }) => status_reason?.by === "us");
    if (!first) return;
    const list = `/accounts/${account()}/webhooks`;
    if (others.length) return banners.put(URGENCY.paused, `${others.length + 1} webhooks were paused by us. What comes for them is held; nothing is lost.`, { text: "See them", href: href(`${list}?status=paused`) });
    return banners.put(URGENCY.paused, `${theirs(first.name)}: ${pauseSentence(first)}. What comes for it is held; nothing is lost.`, { text: "Open it", href: href(`${list}/${first.id}`) });
  });
}

/** This page's own: whether the server has a newer one. Asked whenever the stream is back after a gap, as after an update. */
function watchVersion() {
  let isNew = $state(false);
  let gap = false;
  $effect(() => {
    // Another account has another stream, which is no gap.
    if (["reconnecting", "polling", "offline"].includes(live.state)) gap = true;
    if (live.state !== "live" || !gap) return;
    gap = false;
    void pageThere().then((there) => (isNew ||= there === "newer"));
  });
  $effect(() => (isNew ? banners.put(URGENCY.version, "There is a new version of this page.", { text: "Reload", act: () => location.reload() }) : undefined));
}
