// Colours that a page around the portal asks for, and whether text in them can be read (WCAG 2.2, 1.4.3).

function channels(colour: string): [number, number, number] | null {
  // `#fff` is how a style sheet may write `#ffffff`.
  const whole = /^#[0-9a-f]{3}$/i.test(colour) ? colour.replace(/[0-9a-f]/gi, "$&$&") : colour;
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(whole);
  return match ? [parseInt(match[1]!, 16), parseInt(match[2]!, 16), parseInt(match[3]!, 16)] : null;
}

function luminance([r, g, b]: [number, number, number]) {
  const linear = (value: number) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

/** The contrast of two colours `#rrggbb` or `#rgb`, 1 to 21; 0 if one is none. */
export function contrast(a: string, b: string) {
  const [first, second] = [channels(a), channels(b)];
  if (!first || !second) return 0;
  const [one, other] = [luminance(first), luminance(second)];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}

/** What stands on what, and the contrast that it needs. */
const PAIRS: [string, string, number][] = [
  ["text", "bg", 4.5],
  ["text", "surface", 4.5],
  ["muted", "bg", 4.5],
  ["muted", "surface", 4.5],
  ["accent", "bg", 4.5],
  ["accent", "surface", 4.5],
  ["accent", "accent-soft", 4.5],
  ["accent-hover", "bg", 4.5],
  ["on-accent", "accent", 4.5],
  ["on-accent", "accent-hover", 4.5],
  ["control", "bg", 3],
];

/** Of what is asked for, what can be read beside the rest, and the names of what cannot. */
export function readable(now: Record<string, string>, asked: Record<string, unknown>) {
  const refused: string[] = [];
  let accepted: Record<string, string> = {};
  for (const [name, colour] of Object.entries(asked)) {
    if (typeof colour === "string" && name in now && channels(colour)) accepted[name] = colour;
    else refused.push(name);
  }
  // A colour that is taken back can make another one unreadable: until nothing is.
  for (;;) {
    const all = { ...now, ...accepted };
    const bad = PAIRS.find(([on, under, least]) => (on in accepted || under in accepted) && contrast(all[on]!, all[under]!) < least);
    if (!bad) return { accepted, refused };
    const gone = bad.slice(0, 2).filter((name) => (name as string) in accepted) as string[];
    refused.push(...gone);
    accepted = Object.fromEntries(Object.entries(accepted).filter(([name]) => !gone.includes(name)));
  }
}
