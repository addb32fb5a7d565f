// What is wrong with a draft, field by field.
import type { Fault } from "../api/client.ts";
import { WORDS, type Draft } from "./draft.ts";

/** The server judges a form when it is saved, and as a whole: a field that was changed since is no longer told of. */
export class Faults {
  #errors = $state.raw<Fault[]>([]);
  #judged = $state.raw<Partial<Record<string, string>>>({});

  constructor(private readonly draft: () => Draft) {}

  #held = (): Partial<Record<string, string>> => Object.fromEntries(Object.entries(this.draft()).map(([key, value]) => [WORDS[key as keyof Draft].field, JSON.stringify(value)]));

  /** The draft is about to be judged as it stands. */
  judge() {
    this.#judged = this.#held();
  }

  /** What was found. The server's pointers are the one source. */
  tell(errors: Fault[]) {
    this.#errors = errors;
  }

  /** The first fault of each field. */
  readonly told: Partial<Record<string, string>> = $derived.by(() => {
    const now = this.#held();
    const faults: Partial<Record<string, string>> = {};
    for (const { pointer, detail } of this.#errors) {
      const field = pointer.split("/")[1] ?? "";
      // The API's name of a field is not what it is called here.
      const label = detail.startsWith(`${field} `) && Object.values(WORDS).find((word) => word.field === field)?.label;
      if (this.#judged[field] === now[field]) faults[field] ??= label ? label + detail.slice(field.length) : detail;
    }
    return faults;
  });
}
