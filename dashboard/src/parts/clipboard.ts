// Copying. Where the page is not reached over https or localhost, browsers keep the clipboard's own interface away.

/** Copies a text. */
export async function copy(text: string) {
  try {
    if (navigator.clipboard) return await navigator.clipboard.writeText(text);
  } catch {
    // A page around this one may keep it away too.
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden";
  // Inside an open dialog nothing outside of it can have the focus.
  const before = document.activeElement;
  (before?.closest("dialog") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  if (before instanceof HTMLElement) before.focus();
}
