// What is said in passing: at the foot of the page for those who see it, politely and not too often for those who hear it.

/** Between two things that are read out, in milliseconds. */
const BETWEEN = 5_000;

class Notices {
  /** What is shown now. */
  shown = $state<{ text: string; bad: boolean } | null>(null);
  /** What is read out now. */
  spoken = $state("");
  #last = 0;
  #speaking: ReturnType<typeof setTimeout> | undefined;
  #showing: ReturnType<typeof setTimeout> | undefined;

  /** Reads out; of several in a short while only the last is. */
  announce(text: string) {
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(
      () => {
        this.#last = Date.now();
        this.spoken = text;
      },
      Math.max(50, this.#last + BETWEEN - Date.now()),
    );
  }

  /** Shows and reads out. */
  notify(text: string, bad = false) {
    clearTimeout(this.#showing);
    this.shown = { text, bad };
    this.announce(text);
    this.#showing = setTimeout(() => (this.shown = null), bad ? 10_000 : 4_000);
  }

  dismiss() {
    this.shown = null;
  }
}

export const notices = new Notices();
export const announce = (text: string) => notices.announce(text);
export const notify = (text: string, bad = false) => notices.notify(text, bad);
