// The window's title: "Logs · CRM Sync · CronDB".
import { session } from "../api/session.svelte.ts";
import { theirs } from "../parts/strangers.ts";

/** Sets it from its parts, the nearest first. */
export function title(...parts: string[]) {
  document.title = [...parts.map(theirs), session.brandName].join(" · ");
}
