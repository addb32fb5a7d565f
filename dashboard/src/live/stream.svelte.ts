// What happens in the account, as it happens: one stream of server-sent events per browser, shared by its tabs.
//
// One tab reads the stream and hands its messages on; when it is closed another takes over. The state that is shown is
// the stream's own: it is "live" only after the server has said something, and no longer once that was too long ago.
import { answers, request } from "../api/client.ts";
import { invalidate, retryFailed } from "../api/query.svelte.ts";
import type { Schema } from "../api/client.ts";

/** Messages by kind. */
export interface Messages {
  delivery: Schema<"DeliveryNews">;
  attempt: Schema<"AttemptNews">;
  webhook: Partial<Schema<"Webhook">> & { id: string; deleted?: boolean };
  replay: Schema<"Replay">;
  /** Something was missed: lists have to be read again. */
  reset: Record<string, never>;
}

export type Kind = keyof Messages;
export type LiveState = "connecting" | "live" | "reconnecting" | "polling" | "paused" | "offline";

/** The server breaks a silence every 15 s; after this long without a byte the connection is dead. */
const SILENCE_MAX = 40_000;
/** The server's first word comes at once; what lies between and holds answers back keeps it for ever. */
const FIRST_WORD_MAX = 10_000;
/** After so many failures in a row the stream is taken for unavailable: if the server answers otherwise, it is asked. */
const POLL_AFTER = 3;
/** Between two questions while the stream is unavailable, in milliseconds; as often the stream is tried again. */
const POLL_EVERY = 5_000;
/** A try that comes within this many milliseconds is waited for. */
const NEAR = 2_000;
/** Between tries to connect, in seconds: the last one again and again. */
const WAITS = [1, 2, 3, 5, 10, 20, 30];

type Message = { kind: Kind; data: unknown };
type Shared = { state: LiveState; until: number; at: number } | { messages: Message[] };
/** What else is said between tabs: a new one asks for the state, and any may know that a try to connect is worth it. */
type Said = Shared | "state?" | "wake";

/** For how long messages are taken at once, in milliseconds: a burst leaves room for what the reader does. */
const AT_ONCE = 8;

class Live {
  /** The stream's state in this tab. */
  state = $state<LiveState>("connecting");
  /** When the next try to connect is made, in this machine's time. */
  until = $state(0);
  /** When the last sign of life came. */
  at = $state(0);
  #under: LiveState = "connecting";
  #paused = $state(false);
  #missed = false;
  #listeners = new Set<{ kind: Kind; take: (data: never) => void }>();
  #channel: BroadcastChannel | undefined;

  /** Follows an account until the returned function is called. */
  follow(account: string) {
    const controller = new AbortController();
    const { signal } = controller;
    this.#under = "connecting";
    this.#show();
    const name = `posthaste.live:${new URL(document.baseURI).pathname}:${account}`;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Said>) => {
      if (data === "state?") this.#share();
      else if (data === "wake") this.#wake();
      else this.#hear(data);
    };
    // Whoever looks at another tab, or is answered there, wakes the one that reads.
    const wake = () => {
      if (document.hidden || !["reconnecting", "offline"].includes(this.#under)) return;
      this.#wake();
      this.#channel?.postMessage("wake" satisfies Said);
    };
    // An answer is no reason where the next try is near: a stream that ends as soon as it has begun would be begun without a pause.
    const answered = () => this.until - Date.now() > NEAR && wake();
    addEventListener("online", wake);
    document.addEventListener("visibilitychange", wake);
    answers.addEventListener("answer", answered);
    const lead = () => this.#lead(account, signal).catch(() => undefined);
    if (navigator.locks) {
      this.#channel.postMessage("state?");
      // A frame of another site may have no locks: then each tab reads for itself.
      void navigator.locks.request(name, { signal }, lead).catch(() => (signal.aborted ? undefined : lead()));
    } else {
      void lead();
    }
    return () => {
      controller.abort();
      removeEventListener("online", wake);
      document.removeEventListener("visibilitychange", wake);
      answers.removeEventListener("answer", answered);
      this.#leads = false;
      this.#channel?.close();
      this.#channel = undefined;
    };
  }

  /** Calls `take` with every message of a kind, until the returned function is called. */
  on<K extends Kind>(kind: K, take: (data: Messages[K]) => void) {
    const listener = { kind, take: take as (data: never) => void };
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Pauses or resumes what is shown in this tab. */
  toggle() {
    this.#paused = !this.#paused;
    this.#show();
    if (!this.#paused && this.#missed) this.#tell("reset", {});
    this.#missed = false;
  }

  #leads = false;
  /** Ends the wait before the next try. */
  #wake: () => void = () => undefined;

  #show() {
    this.state = this.#paused ? "paused" : this.#under;
  }

  /** Takes the state of the stream. Once it is live, whatever could not be read meanwhile is read again: nothing old stands beside it. */
  #take(state: LiveState) {
    const began = state === "live" && this.#under !== "live";
    this.#under = state;
    this.#show();
    if (began) retryFailed();
  }

  #share() {
    if (this.#leads) this.#channel?.postMessage({ state: this.#under, until: this.until, at: this.at } satisfies Shared);
  }

  #become(state: LiveState, until = 0) {
    this.until = until;
    this.#take(state);
    this.#share();
  }

