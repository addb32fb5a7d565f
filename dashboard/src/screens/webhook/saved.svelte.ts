// What was just made: its secret, and the test that was asked for. Kept while the page lives, and no longer.
import type { Schema } from "../../api/client.ts";

class Saved {
  webhook = $state.raw<Schema<"NewWebhookAnswer"> | null>(null);
  /** Whether a test is to be sent. */
  test = false;

  put(webhook: Schema<"NewWebhookAnswer">, test: boolean) {
    this.webhook = webhook;
    this.test = test;
  }

  dismiss() {
    this.webhook = null;
  }
}

export const saved = new Saved();
