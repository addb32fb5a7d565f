// Keys: what each does now, and the one listener that finds it. Never inside inputs; they can be switched off (WCAG 2.1.4).
import { untrack } from "svelte";
import { browser } from "../api/session.svelte.ts";

export interface Bound {
  /** What it does, for the sheet; empty for what is said elsewhere. */
  say: string;
  act: () => void;
}

/** By key; two keys after each other are written with a space, such as "g w". */
export type Bindings = Record<string, Bound>;

const OFF = "posthaste.keys";
/** How long after the first of two keys the second one counts, in milliseconds. */
const SECOND_WITHIN = 1_500;

class Keys {
  /** Whether single keys do anything. */
  on = $state(browser.get(OFF) !== "off");
  #bound = $state.raw<Bindings[]>([]);
  #first = "";
  #at = 0;

  constructor() {
    addEventListener("keydown", (event) => this.#press(event));
  }

  /** Binds keys until the returned function is called; what was bound last wins. */
  bind(bindings: Bindings) {
    // Binding in an effect must not make the effect depend on what else is bound.
    untrack(() => (this.#bound = [...this.#bound, bindings]));
    return () => {
      this.#bound = this.#bound.filter((other) => other !== bindings);
    };
  }

  /** Everything that is bound now. */
  get all(): [string, string][] {
    const merged: Bindings = Object.assign({}, ...this.#bound);
    return Object.entries(merged).flatMap(([key, { say }]) => (say ? [[key, say] as [string, string]] : []));
  }

  toggle() {
    this.on = !this.on;
    browser.set(OFF, this.on ? null : "off");
  }

  #find = (key: string) => this.#bound.findLast((bindings) => bindings[key])?.[key];

  #press(event: KeyboardEvent) {
    if (event.defaultPrevented || event.altKey) return;
    // Below an open dialog nothing acts, also where the focus has got lost from it.
    if (document.querySelector("dialog:modal")) return;
    if (event.metaKey || event.ctrlKey) {
      this.#run(event, this.#find(`Mod+${event.key}`));
      return;
    }
    const target = event.target as HTMLElement;
    // One that is closed may have the focus for a moment more: what is pressed by then is for the page.
    const isOver = target.closest("dialog:not([open])") !== null;
    if (!isOver && target.closest("input:not([type=checkbox]), textarea, select, [contenteditable], dialog")) {
      if (event.key === "Escape") this.#run(event, this.#find("Escape"));
      return;
    }
    if (!this.on && event.key.length === 1) return;
    const both = Date.now() - this.#at < SECOND_WITHIN ? this.#find(`${this.#first} ${event.key}`) : undefined;
    this.#first = event.key;
    this.#at = Date.now();
    this.#run(event, both ?? this.#find(event.key));
  }

  #run(event: KeyboardEvent, bound: Bound | undefined) {
    if (!bound) return;
    event.preventDefault();
    bound.act();
  }
}

export const keys = new Keys();