  #hear(data: Shared) {
    if ("messages" in data) {
      for (const { kind, data: news } of data.messages) this.#tell(kind, news as never);
    } else {
      this.until = data.until;
      this.at = data.at;
      this.#take(data.state);
    }
  }

  #tell<K extends Kind>(kind: K, data: Messages[K]) {
    if (this.#paused) {
      this.#missed = true;
      return;
    }
    if (kind === "reset") invalidate("");
    for (const listener of this.#listeners) if (listener.kind === kind) listener.take(data as never);
  }

  /** Reads the stream in this tab, again and again, until `signal` ends it. */
  async #lead(account: string, signal: AbortSignal) {
    let last: string | null = null;
    let failures = 0;
    this.#leads = true;
    while (!signal.aborted) {
      const attempt = new AbortController();
      const stop = () => attempt.abort();
      signal.addEventListener("abort", stop);
      let silence: ReturnType<typeof setTimeout> | undefined;
      let heard = false;
      try {
        silence = setTimeout(stop, FIRST_WORD_MAX);
        const headers: Record<string, string> = last === null ? {} : { "last-event-id": last };
        const response = await request("get", `/v1/accounts/${encodeURIComponent(account)}/stream`, { headers, signal: attempt.signal });
        const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          clearTimeout(silence);
          silence = setTimeout(stop, heard ? SILENCE_MAX : FIRST_WORD_MAX);
          const { value, done } = await reader.read();
          if (done) break;
          heard = true;
          this.at = Date.now();
          if (this.#under !== "live") this.#become("live");
          failures = 0;
          const events = (rest + value).split("\n\n");
          rest = events.pop() ?? "";
          last = (await this.#events(events, attempt.signal)) ?? last;
        }
      } catch {
        if (signal.aborted) return;
      } finally {
        clearTimeout(silence);
        signal.removeEventListener("abort", stop);
      }
      failures += 1;
      if (failures >= POLL_AFTER && (await this.#answers(signal))) {
        this.at = Date.now();
        this.#become("polling");
        // Whatever it was that was missed: everything that is shown is read again.
        this.#channel?.postMessage({ messages: [{ kind: "reset", data: {} }] } satisfies Shared);
        this.#tell("reset", {});
        await this.#sleep(POLL_EVERY, signal);
      } else if (!signal.aborted) {
        const wait = WAITS[Math.min(failures, WAITS.length) - 1]! * 1_000;
        this.#become(navigator.onLine ? "reconnecting" : "offline", Date.now() + wait);
        await this.#sleep(wait, signal);
      }
    }
  }

  /** Whether the server answers, though its stream does not come through. */
  async #answers(signal: AbortSignal) {
    try {
      await request("get", "/v1/sessions/current", { signal });
      return true;
    } catch {
      return false;
    }
  }

  /** Takes events of the stream, a moment's worth at once; the id of the last one. */
  async #events(texts: string[], signal: AbortSignal) {
    let last: string | null = null;
    let messages: Message[] = [];
    const share = () => {
      // The other tabs get them together: a message costs them about the same, however much is in it.
      if (messages.length) this.#channel?.postMessage({ messages } satisfies Shared);
      messages = [];
    };
    let began = performance.now();
    for (const text of texts) {
      const field = (name: string) => text.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const kind = field("event") as Kind | undefined;
      if (kind) {
        const data = JSON.parse(field("data") ?? "{}");
        messages.push({ kind, data });
        this.#tell(kind, data);
      }
      last = field("id") ?? last;
      if (performance.now() - began < AT_ONCE) continue;
      share();
      await new Promise((resolve) => setTimeout(resolve));
      if (signal.aborted) return last;
      began = performance.now();
    }
    share();
    return last;
  }

  /** Waits before the next try, or until somebody knows that it is worth it. */
  async #sleep(milliseconds: number, signal: AbortSignal) {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      this.#wake = done;
      signal.addEventListener("abort", done);
    });
  }
}

export const live = new Live();
