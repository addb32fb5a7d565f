// Code that checks signatures: the guide's own, which the tests of the product run, and the three that are not in the guide.
import csharp from "../../../../../crates/posthaste/src/commands/verify/example.cs?raw";
import java from "../../../../../crates/posthaste/src/commands/verify/example.java?raw";
import openssl from "../../../../../crates/posthaste/src/commands/verify/example.sh?raw";
import guide from "../../../../../docs/guides/receiving.md?raw";

/** The code below a heading of the guide. */
function inGuide(heading: string) {
  const section = guide.split("\n### ").find((section) => section.startsWith(`${heading}\n`)) ?? "";
  const fenced = section.split("```")[1] ?? "";
  return fenced.slice(fenced.indexOf("\n") + 1).trimEnd();
}

const ALL = [
  ...["Python", "Node", "Go", "Rust", "Ruby", "PHP"].map((name) => ({ name, code: inGuide(name) })),
  { name: "Java", code: java.trimEnd() },
  { name: "C#", code: csharp.trimEnd() },
  { name: "openssl", code: openssl.trimEnd() },
];

/** Each language with its code, for the brand's header. */
export const samples = (prefix: string) => ALL.map(({ name, code }) => ({ name, code: code.replaceAll(/X-CronDB/gi, (found) => (found === found.toLowerCase() ? prefix.toLowerCase() : prefix)) }));
