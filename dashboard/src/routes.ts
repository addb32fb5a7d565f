// Every address of the dashboard, and the screen that it shows. A screen is a chunk of its own, loaded when first shown.
//
// To add one: a directory below `screens`, a line here, and, if the nav should have it, a line in `frame/places.ts`.
import type { Component } from "svelte";
import { match, type Params } from "./router.svelte.ts";

/** A screen takes the parameters of its route. */
export type Screen = Component<{ params: Params }>;

interface Route {
  pattern: string;
  load: () => Promise<{ default: Screen }>;
}

/** A screen that takes no parameters. */
const alone = (load: () => Promise<{ default: Component }>) => load as unknown as Route["load"];

const list = () => import("./screens/webhooks/Webhooks.svelte");
const deliveries = () => import("./screens/logs/Deliveries.svelte");
const logs = () => import("./screens/webhook/Logs.svelte");
const keys = () => import("./screens/keys/Keys.svelte");
const audit = () => import("./screens/audit/Audit.svelte");

const routes: Route[] = [
  { pattern: "/accounts/:account/webhooks", load: list },
  { pattern: "/accounts/:account/alerts/webhooks", load: list },
  { pattern: "/accounts/:account/event-types", load: () => import("./screens/event-types/EventTypes.svelte") },
  { pattern: "/inbox/:name", load: () => import("./screens/inbox/Inbox.svelte") },
  // Before the webhook of any id.
  { pattern: "/accounts/:account/webhooks/new", load: () => import("./screens/new-webhook/NewWebhook.svelte") },
  { pattern: "/accounts/:account/webhooks/:id", load: () => import("./screens/webhook/Overview.svelte") },
  { pattern: "/accounts/:account/webhooks/:id/logs", load: logs },
  { pattern: "/accounts/:account/webhooks/:id/logs/:delivery", load: logs },
  { pattern: "/accounts/:account/webhooks/:id/settings", load: () => import("./screens/webhook/Settings.svelte") },
  { pattern: "/accounts/:account/deliveries", load: deliveries },
  { pattern: "/accounts/:account/deliveries/:delivery", load: deliveries },
  { pattern: "/accounts/:account/events", load: () => import("./screens/events/Events.svelte") },
  { pattern: "/accounts/:account/events/:event", load: () => import("./screens/events/Event.svelte") },
  { pattern: "/accounts/:account/replays", load: () => import("./screens/replays/Replays.svelte") },
  // Before the replay of any id.
  { pattern: "/accounts/:account/replays/new", load: () => import("./screens/replays/NewReplay.svelte") },
  { pattern: "/accounts/:account/replays/:replay", load: () => import("./screens/replays/ReplayPage.svelte") },
  { pattern: "/accounts/:account/keys", load: keys },
  { pattern: "/keys", load: keys },
  { pattern: "/accounts/:account/audit", load: audit },
  { pattern: "/audit", load: audit },
  { pattern: "/system", load: alone(() => import("./screens/system/System.svelte")) },
  { pattern: "/signature-check", load: alone(() => import("./screens/signature-check/SignatureCheck.svelte")) },
  { pattern: "/accounts", load: alone(() => import("./screens/accounts/Accounts.svelte")) },
  { pattern: "/addresses", load: alone(() => import("./screens/addresses/Addresses.svelte")) },
];

/** The route of an address with its parameters; null if there is none. */
export function find(path: string): { route: Route; params: Params } | null {
  for (const route of routes) {
    const params = match(route.pattern, path);
    if (params) return { route, params };
  }
  return null;
}
