// What the stream says about deliveries, brought to a list a few times a second: hundreds of messages in a second are one
// change of the page.
import type { Delivery } from "../../api/client.ts";
import type { Listing } from "../../api/listing.svelte.ts";
import { live, type Messages } from "../../live/stream.svelte.ts";

/** Between two changes of the page, in milliseconds. */
const EVERY = 250;
/** How many rows a list that grows by itself keeps. */
const ROWS_MAX = 500;
/** How many rows are put in for one look at the news: nobody reads more in that time. */
const AT_ONCE = 50;
/** How many of them with one frame: each is made of elements. */
const A_FRAME = 8;

type News = Messages["delivery"];

/** A row as far as the news tells; the rest as it was, or as a new delivery has it. */
function row(news: News, before: Delivery | undefined, account: string): Delivery {
  const ended = news.status === "pending" || news.status === "held" || news.status === "sending" ? null : (before?.ended_at ?? new Date().toISOString());
  const known: Delivery = before ?? ({ ...news, account, retries_made: 0, ended_at: ended, note: null } as unknown as Delivery);
  // An attempt that ended says how; what comes before its end does not.
  const last = news.last_status_code != null || news.last_error != null || news.last_duration_ms != null ? {} : { last_status_code: known.last_status_code, last_error: known.last_error, last_duration_ms: known.last_duration_ms };
  const made = Math.max(news.attempts_made, known.attempts_made);
  return { ...known, ...news, ...last, attempts_made: made, ended_at: ended, note: null } as Delivery;
}

interface Wants {
  account: () => string;
  /** Whether a delivery that is not in the list belongs into it. */
  takes: (news: News) => boolean;
  /** Whether new rows may be put in at once: the reader is at the top. */
  atTop: () => boolean;
}

/** Keeps a list of deliveries up to date. */
export class NewsOf {
  /** Deliveries that are not shown yet, newest last. */
  #waiting = new Map<string, News>();
  /** Rows that are being put in, oldest first, and how many the list keeps then. */
  #coming: Delivery[] = [];
  #most = ROWS_MAX;
  #frame = 0;
  /** How many there are. */
  fresh = $state(0);
  readonly #list: Listing<Delivery>;
  readonly #wants: Wants;

  /** Use in a component's script. */
  constructor(list: Listing<Delivery>, wants: Wants) {
    this.#list = list;
    this.#wants = wants;
    $effect(() => {
      const arrived = new Map<string, News>();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const flush = () => {
        timer = undefined;
        this.#take(arrived);
        arrived.clear();
      };
      const stop = live.on("delivery", (news) => {
        arrived.set(news.id, news);
        timer ??= setTimeout(flush, EVERY);
      });
      const reset = live.on("reset", () => this.clear());
      return () => {
        clearTimeout(timer);
        cancelAnimationFrame(this.#frame);
        stop();
        reset();
      };
    });
  }

  /** Forgets what waits, since the list was read again. */
  clear = () => {
    this.#waiting.clear();
    this.fresh = 0;
    this.#coming = [];
  };

  /** Puts what waits into the list. Of very much only the newest, as a page that is read afresh would have it. */
  show = () => {
    const newest = [...this.#waiting.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
    const rows = newest.slice(0, AT_ONCE).map((news) => row(news, undefined, this.#wants.account()));
    // What is still being put in comes with it, as it is now.
    const all = [...new Map([...this.#coming, ...rows].map((row) => [row.id, row])).values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    const most = newest.length > AT_ONCE || all.length > AT_ONCE ? AT_ONCE : this.#coming.length ? this.#most : ROWS_MAX;
    this.clear();
    this.#coming = all.slice(-AT_ONCE);
    this.#most = most;
    cancelAnimationFrame(this.#frame);
    this.#put();
  };

  /** Puts the next few in, and the others with the frames that follow. */
  #put() {
    const few = this.#coming.splice(0, A_FRAME);
    if (few.length === 0) return;
    this.#list.insert(few, this.#most);
    if (this.#coming.length) this.#frame = requestAnimationFrame(() => this.#put());
  }

  /** Whether it is among what was read, or newer: the retry of an older one is no news here. Ids grow with acceptance. */
  #belongs(id: string) {
    const last = this.#list.rows.at(-1);
    return !this.#list.hasMore || last === undefined || id > last.id;
  }

  #take(arrived: Map<string, News>) {
    const rows = this.#list.rows;
    let changed: Delivery[] | undefined;
    for (const [place, known] of rows.entries()) {
      const news = arrived.get(known.id);
      if (!news) continue;
      changed ??= [...rows];
      changed[place] = row(news, known, this.#wants.account());
      arrived.delete(known.id);
    }
    if (changed) this.#list.rows = changed;
    for (const [id, news] of arrived) {
      if (this.#waiting.has(id) || (this.#belongs(id) && this.#wants.takes(news))) this.#waiting.set(id, news);
    }
    // What nobody looks at does not grow without end: a fresh start is one request.
    while (this.#waiting.size > ROWS_MAX) this.#waiting.delete(this.#waiting.keys().next().value!);
    this.fresh = this.#waiting.size;
    if (this.fresh > 0 && this.#wants.atTop()) this.show();
  }
}
