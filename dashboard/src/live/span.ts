// How long something is, in words.

/** A span in words: `41 ms`, `5 s`, `2 min 30 s`, `7 h 12 min`, `5 d`. */
export function span(milliseconds: number) {
  if (milliseconds < 1_000) return `${milliseconds < 10 ? Math.round(milliseconds * 10) / 10 : Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1_000;
  if (seconds < 60) return `${seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const two = (big: number, unit: string, small: number, smallUnit: string) => `${big} ${unit}${small ? ` ${small} ${smallUnit}` : ""}`;
  if (whole < 3_600) return two(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86_400) return two(Math.floor(whole / 3_600), "h", Math.floor((whole % 3_600) / 60), "min");
  return two(Math.floor(whole / 86_400), "d", Math.floor((whole % 86_400) / 3_600), "h");
}
