// The window's title: "Logs · CRM Sync · CronDB".
import { session } from "../api/session.svelte.ts";

/** Sets it from its parts, the nearest first. */
export function title(...parts: string[]) {
  document.title = [...parts, session.brandName].join(" · ");
}
