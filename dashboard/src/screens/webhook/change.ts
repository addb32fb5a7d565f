// How the deliveries of a period compare with those of the period before, where that says anything.

/** With fewer in the period before, a handful more or less is a large share, and says nothing. */
const FEW = 20;

interface Periods {
  /** How many were delivered in this period, and in the one before. */
  now: number;
  before: number;
  /** How long each is, in milliseconds. */
  length: number;
  /** How old the webhook is, in milliseconds: the period before has to be whole. */
  age: number;
}

/** "▲ 4 %", "▼ 12 %", "▲ 3.4 times as many"; null where there is nothing to compare with. */
export function change({ now, before, length, age }: Periods): string | null {
  if (age < 2 * length || before < FEW) return null;
  const times = now / before;
  if (times >= 2) return `▲ ${times < 10 ? Math.round(times * 10) / 10 : Math.round(times).toLocaleString("en-US")} times as many`;
  const percent = Math.round(Math.abs(times - 1) * 100);
  return percent === 0 ? "as many" : `${times > 1 ? "▲" : "▼"} ${percent} %`;
}
