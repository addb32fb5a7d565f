// Light, dark, or as the system has it. Set before the first paint by `public/theme.js`; kept here while the page lives.
import { browser } from "../api/session.svelte.ts";

export type Wanted = "light" | "dark" | "system";

const NAME = "posthaste.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

class Theme {
  wanted = $state<Wanted>((browser.get(NAME) as Wanted | null) ?? "system");

  constructor() {
    system.addEventListener("change", () => this.#apply());
  }

  /** Sets it, and keeps it for the next time unless told otherwise. */
  set(wanted: Wanted, keep = true) {
    this.wanted = wanted;
    if (keep) browser.set(NAME, wanted === "system" ? null : wanted);
    this.#apply();
  }

  #apply() {
    const dark = this.wanted === "dark" || (this.wanted === "system" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }
}

export const theme = new Theme();
