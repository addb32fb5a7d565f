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

const list = () => import("./screens/webhooks/Webhooks.svelte");
const deliveries = () => import("./screens/logs/Deliveries.svelte");

const routes: Route[] = [
  { pattern: "/accounts/:account/webhooks", load: list },
  { pattern: "/accounts/:account/alerts/webhooks", load: list },
  { pattern: "/accounts/:account/deliveries", load: deliveries },
  { pattern: "/accounts/:account/deliveries/:delivery", load: deliveries },
  { pattern: "/accounts/:account/events", load: () => import("./screens/events/Events.svelte") },
  { pattern: "/accounts/:account/events/:event", load: () => import("./screens/events/Event.svelte") },
];

/** The route of an address with its parameters; null if there is none. */
export function find(path: string): { route: Route; params: Params } | null {
  for (const route of routes) {
    const params = match(route.pattern, path);
    if (params) return { route, params };
  }
  return null;
}
