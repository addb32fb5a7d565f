// What has to be said above the page: put in by whoever knows it, the most urgent one shown.
import { untrack } from "svelte";

/** How urgent each kind is: the greatest first. */
export const URGENCY = { sending: 5, disk: 4, paused: 3, version: 2, development: 1 };

export interface Banner {
  urgency: number;
  text: string;
  /** Where it leads, or what can be done about it. */
  way?: { text: string; href: string } | { text: string; act: () => void };
}

class Banners {
  #all = $state.raw<Banner[]>([]);

  /** Says something until the returned function is called. */
  put(urgency: number, text: string, way?: Banner["way"]) {
    const banner = { urgency, text, ...(way ? { way } : {}) };
    untrack(() => (this.#all = [...this.#all, banner].sort((a, b) => b.urgency - a.urgency)));
    return () => {
      this.#all = this.#all.filter((other) => other !== banner);
    };
  }

  get first(): Banner | undefined {
    return this.#all[0];
  }
}

export const banners = new Banners();
