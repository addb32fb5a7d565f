// Text that others wrote, such as names, bodies and headers: it says nothing about what stands beside it.
//
// Control characters and those that turn the order of writing round are shown as `\u{202e}`, as the command line does. Text that
// is written from right to left stays in its own place: in markup by `<bdi>`, or an element that isolates by `base.css`; in a
// text that is put together here by `theirs`.

/** What is not seen itself, or turns round what comes after it. Line breaks and tabs are what they are. */
const HIDDEN = /\r(?!\n)|[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** A letter that is written from right to left. */
const LEFTWARD = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** With everything in it seen: for an element that holds nothing else. */
export const seen = (text: string) => text.replace(HIDDEN, (hidden) => `\\u{${hidden.charCodeAt(0).toString(16)}}`);

/** For a sentence, a label or a title: as `seen`, and what is beside it keeps its order. */
export const theirs = (text: string) => (LEFTWARD.test(text) ? `\u2068${seen(text)}\u2069` : seen(text));
