// What the nav offers, by group. A place without a route is not shown: the nav never leads nowhere.
import { session } from "../api/session.svelte.ts";
import { find } from "../routes.ts";

export interface Place {
  text: string;
  /** What it is called where its group is not seen, if that is not the text. */
  label?: string;
  path: string;
  /** The keys that go there. */
  keys?: string;
}

export interface Group {
  title: string;
  places: Place[];
}

/** The groups for whoever is signed in, in an account. */
export function groups(account: string): Group[] {
  const at = (rest: string) => `/accounts/${account}${rest}`;
  const all: Group[] = [
    {
      title: "Integrations",
      places: [
        { text: "Webhooks", path: at("/webhooks"), keys: "g w" },
        { text: "Deliveries", path: at("/deliveries"), keys: "g d" },
        { text: "Events", path: at("/events"), keys: "g e" },
        { text: "Event types", path: at("/event-types") },
        { text: "Replays", path: at("/replays"), keys: "g r" },
      ],
    },
    { title: "Alerts", places: [{ text: "Webhooks", label: "Webhooks for alerts", path: at("/alerts/webhooks") }] },
    {
      title: "Develop",
      places: [
        ...(session.brand?.development ? [{ text: "Inbox", path: "/inbox/demo" }] : []),
        ...(session.mayNot("keys:read") ? [] : [{ text: "API keys", path: at("/keys") }]),
        { text: "Signature check", path: "/signature-check" },
        ...(session.mayNot("audit:read") ? [] : [{ text: "Audit log", path: at("/audit") }]),
      ],
    },
  ];
  if (session.who?.platform) {
    all.push({
      title: "Operate",
      places: [
        { text: "Accounts", path: "/accounts" },
        { text: "Platform keys", path: "/keys" },
        { text: "Addresses", path: "/addresses" },
        { text: "All changes", path: "/audit" },
        { text: "System", path: "/system" },
      ],
    });
  }
  const shown = all.map(({ title, places }) => ({ title, places: places.filter(({ path }) => find(path)) }));
  return shown.filter(({ places }) => places.length > 0);
}
