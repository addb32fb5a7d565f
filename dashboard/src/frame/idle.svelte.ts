// Whether the first screen is there: what stands around it is read after it, when the browser has nothing better to do.

/** After this long the browser is taken for idle, in milliseconds. */
const AT_MOST = 1_500;

class Idle {
  is = $state(false);

  constructor() {
    const now = () => (this.is = true);
    // Not every browser can say it.
    if ("requestIdleCallback" in globalThis) requestIdleCallback(now, { timeout: AT_MOST });
    else setTimeout(now, 200);
  }
}

export const idle = new Idle();
