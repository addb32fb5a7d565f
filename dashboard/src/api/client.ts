// Requests to the public API, typed by its description: a path, a parameter or a field that the server does not have
// does not compile.
import type { components, paths } from "$api";
import { session } from "./session.svelte.ts";

/** The nouns of the API, by the names that its description gives them. */
export type Schema<Name extends keyof components["schemas"]> = components["schemas"][Name];
export type Webhook = Schema<"Webhook">;
export type Delivery = Schema<"Delivery">;
export type Fault = Schema<"Fault">;

type Method = "get" | "post" | "put" | "patch" | "delete";
type Json<T> = T extends { content: { "application/json": infer Body } } ? Body : undefined;
type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>;
type With<M extends Method> = { [P in keyof paths]: undefined extends paths[P][M] ? never : P }[keyof paths];
type Answer<O> = O extends { responses: infer R } ? Json<R[Extract<keyof R, 200 | 201 | 202>]> : never;
type Body<O> = O extends { requestBody?: infer B } ? Json<NonNullable<B>> : undefined;
type At<O> = O extends { parameters: { path?: infer P } } ? (P extends Record<string, string> ? P : unknown) : unknown;
type Query<O> = O extends { parameters: { query?: infer Q } } ? Q : undefined;

/** What goes with a request beside its path. */
export interface Extra<O> {
  query?: Query<O>;
  body?: Body<O>;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

/** A refusal: the server's problem document, or what stands for it when there was no answer. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    readonly requestId: string | null = null,
    readonly errors: Fault[] = [],
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
  }

  /** Whether the same request may succeed by itself in a while. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  /** Any failure as a problem. */
  static of(error: unknown): Problem {
    if (error instanceof Problem) return error;
    const detail = "No answer came from the server. Is it running, and is the network there?";
    return new Problem(0, "unreachable", "The server cannot be reached", detail);
  }
}

/** How far the server's clock is ahead of this one, in milliseconds; from the answers' dates, to the second. */
export let clockAhead = 0;

/** Told of every answer of the server, whatever it says: it can be reached. */
export const answers = new EventTarget();

function told(response: Response) {
  if (response.status < 500) answers.dispatchEvent(new Event("answer"));
  const date = Date.parse(response.headers.get("date") ?? "");
  // A date names a whole second; its middle is the best guess.
  if (!Number.isNaN(date) && Math.abs(date + 500 - Date.now() - clockAhead) > 1_500) clockAhead = date + 500 - Date.now();
}

async function problem(response: Response): Promise<Problem> {
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  try {
    const { code, title, detail, request_id, errors = [] } = (await response.json()) as Schema<"Problem">;
    return new Problem(response.status, code, title, detail, request_id, errors, retryAfter);
  } catch {
    const detail = "The answer was not one of this server: something in between may have given it.";
    return new Problem(response.status, "foreign_answer", response.statusText || "Refused", detail, null, [], retryAfter);
  }
}

/** A request below the dashboard's own address, as whoever is signed in. */
export async function request(method: string, path: string, init: Omit<RequestInit, "signal"> & { signal?: AbortSignal | undefined } = {}) {
  const headers = new Headers(init.headers);
  if (session.bearer) headers.set("authorization", `Bearer ${session.bearer}`);
  // A form of another site could send the cookie along, but not this.
  headers.set("x-requested-with", "posthaste");
  let response: Response;
  try {
    response = await fetch(new URL(path.replace(/^\//, ""), document.baseURI), { ...init, method: method.toUpperCase(), headers } as RequestInit);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw Problem.of(error);
  }
  told(response);
  if (!response.ok) {
    const refusal = await problem(response);
    if (refusal.status === 401 && path !== "/v1/sessions") session.ended();
    throw refusal;
  }
  return response;
}

function fill(path: string, at: unknown) {
  const values = at as Record<string, string>;
  return path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ""));
}

async function call<P extends keyof paths, M extends Method>(
  method: M,
  path: P,
  at: At<Operation<P, M>>,
  { query, body, headers, signal }: Extra<Operation<P, M>> = {},
): Promise<{ data: Answer<Operation<P, M>>; response: Response }> {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  const response = await request(method, fill(path, at) + (search && `?${search}`), {
    signal,
    ...(body === undefined ? { headers: headers ?? {} } : { body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers } }),
  });
  const data = response.status === 204 ? undefined : await response.json();
  return { data, response };
}

/** Each answers with the JSON of the answer; all throw a `Problem`. */
export const get = async <P extends With<"get">>(path: P, at: At<Operation<P, "get">>, extra?: Extra<Operation<P, "get">>) => (await call("get", path, at, extra)).data;
export const post = async <P extends With<"post">>(path: P, at: At<Operation<P, "post">>, extra?: Extra<Operation<P, "post">>) => (await call("post", path, at, extra)).data;
export const patch = async <P extends With<"patch">>(path: P, at: At<Operation<P, "patch">>, extra?: Extra<Operation<P, "patch">>) => (await call("patch", path, at, extra)).data;
export const put = async <P extends With<"put">>(path: P, at: At<Operation<P, "put">>, extra?: Extra<Operation<P, "put">>) => (await call("put", path, at, extra)).data;
export const remove = async <P extends With<"delete">>(path: P, at: At<Operation<P, "delete">>, extra?: Extra<Operation<P, "delete">>) => (await call("delete", path, at, extra)).data;

/** The same with the answer's ETag, for a later `If-Match`. */
export async function getTagged<P extends With<"get">>(path: P, at: At<Operation<P, "get">>, extra?: Extra<Operation<P, "get">>) {
  const { data, response } = await call("get", path, at, extra);
  return { data, etag: response.headers.get("etag") };
}
