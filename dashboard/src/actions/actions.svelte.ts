// What can be done with a webhook from anywhere: the dialogs are one chunk, loaded when first asked for.
import type { Webhook } from "../api/client.ts";

export type Action = "pause" | "resume" | "test" | "delete";

class Actions {
  /** What is being asked; null if nothing is. */
  asked = $state.raw<{ action: Action; webhook: Webhook; event?: string; data?: string } | null>(null);

  /** A test may start from an event type, and from data other than its example. */
  ask(action: Action, webhook: Webhook, event?: string, data?: string) {
    this.asked = { action, webhook, event, data };
  }

  /** It is over; what was asked after it stays. */
  done(asked = this.asked) {
    if (this.asked === asked) this.asked = null;
  }
}

export const actions = new Actions();
