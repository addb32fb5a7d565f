// Who is signed in, and whose webhooks these are.
import { get, Problem, type Schema } from "./client.ts";

const KEY = "posthaste.key";

/** Storage that may be forbidden: then nothing is kept. */
export const kept = (storage: () => Storage) => ({
  get(name: string) {
    try {
      return storage().getItem(name);
    } catch {
      return null;
    }
  },
  set(name: string, value: string | null) {
    try {
      if (value === null) storage().removeItem(name);
      else storage().setItem(name, value);
    } catch {
      // Not kept; everything else works.
    }
  },
});

/** For this tab, and for this browser. */
export const tab = kept(() => sessionStorage);
export const browser = kept(() => localStorage);

class Session {
  /** A key that was pasted, for this tab only. */
  key = tab.get(KEY);
  /** Who is signed in; null if nobody is; undefined while that is being asked. */
  who = $state.raw<Schema<"CurrentSession"> | null | undefined>(undefined);
  /** Whose webhooks these are; null if the server cannot be reached. */
  brand = $state.raw<Schema<"Brand"> | null>(null);
  /** Why the brand could not be read. */
  fault = $state.raw<Problem | null>(null);
  /** Whether somebody was signed in, and is no longer. */
  wasSignedIn = $state(false);

  /** Asks for the brand and for who is signed in. */
  async start() {
    this.fault = null;
    try {
      this.brand = await get("/v1/brand", {});
      // Without a key nobody is signed in, and asking would only be refused.
      this.who = this.key ? await get("/v1/sessions/current", {}) : null;
    } catch (error) {
      const problem = Problem.of(error);
      if (problem.status === 401) this.ended();
      else this.fault = problem;
    }
  }

  /** Signs in with a key. Throws a `Problem` if it is no good. */
  async signIn(key: string) {
    this.key = key.trim();
    try {
      this.who = await get("/v1/sessions/current", {});
      this.wasSignedIn = false;
      tab.set(KEY, this.key);
    } catch (error) {
      this.key = null;
      throw error;
    }
  }

  /** Signs out. */
  signOut() {
    this.key = null;
    tab.set(KEY, null);
    this.who = null;
    this.wasSignedIn = false;
  }

  /** The server no longer knows who this is. */
  ended() {
    if (this.who) this.wasSignedIn = true;
    this.key = null;
    tab.set(KEY, null);
    this.who = null;
  }

  /** The account to start with: the caller's own, or the one seen last. */
  get account() {
    return this.who?.account ?? browser.get("posthaste.account") ?? "default";
  }

  get brandName() {
    return this.brand?.name ?? "posthaste";
  }
}

export const session = new Session();
