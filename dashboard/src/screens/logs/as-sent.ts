// A request as commands and code that send the same again. Masked values stay masked: they are the reader's to fill in.
import type { Schema } from "../../api/client.ts";
import { quote } from "../../parts/shell.ts";

type Request = Schema<"SentRequest">;

/** For curl. */
export const curl = ({ url, headers, body }: Request) => ["curl -X POST", quote(url), ...headers.map(({ name, value }) => `-H ${quote(`${name}: ${value}`)}`), `--data-binary ${quote(body)}`].join(" \\\n  ");

/** For HTTPie. */
export const httpie = ({ url, headers, body }: Request) => [`printf %s ${quote(body)} | http POST`, quote(url), ...headers.map(({ name, value }) => quote(`${name}:${value}`))].join(" \\\n  ");

/** For JavaScript. */
export const fetchCall = ({ url, headers, body }: Request) =>
  `await fetch(${JSON.stringify(url)}, {\n  method: "POST",\n  headers: ${JSON.stringify(Object.fromEntries(headers.map(({ name, value }) => [name, value])), null, 2).replaceAll("\n", "\n  ")},\n  body: ${JSON.stringify(body)},\n});`;
