// Who is signed in, and whose webhooks these are.
import { get, post, Problem, remove, type Schema } from "./client.ts";

/** What every name begins with under which something is kept. */
const OURS = "posthaste.";
/** Whether this browser was signed in: without it nobody asks who it is, since the answer would be a refusal. */
const SIGNED_IN = "posthaste.signed-in";
const SEEN = "posthaste.account";

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
  /** Forgets all that is ours: other pages of this origin keep theirs. */
  clear() {
    try {
      for (const name of Object.keys(storage()).filter((name) => name.startsWith(OURS))) storage().removeItem(name);
    } catch {
      // Nothing was kept.
    }
  },
});

/** For this tab, and for this browser. */
export const tab = kept(() => sessionStorage);
export const browser = kept(() => localStorage);

class Session {
  /** The token of an embedded portal, sent with every request; never kept anywhere but here. Others have a cookie. */
  bearer: string | null = null;
  /** Who is signed in; null if nobody is; undefined while that is being asked. */
  who = $state.raw<Schema<"CurrentSession"> | null | undefined>(undefined);
  /** Whose webhooks these are; null if the server cannot be reached. */
  brand = $state.raw<Schema<"Brand"> | null>(null);
  /** Why the brand could not be read. */
  fault = $state.raw<Problem | null>(null);
  /** Why a one-time link did not sign in. */
  linkFault = $state.raw<Problem | null>(null);
  /** Whether somebody was signed in, and is no longer. */
  wasSignedIn = $state(false);

  /** Asks for the brand and for who is signed in; spends the one-time link of the address, if it is one. */
  async start() {
    const token = oneTimeToken();
    try {
      this.brand = await get("/v1/brand", {});
      if (token) await this.#spend(token);
      if (!this.who) this.who = this.bearer || browser.get(SIGNED_IN) ? await get("/v1/sessions/current", {}) : null;
      this.fault = null;
    } catch (error) {
      const problem = Problem.of(error);
      this.fault = problem.status === 401 ? null : problem;
      if (problem.status === 401) this.ended();
    }
  }

  async #spend(token: string) {
    try {
      await this.signIn(token);
    } catch (error) {
      // Whoever is signed in already has no use for another link.
      this.linkFault = Problem.of(error);
    }
  }

  /** Signs in with a one-time token or a key. Throws a `Problem` if it is no good. */
  async signIn(token: string) {
    this.who = await post("/v1/sessions", {}, { body: { token: token.trim() } });
    this.wasSignedIn = false;
    this.linkFault = null;
    browser.set(SIGNED_IN, "yes");
  }

  /** Signs out. What was typed and not saved is for nobody else who uses this tab. */
  async signOut() {
    await remove("/v1/sessions/current", {});
    tab.clear();
    browser.set(SIGNED_IN, null);
    this.who = null;
    this.wasSignedIn = false;
  }

  /** Called when the session ends: the page around an embedded portal is told. */
  onended: () => void = () => undefined;

  /** The server no longer knows who this is. */
  ended() {
    if (this.who) this.onended();
    if (this.who) this.wasSignedIn = true;
    this.#keep(SIGNED_IN, null);
    this.who = null;
  }

  #seen = $state(browser.get(SEEN));

  /** The account to start with: the caller's own, or the one seen last. */
  get account() {
    return this.who?.account ?? this.#seen ?? "default";
  }

  /** Remembers the account that is seen; null forgets it. */
  see(account: string | null) {
    this.#seen = account;
    this.#keep(SEEN, account);
  }

  /** Keeps something for the next page. A portal in a frame, which has its token from the page around it, keeps nothing: the dashboard of an
      operator may be open in the same browser. */
  #keep(name: string, value: string | null) {
    if (!this.bearer) browser.set(name, value);
  }

  /** Why whoever is signed in may not do what needs this scope; undefined if they may. */
  mayNot(scope: Schema<"KeyScope">) {
    const scopes = this.who?.scopes ?? [];
    // Nothing named is everything, and `account` covers every scope that the dashboard asks for.
    return scopes.length === 0 || scopes.includes("account") || scopes.includes(scope) ? undefined : `Your session may not do this: it lacks ${scope}.`;
  }

  get brandName() {
    return this.brand?.name ?? "posthaste";
  }
}

/** The token of `…/#t=TOKEN`. It leaves the address at once, so that it is in no history and in no copied link. */
function oneTimeToken() {
  const token = /^#t=(.+)$/.exec(location.hash)?.[1];
  if (token) history.replaceState(history.state, "", location.pathname + location.search);
  return token;
}

export const session = new Session();
