// A list that comes in pages: its rows so far, more of them on request, and a fresh start when its filter changes.
import { untrack } from "svelte";
import { Problem } from "./client.ts";
import { AGAIN, remember, staleness } from "./query.svelte.ts";
import { unlessSame } from "./same.ts";

/** A page as every list of the API answers. */
export interface Page<T> {
  data: T[];
  next_cursor: string | null;
  /** How far back a search has looked, where its time ended before the list did. */
  searched_until?: string | null;
}

type Read<T> = (cursor: string | undefined, signal: AbortSignal) => Promise<Page<T>>;

/** How many pages without a row a search goes through by itself, one after the other. */
const EMPTY_MAX = 40;

/** Rows of lists seen before, so that Back shows them at once. */
const known = new Map<string, { rows: unknown[]; next: string | null; at: number }>();

/** What `DataList` shows. */
export class Listing<T extends { id: string }> {
  rows = $state.raw<T[]>([]);
  error = $state.raw<Problem | null>(null);
  loading = $state(false);
  /** Whether a first page has come. */
  loaded = $state(false);
  /** How far back a search has looked; null where everything was. */
  searchedUntil = $state<string | null>(null);
  /** When the rows were read, in this machine's time. */
  at = $state(0);
  #next = $state<string | null>(null);
  /** Whether rows were let go of at the end, to which no cursor leads back. */
  #cut = $state(false);
  #tries = 0;
  /** The cursor that was asked for last. */
  #wanted: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #controller: AbortController | undefined;
  readonly #key: () => string | null;
  readonly #read: Read<T>;

  /** Use in a component's script. `key` names list and filter, null for nothing now. */
  constructor(key: () => string | null, read: Read<T>) {
    this.#key = key;
    this.#read = read;
    let last: string | null = null;
    $effect.pre(() => {
      const now = key();
      if (now !== null) staleness(now);
      untrack(() => {
        if (now !== last) {
          const before = now === null ? undefined : known.get(now);
          this.rows = (before?.rows ?? []) as T[];
          this.#next = before?.next ?? null;
          this.at = before?.at ?? 0;
          this.loaded = before !== undefined;
          this.error = null;
          last = now;
        }
        this.#tries = 0;
        if (now !== null) void this.reload();
      });
    });
    $effect(() => remember(this.#again, this.error));
    $effect(() => () => {
      clearTimeout(this.#timer);
      this.#controller?.abort();
      remember(this.#again, null);
    });
  }

  /** Whether older rows can be had. */
  get hasMore() {
    return this.#next !== null || this.#cut;
  }

  /** Reads the first page again; rows further down stay where they join. */
  reload = async () => this.#load(undefined);

  /** What failed, once more: the first page, or the next one. */
  #again = async () => this.#load(this.#wanted);

  /** Reads the next page. */
  more = async () => {
    if (this.loading) return;
    if (this.#cut) {
      this.rows = [];
      await this.reload();
    } else if (this.#next !== null) {
      await this.#load(this.#next);
    }
  };

  /** Replaces the row with this id by what was learnt elsewhere; says whether there was one. */
  put(row: T) {
    const place = this.rows.findIndex(({ id }) => id === row.id);
    if (place >= 0) this.rows = this.rows.with(place, row);
    return place >= 0;
  }

  /** Puts a row in front. */
  prepend(row: T) {
    this.rows = [row, ...this.rows.filter(({ id }) => id !== row.id)];
  }

  /** Puts rows in by their ids, of which newer ones are greater. Of more than `most` the oldest go; reading more starts afresh then. */
  insert(rows: T[], most: number) {
    const ids = new Set(rows.map(({ id }) => id));
    const all = [...rows, ...this.rows.filter(({ id }) => !ids.has(id))].sort((a, b) => (a.id < b.id ? 1 : -1));
    this.rows = all.slice(0, most);
    if (all.length > most) this.#cut = true;
  }

  async #load(cursor: string | undefined) {
    clearTimeout(this.#timer);
    this.#wanted = cursor;
    this.#controller?.abort();
    const controller = new AbortController();
    this.#controller = controller;
    this.loading = true;
    const key = this.#key();
    try {
      let page = await this.#read(cursor, controller.signal);
      // A search answers after a short while, found or not; going on is this list's part.
      for (let pages = 0; page.data.length === 0 && page.next_cursor !== null && pages < EMPTY_MAX; pages += 1) {
        if (controller.signal.aborted) return;
        this.searchedUntil = page.searched_until ?? null;
        page = await this.#read(page.next_cursor, controller.signal);
      }
      if (controller.signal.aborted) return;
      this.searchedUntil = page.searched_until ?? null;
      this.#take(page, cursor !== undefined);
      this.loaded = true;
      this.error = null;
      this.#tries = 0;
      this.at = Date.now();
      if (key !== null) known.set(key, { rows: this.rows, next: this.#next, at: this.at });
    } catch (error) {
      if (controller.signal.aborted) return;
      this.error = Problem.of(error);
      const wait = AGAIN[this.#tries++];
      if (this.error.passes && wait) this.#timer = setTimeout(() => void this.#load(cursor), Math.max(wait, (this.error.retryAfter ?? 0) * 1_000));
    }
    this.loading = false;
  }

  #take(page: Page<T>, isMore: boolean) {
    this.#cut = false;
    if (isMore) {
      this.rows = [...this.rows, ...page.data];
      this.#next = page.next_cursor;
      return;
    }
    page = { ...page, data: unlessSame(this.rows, page.data) };
    // A first page read again: what was loaded below it stays if it still joins.
    const last = page.data.at(-1)?.id;
    const joint = last === undefined || page.next_cursor === null ? -1 : this.rows.findIndex(({ id }) => id === last);
    if (joint >= 0 && joint < this.rows.length - 1) {
      const ids = new Set(page.data.map(({ id }) => id));
      this.rows = [...page.data, ...this.rows.slice(joint + 1).filter(({ id }) => !ids.has(id))];
    } else {
      this.rows = page.data;
      this.#next = page.next_cursor;
    }
  }
}
