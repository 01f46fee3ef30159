// When the page comes back, and when it is about to go: the events of the page lifecycle, which every browser has some of.

// A network that comes back brings everybody back: not as one.
const SPREAD_MS = 1_000;

/**
 * Calls `away()` when the page goes out of sight or offline, is frozen or left, and `back(spreadMs)` when it comes back, also
 * out of the back-forward cache. Either is called for each of the events that tell the same. Returns what ends this.
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
  on(globalThis, 'pagehide', away);
  on(globalThis, 'online', () => back(SPREAD_MS));
  on(globalThis, 'offline', away);
  on(document, 'resume', () => back(0));
  on(document, 'freeze', away);
  on(document, 'visibilitychange', () => (document.visibilityState === 'visible' ? back(0) : away()));
  return () => ends.forEach((end) => end());
}
