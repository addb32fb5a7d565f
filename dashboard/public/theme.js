// Runs before the first paint, so that nobody who wants it dark is flashed with light. Kept in step with src/frame/theme.ts.
{
  let wanted = null;
  try {
    wanted = localStorage.getItem("posthaste.theme");
  } catch {
    // No storage here: the system decides.
  }
  const dark = wanted === "dark" || (wanted !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
