// The address bar as state: which route is shown, with which parameters, and how to go elsewhere.
//
// Addresses are written without the path under which the server is reached ("/accounts/acme/webhooks"); `href` adds it.

/** What a route's parameters are: the parts of the path that start with ":". */
export type Params = Record<string, string>;

const root = new URL(document.baseURI).pathname.replace(/\/$/, "");
/** Whether this is the portal of a platform's customer: the same addresses, below its own. */
export const isPortal = /^\/portal(\/|$)/.test(location.pathname.slice(root.length));
const base = isPortal ? `${root}/portal` : root;

const here = () => ({
  path: decodeURI(location.pathname).slice(base.length) || "/",
  query: new URLSearchParams(location.search),
});

class Address {
  #now = $state.raw(here());
  /** Where the page was scrolled when this address was left; taken once by `takeScroll`. */
  #scroll: number | null = null;
  /** Whether this address was come back to. */
  #isBack = false;
  /** Asked before an address is left; answers whether it may be. */
  #guard: ((to: string) => boolean) | null = null;

  constructor() {
    history.scrollRestoration = "manual";
    addEventListener("popstate", (event) => {
      const to = here();
      if (this.#guard && this.#text(to) !== this.#text(this.#now) && !this.#guard(this.#text(to))) {
        // The browser has left it already: it is come back to, and whoever guards it asks.
        history.pushState({}, "", base + this.#text(this.#now));
        return;
      }
      this.#guard = null;
      this.#isBack = true;
      this.#scroll = typeof event.state?.scroll === "number" ? event.state.scroll : 0;
      this.#now = here();
    });
    addEventListener("click", (event) => this.#follow(event));
  }

  #text = (at: ReturnType<typeof here>) => at.path + (at.query.size ? `?${at.query}` : "");

  get path() {
    return this.#now.path;
  }

  get query() {
    return this.#now.query;
  }

  /** Goes to an address; with `replace` the present one is not kept in the history, with `stay` the page is not scrolled. */
  go(to: string, { replace = false, stay = false } = {}) {
    if (this.#guard && !this.#guard(to)) return;
    this.#guard = null;
    this.#isBack = false;
    if (replace) {
      history.replaceState({ from: history.state?.from }, "", base + to);
    } else {
      history.replaceState({ ...history.state, scroll: scrollY }, "");
      history.pushState({ from: this.#text(this.#now) }, "", base + to);
      this.#scroll = stay ? null : 0;
    }
    this.#now = here();
  }

  /** Closes what is shown here: goes back to `to` if that is where it was come from, so that it is found as it was left. */
  close(to: string) {
    if (history.state?.from === to) history.back();
    else this.go(to);
  }

  /** Changes parameters of the query and stays; empty ones go. Typing in a filter does not fill the history. */
  set(changes: Record<string, string | null | undefined>) {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const text = query.toString();
    history.replaceState(history.state, "", base + this.path + (text && `?${text}`));
    this.#now = here();
  }

  /** Whether this address was gone to, and not come back to. */
  get goesForward() {
    return this.#scroll === 0 || this.#scroll === null;
  }

  /** Whether this address was come back to, by Back or Forward. */
  get comesBack() {
    return this.#isBack;
  }

  /** Where to scroll to, once what is shown is long enough; null if that was done. */
  takeScroll() {
    const scroll = this.#scroll;
    this.#scroll = null;
    return scroll;
  }

  /** Asks `guard` before this address is left, until the returned function is called. */
  guard(guard: (to: string) => boolean) {
    this.#guard = guard;
    return () => {
      if (this.#guard === guard) this.#guard = null;
    };
  }

  /** Clicks on links inside the dashboard stay in this page. */
  #follow(event: MouseEvent) {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement || node instanceof SVGAElement);
    if (!link || link.getAttribute("target") || link.hasAttribute("download")) return;
    const to = new URL(link.getAttribute("href") ?? "", document.baseURI);
    const inside = to.origin === location.origin && to.pathname.startsWith(`${base}/`);
    if (!inside || /^\/(v1|docs|openapi\.json|assets)(\/|$)/.test(to.pathname.slice(base.length)) || link.getAttribute("href")?.startsWith("#")) return;
    event.preventDefault();
    this.go(decodeURI(to.pathname).slice(base.length) + to.search);
  }
}

/** The address. */
export const address = new Address();

/** An address of the dashboard as a link's `href`. */
export const href = (path: string) => base + path;

/** The parameters of `path` if it fits the pattern: "/accounts/:account/webhooks" fits "/accounts/acme/webhooks". */
export function match(pattern: string, path: string): Params | null {
  const wanted = pattern.split("/");
  const given = path.replace(/(.)\/$/, "$1").split("/");
  if (wanted.length !== given.length) return null;
  const params: Params = {};
  for (const [place, part] of wanted.entries()) {
    const value = given[place] ?? "";
    if (part.startsWith(":") && value) params[part.slice(1)] = value;
    else if (part !== value) return null;
  }
  return params;
}
