// Every line for the command line that the dashboard shows or copies. A test has the real binary carry out each of them.
import { type Filter, pairs } from "../screens/logs/filter.ts";
import { command } from "./shell.ts";

/** The account that the command line acts for unless it is told. */
const DEFAULT = "default";
/** A name may start with a dash: with `=` it is read as a value all the same. */
const inAccount = (account: string) => (account === DEFAULT ? [] : account.startsWith("-") ? [`--account=${account}`] : ["--account", account]);

/** Sends an event; without a type one that every catalogue has. */
export const send = (account: string, event = "alert.domain_matched") => command("posthaste", "send", event, ...inAccount(account));

/** Makes a webhook that takes these events. */
export const createWebhook = (account: string, events: string) => command("posthaste", "webhooks", "create", "CRM Sync", "https://example.com/hook", "--events", events, ...inAccount(account));

/** Makes a key of an account, or, without one, of the platform. */
export const createKey = (account: string | undefined) => command("posthaste", "keys", "create", "import", ...(account === undefined ? ["--platform"] : inAccount(account)));

/** Makes an account. */
export const createAccount = () => command("posthaste", "accounts", "create", "acme");

/** Sends again what failed in a day. */
export const replayFailed = (account: string) => command("posthaste", "replay", "--status", "failed", "--since", "24h", ...inAccount(account));

/** Shows what was changed in an account, or, without one, everywhere. */
export const audit = (account: string | undefined) => command("posthaste", "audit", ...(account === undefined ? ["--all"] : inAccount(account)));

/** Lists what a filter means. */
export const list = (what: "deliveries" | "events", account: string, filter: Filter, webhook?: string) =>
  command("posthaste", what, "list", ...(webhook ? [`webhook=${webhook}`] : []), ...pairs(filter), ...inAccount(account));
