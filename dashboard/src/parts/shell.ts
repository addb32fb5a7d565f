// What a shell reads as it is written: the one place that says how text of others gets into a command that people paste.

/** A word in quotes. Nothing in it means anything to a shell, whoever wrote it. */
export const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** A word, in quotes only where a shell would read it otherwise. */
export const word = (text: string) => (/^[\w.:,@/=+-]+$/.test(text) ? text : quote(text));

/** A command out of its words. */
export const command = (...words: string[]) => words.map(word).join(" ");
