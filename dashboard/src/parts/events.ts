// What a webhook takes, in few words.

/** "All events", or its names: the first ones, and how many more. */
export function eventsText(events: string[], most = 2) {
  if (events.includes("*")) return "All events";
  const rest = events.length - most;
  return rest > 0 ? `${events.slice(0, most).join(", ")} +${rest}` : events.join(", ");
}

/** Whether one of these patterns takes an event type: its name, its group, or everything. */
export const takes = (events: string[], name: string) => events.some((pattern) => pattern === "*" || pattern === name || (pattern.endsWith(".*") && name.startsWith(pattern.slice(0, -1))));

/** Whether one of these patterns takes some event of a group. */
export const takesGroup = (events: string[], group: string) => events.some((pattern) => pattern === "*" || pattern.startsWith(`${group}.`));
