// When the page comes back, and when it is about to go: the events of the page lifecycle, which every browser has some of.

// A network that comes back brings everybody back: not as one.
const SPREAD_MS = 1_000;

/**
 * Calls `back(spreadMs)` when the page was out of sight, frozen, in the back-forward cache or offline, and no longer is;
 * and `away()` when it is about to stand still, or be left. Returns a function that ends this.
 */
export function watchPage(back, away) {
  const { document } = globalThis;
  const ends = [];
  const on = (target, type, hear) => {
    // A program without a page has none of these.
    target?.addEventListener?.(type, hear);
    ends.push(() => target?.removeEventListener?.(type, hear));
  };
  on(globalThis, 'pageshow', ({ persisted }) => persisted && back(0));
  on(globalThis, 'online', () => back(SPREAD_MS));
  on(globalThis, 'pagehide', away);
  on(document, 'resume', () => back(0));
  on(document, 'visibilitychange', () => document.visibilityState === 'visible' && back(0));
  on(document, 'freeze', away);
  return () => ends.forEach((end) => end());
}
