// Whether the server still has the page that runs here, and why a part of it did not come.
import { Problem } from "../api/client.ts";
import { href } from "../router.svelte.ts";

/** Whether the server's page starts with the script that this one started with: its name holds its contents' hash. */
export async function pageThere(): Promise<"same" | "newer" | "away"> {
  const own = document.querySelector<HTMLScriptElement>("script[type=module]")?.src.split("/").at(-1);
  try {
    const answer = await fetch(href("/"), { headers: { accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) return "away";
    return own && !(await answer.text()).includes(own) ? "newer" : "same";
  } catch {
    return "away";
  }
}

/** Why a part of the page did not come. */
export async function whyMissing() {
  const there = await pageThere();
  if (there === "away") return Problem.of(null);
  if (there === "newer") return new Problem(0, "page_older", "This page is older than the server", "A part of it is no longer there. Load the page again.");
  return new Problem(0, "part_missing", "A part of this page did not come", "The server answers; something in between may have lost it.");
}
