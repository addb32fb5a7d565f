// What has to be said above the page: put in by whoever knows it, the most urgent one shown.

import { untrack } from "svelte";

class Banners {
  #all = $state.raw<{ urgency: number; text: string }[]>([]);

  /** Says something until the returned function is called. */
  put(urgency: number, text: string) {
    const banner = { urgency, text };
    untrack(() => (this.#all = [...this.#all, banner].sort((a, b) => b.urgency - a.urgency)));
    return () => {
      this.#all = this.#all.filter((other) => other !== banner);
    };
  }

  get first() {
    return this.#all[0]?.text;
  }
}

export const banners = new Banners();
