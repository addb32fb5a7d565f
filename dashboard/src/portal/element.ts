// `<posthaste-portal>`: the portal in somebody else's page.
//
//     <script src="https://hooks.example.com/portal.js" async></script>
//     <posthaste-portal token="…" theme="dark" path="/webhooks" tokens='{"accent": "#0a7d55"}'></posthaste-portal>
//
// The element holds a frame of the server that this script came from, and gives it the token by message: so the token is in
// no address, and no cookie is needed. Its events: `posthaste:ready`, `posthaste:expired` (give it a fresh token, or reload),
// and `posthaste:refused-tokens` with the names of colours that would be too hard to read.

// A plain script, since a module of another host needs that host's leave; so nothing of it may be global.
(() => {
  const server = new URL(".", (document.currentScript as HTMLScriptElement).src);

  class PosthastePortal extends HTMLElement {
    static observedAttributes = ["token", "theme", "tokens", "path"];
    #frame: HTMLIFrameElement | undefined;
    #ready = false;

    connectedCallback() {
      const frame = document.createElement("iframe");
      frame.title = this.getAttribute("title") ?? "Webhooks";
      frame.src = new URL("portal", server).href;
      frame.referrerPolicy = "no-referrer";
      // Ids, URLs and the signing secret are there to be copied.
      frame.allow = "clipboard-write";
      Object.assign(frame.style, { width: "100%", border: "0", display: "block", minHeight: "480px" });
      this.#frame = frame;
      this.#ready = false;
      addEventListener("message", this.#hear);
      this.style.display = "block";
      this.replaceChildren(frame);
    }

    disconnectedCallback() {
      removeEventListener("message", this.#hear);
      this.#frame = undefined;
    }

    attributeChangedCallback() {
      if (this.#ready) this.#say();
    }

    #hear = (event: MessageEvent<{ type?: string; height?: number; names?: string[] }>) => {
      if (!this.#frame || event.source !== this.#frame.contentWindow || event.origin !== server.origin) return;
      const { type, height, names } = event.data;
      if (type === "posthaste:loaded") this.#say();
      if (type === "posthaste:height" && typeof height === "number") this.#frame.style.height = `${Math.ceil(height)}px`;
      if (type === "posthaste:ready" || type === "posthaste:expired") this.dispatchEvent(new CustomEvent(type, { bubbles: true }));
      if (type === "posthaste:refused-tokens") this.dispatchEvent(new CustomEvent(type, { bubbles: true, detail: { names } }));
    };

    /** Tells the frame who it is for and how it looks. */
    #say() {
      this.#ready = true;
      let tokens: unknown = {};
      try {
        tokens = JSON.parse(this.getAttribute("tokens") ?? "{}");
      } catch {
        console.error("posthaste-portal: `tokens` is no JSON object of colours");
      }
      const message = { type: "posthaste:session", token: this.getAttribute("token"), theme: this.getAttribute("theme") ?? "system", tokens, path: this.getAttribute("path") ?? "/webhooks" };
      this.#frame?.contentWindow?.postMessage(message, server.origin);
    }
  }

  customElements.define("posthaste-portal", PosthastePortal);
})();
