// The portal's side of the frame: who it is for comes from the page around it, by message; how high it is goes back.
import { session } from "../api/session.svelte.ts";
import { theme, type Wanted } from "../frame/theme.svelte.ts";
import { address, isPortal } from "../router.svelte.ts";
import { readable } from "./contrast.ts";
import { watchSight } from "./sight.ts";

interface Message {
  type: "posthaste:session";
  token: string | null;
  theme: string;
  tokens: Record<string, unknown>;
  path: string;
}

/** The colours that the page around may set. */
const NAMES = ["bg", "surface", "sunken", "border", "control", "text", "muted", "accent", "accent-hover", "on-accent", "accent-soft"];

class Embedded {
  /** Whether this page is a frame of somebody else's page. */
  readonly is = isPortal && parent !== window;
  /** Whether a token has come. */
  began = $state(false);
  #token: string | null = null;

  constructor() {
    if (!this.is) return;
    session.onended = () => this.expired();
    addEventListener("message", (event: MessageEvent<Partial<Message>>) => {
      // Only the page around speaks; which pages may be around is the server's policy.
      if (event.source !== parent || event.data?.type !== "posthaste:session") return;
      void this.#take(event.data as Message);
    });
    new ResizeObserver(() => this.#say({ type: "posthaste:height", height: document.documentElement.getBoundingClientRect().height })).observe(document.documentElement);
    watchSight();
    this.#say({ type: "posthaste:loaded" });
  }

  async #take({ token, theme: wanted, tokens, path }: Message) {
    if (["light", "dark", "system"].includes(wanted)) theme.set(wanted as Wanted, false);
    this.#colour(tokens ?? {});
    if (!token || token === this.#token) return;
    this.#token = token;
    session.bearer = token;
    await session.start();
    this.began = true;
    if (!session.who) return this.expired();
    if (address.path === "/") address.go(`/accounts/${session.account}${/^\/[\w./-]+(\?[^#]*)?$/.test(path) ? path : "/webhooks"}`, { replace: true });
    this.#say({ type: "posthaste:ready" });
  }

  /** Tells the page around that the token has ended. */
  expired() {
    if (this.is) this.#say({ type: "posthaste:expired" });
  }

  /** Sets what can be read, and says by name what could not. */
  #colour(tokens: Record<string, unknown>) {
    const { style } = document.documentElement;
    for (const name of NAMES) style.removeProperty(`--${name}`);
    const now = getComputedStyle(document.documentElement);
    const colours = Object.fromEntries(NAMES.map((name) => [name, now.getPropertyValue(`--${name}`).trim()]));
    const { accepted, refused } = readable(colours, tokens);
    for (const [name, colour] of Object.entries(accepted)) style.setProperty(`--${name}`, colour);
    if (refused.length) this.#say({ type: "posthaste:refused-tokens", names: refused });
  }

  #say(message: object) {
    // Nothing in it is a secret: a height, and that something has happened.
    parent.postMessage(message, "*");
  }
}

export const embedded = new Embedded();
