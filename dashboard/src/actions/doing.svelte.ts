// Something that is being done: a button that waits, and the refusal if there is one.
import { Problem } from "../api/client.ts";

/** A key of nobody else's; `randomUUID` is kept away from pages that are not reached over https or localhost. */
const fresh = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export class Doing {
  busy = $state(false);
  problem = $state.raw<Problem | null>(null);
  #key: string;

  /** Goes on under a key that was kept, if there is one. */
  constructor(key?: string) {
    this.#key = key ?? fresh();
  }

  /** The same for the same doing: sent again after a lost answer, it acts once. */
  get key() {
    return this.#key;
  }

  /** What is done next is something else. */
  renew() {
    this.#key = fresh();
  }

  /** Runs it unless it runs; says whether it went well. */
  async run(act: (headers: Record<string, string>) => Promise<unknown>) {
    if (this.busy) return false;
    this.busy = true;
    this.problem = null;
    try {
      await act({ "idempotency-key": this.#key }).catch((error) => {
        // What was sent under it was done, and its answer lost; this is something else.
        if (Problem.of(error).code !== "idempotency_key_reused") throw error;
        this.renew();
        return act({ "idempotency-key": this.#key });
      });
      return true;
    } catch (error) {
      this.problem = Problem.of(error);
      // A refusal is an answer: what is sent after it is another request. What passes is none: it may have been done, and something in between
      // has lost the answer.
      if (!this.problem.passes) this.renew();
      return false;
    } finally {
      this.busy = false;
    }
  }
}
