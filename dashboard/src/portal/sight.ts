// Which part of the frame can be seen: it is as high as what is in it, and the page around scrolls past it.
//
// What stands at the edge of the window, or in its middle, would be at the edge or in the middle of all that: notices and dialogs keep
// `--above` and `--below` free instead. No script sees the page around; only an observer of the browser's own knows what it shows.

/** How often it is looked at, in milliseconds. An observer by itself is silent while a part of the same size moves through a high frame. */
const EVERY = 250;

/** Keeps `--above` and `--below` of this page up to date, in pixels of the frame that are out of sight. */
export function watchSight() {
  const page = document.documentElement;
  function look() {
    if (document.hidden) return;
    const observer = new IntersectionObserver(([entry]) => {
      observer.disconnect();
      const { top, bottom, height } = entry!.intersectionRect;
      // Nothing of it is in sight: there is no better place. And below a page that ends in sight there may be more of the frame.
      const ends = page.getBoundingClientRect().bottom - bottom < 1;
      const [above, below] = height > 0 ? [top, ends ? 0 : innerHeight - bottom] : [0, 0];
      // Of a pixel that is partly out of sight the observer says that it is seen.
      const whole = (out: number) => `${out > 0 ? Math.ceil(out) + 1 : 0}px`;
      page.style.setProperty("--above", whole(above));
      page.style.setProperty("--below", whole(below));
    });
    observer.observe(page);
  }
  look();
  setInterval(look, EVERY);
}
