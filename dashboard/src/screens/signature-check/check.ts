// The check of a signature, as a receiver makes it, and why it fails. It runs here: nothing leaves the page.
import { span } from "../../live/span.ts";
import { pretty } from "../logs/json.ts";

/** What was found, for one header. */
export interface Verdict {
  header: string;
  fits: boolean;
  /** Why not, and what to do; or what it says where it fits. */
  says: string;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const hex = (data: ArrayBuffer) => [...new Uint8Array(data)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const base64 = (data: ArrayBuffer) => btoa(String.fromCharCode(...new Uint8Array(data)));

async function hmac(key: Uint8Array<ArrayBuffer>, message: Uint8Array<ArrayBuffer>) {
  // An empty key is none to the browser; it stands for a secret that is missing.
  const imported = await crypto.subtle.importKey("raw", key.length ? key : new Uint8Array(1), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return crypto.subtle.sign("HMAC", imported, message);
}

/** Headers as people paste them: a line each, or a curl command's `-H 'Name: value'`. Names in lower case. */
export function headers(text: string) {
  const found = new Map<string, string>();
  for (const line of text.split("\n")) {
    const plain = line.trim().replace(/^-H\s+/, "").replace(/\s*\\$/, "").replace(/^(['"])(.*)\1$/, "$2");
    const split = plain.indexOf(":");
    if (split > 0) found.set(plain.slice(0, split).trim().toLowerCase(), plain.slice(split + 1).trim());
  }
  return found;
}

/** Texts that a program may have made of the body on its way, by what was done to it. */
function variants(body: string): [string, string][] {
  const all: [string, string][] = [];
  const add = (text: string, what: string) => {
    if (text !== body && !all.some(([known]) => known === text)) all.push([text, what]);
  };
  add(body.replace(/\r?\n$/, ""), "your copy has a line break at its end that we did not send");
  add(body.replaceAll("\r\n", "\n"), "your copy has Windows line breaks");
  add(body.replace(/^\uFEFF/, ""), "your copy starts with a byte order mark");
  try {
    const value: unknown = JSON.parse(body);
    add(JSON.stringify(value), "your copy is the same JSON written again, with spaces or line breaks");
    // Python writes a space after each comma and colon, and escapes what is not ASCII.
    add(JSON.stringify(value).replace(/[\u0080-\uffff]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`), "your copy is the same JSON written again");
    add(pretty(body), "your copy is the same JSON without the spaces that we sent");
  } catch {
    // Not JSON: then it was not written again.
  }
  return all;
}

const RAW = "Verify the raw bytes before parsing them. Flask: request.get_data(); Express: express.raw({type: 'application/json'}).";

interface Scheme {
  header: string;
  given: string;
  /** The signature over a body, with the secret. */
  sign: (body: string, secret: string) => Promise<string>;
  /** Whether the header holds this signature. */
  holds: (signature: string) => boolean;
  /** What is wrong with the header itself. */
  fault: string | null;
}

async function judge({ header, given, sign, holds, fault }: Scheme, body: string, secrets: string[]): Promise<Verdict> {
  if (fault) return { header, fits: false, says: fault };
  for (const [place, secret] of secrets.entries()) {
    if (holds(await sign(body, secret))) return { header, fits: true, says: secrets.length > 1 ? `It fits secret ${place + 1}.` : "It fits: these bytes were signed with this secret." };
  }
  for (const secret of secrets) {
    for (const [text, what] of variants(body)) {
      if (holds(await sign(text, secret))) return { header, fits: false, says: `The secret is right, but ${what} (${bytes(body).length} bytes; we signed ${bytes(text).length}). ${RAW}` };
    }
    const trimmed = secret.trim();
    if (trimmed !== secret && holds(await sign(body, trimmed))) return { header, fits: false, says: "The secret has a space or a line break at an end. Read it without." };
    if (!trimmed.startsWith("whsec_") && holds(await sign(body, `whsec_${trimmed}`))) return { header, fits: false, says: "The secret is cut: whsec_ belongs to it." };
  }
  return { header, fits: false, says: `It does not fit. Another secret (one of another webhook, or one that was rotated), or another body than the one that was sent. The header starts ${given.slice(0, 16)}…` };
}

/** Checks what the headers claim. `now` in milliseconds; `prefix` is the brand's, such as `X-CronDB`. */
export async function check(input: { headers: string; body: string; secrets: string; prefix: string }, now: number): Promise<Verdict[]> {
  const known = headers(input.headers);
  const secrets = input.secrets.split("\n").filter((secret) => secret.trim());
  const verdicts: Verdict[] = [];
  const name = `${input.prefix}-Signature`;
  const ours = known.get(name.toLowerCase());
  if (ours !== undefined) {
    const digits = ours.replace(/^sha256=/, "");
    verdicts.push(
      await judge(
        {
          header: name,
          given: ours,
          sign: async (body, secret) => hex(await hmac(bytes(secret), bytes(body))),
          holds: (signature) => ours === `sha256=${signature}`,
          fault: !ours.startsWith("sha256=")
            ? "The header does not start with sha256=: it is not whole."
            : digits.length !== 64
              ? `The header has ${digits.length} digits after sha256=, and should have 64: it is cut.`
              : /[^0-9a-f]/.test(digits)
                ? "The header has other signs than 0–9 and a–f after sha256=: it was changed on its way."
                : null,
        },
        input.body,
        secrets,
      ),
    );
  }
  const standard = known.get("webhook-signature");
  if (standard !== undefined) {
    const id = known.get("webhook-id");
    const timestamp = known.get("webhook-timestamp");
    const list = standard.split(" ").filter((part) => part.startsWith("v1,"));
    const verdict = await judge(
      {
        header: "webhook-signature",
        given: standard,
        sign: async (body, secret) => {
          const text = secret.replace(/^whsec_/, "");
          let key: Uint8Array<ArrayBuffer>;
          try {
            key = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          } catch {
            return "";
          }
          return base64(await hmac(key, bytes(`${id}.${timestamp}.${body}`)));
        },
        holds: (signature) => signature !== "" && list.includes(`v1,${signature}`),
        fault: !id || !timestamp ? "webhook-id and webhook-timestamp are signed too: paste them as well." : list.length === 0 ? "The header holds no signature of the kind v1." : null,
      },
      input.body,
      secrets,
    );
    verdicts.push(verdict);
    const age = Math.round(now / 1_000 - Number(timestamp));
    if (verdict.fits && Math.abs(age) > 300) verdict.says += ` It was made ${span(Math.abs(age) * 1_000)} ${age > 0 ? "ago" : "in the future"}: libraries refuse more than 5 minutes, so that nobody can send an old request again.`;
  }
  return verdicts;
}
