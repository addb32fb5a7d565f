// What was read from the server: kept by key, so that going back shows it at once, and read again when it may have changed.
import { untrack } from "svelte";
import { SvelteMap } from "svelte/reactivity";
import { Problem } from "./client.ts";
import { unlessSame } from "./same.ts";

/** How long after a failure it is tried again by itself, in milliseconds. */
export const AGAIN = [2_000, 4_000, 8_000];

const known = new Map<string, { data: unknown; at: number }>();
/** Grows for a key's prefix when what was read may have changed. */
const stale = new SvelteMap<string, number>();

/** Says that everything whose key starts with one of these has to be read again. */
export function invalidate(...prefixes: string[]) {
  for (const prefix of prefixes) stale.set(prefix, (stale.get(prefix) ?? 0) + 1);
}

/** What could not be read, though it may be readable in a while: read again once the server is there. */
const failed = new Set<() => Promise<void>>();

/** Remembers that a reading has failed, or no longer has. */
export function remember(reload: () => Promise<void>, error: Problem | null) {
  if (error?.passes) failed.add(reload);
  else failed.delete(reload);
}

/** Reads again whatever could not be read. */
export function retryFailed() {
  for (const reload of [...failed]) void reload();
}

/** Forgets everything, for another person or account. */
export const forget = () => known.clear();

/** How often what this key stands for was said to have changed. Read it in an effect to be told. */
export function staleness(key: string) {
  let sum = 0;
  for (const [prefix, count] of stale) if (key.startsWith(prefix)) sum += count;
  return sum;
}

/** One thing that is read: `data` while there is any, also beside an `error`. */
export class Query<T> {
  data = $state.raw<T>();
  error = $state.raw<Problem | null>(null);
  loading = $state(false);
  /** When `data` was read, in this machine's time. */
  at = $state(0);
  #tries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #controller: AbortController | undefined;
  readonly #key: () => string | null;
  readonly #read: (signal: AbortSignal) => Promise<T>;

  /** Use in a component's script. `key` says what is read, null for nothing now; `read` reads it. */
  constructor(key: () => string | null, read: (signal: AbortSignal) => Promise<T>) {
    this.#key = key;
    this.#read = read;
    let last: string | null = null;
    $effect.pre(() => {
      const now = key();
      if (now !== null) staleness(now);
      untrack(() => {
        if (now !== last) {
          const before = now === null ? undefined : known.get(now);
          this.data = before?.data as T | undefined;
          this.at = before?.at ?? 0;
          this.error = null;
          last = now;
        }
        this.#tries = 0;
        if (now === null) this.#controller?.abort();
        else void this.reload();
      });
    });
    $effect(() => remember(this.reload, this.error));
    $effect(() => () => {
      clearTimeout(this.#timer);
      this.#controller?.abort();
      remember(this.reload, null);
    });
  }

  /** Reads it again now. */
  reload = async () => {
    const key = this.#key();
    if (key === null) return;
    clearTimeout(this.#timer);
    this.#controller?.abort();
    const controller = new AbortController();
    this.#controller = controller;
    this.loading = true;
    try {
      const data = await this.#read(controller.signal);
      if (controller.signal.aborted) return;
      this.data = unlessSame(this.data, data);
      this.at = Date.now();
      this.error = null;
      this.#tries = 0;
      known.set(key, { data: this.data, at: this.at });
    } catch (error) {
      if (controller.signal.aborted) return;
      this.error = Problem.of(error);
      const wait = AGAIN[this.#tries++];
      if (this.error.passes && wait) this.#timer = setTimeout(() => void this.reload(), Math.max(wait, (this.error.retryAfter ?? 0) * 1_000));
    }
    this.loading = false;
  };

  /** Puts what was learnt elsewhere, such as the answer of a change. */
  set(data: T) {
    this.data = data;
    const key = this.#key();
    if (key !== null) known.set(key, { data, at: Date.now() });
  }
}
