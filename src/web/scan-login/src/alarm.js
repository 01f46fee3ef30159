// A timer by the wall clock. The browser's own stop while a laptop sleeps, and would then ring that much too late.

const LOOK_EVERY_MS = 1_000;

/** A function that says how many ms have passed since. */
export function stopwatch() {
  const wall = Date.now();
  const steady = performance.now();
  // The steady clock as well: a wall clock that is put back must not make anybody wait for it.
  return () => Math.max(Date.now() - wall, performance.now() - steady);
}

export class Alarm {
  #timer;
  #ring = null;

  /** Rings once, `ms` from now, unless it is set or cleared before. */
  set(ms, ring) {
    const passed = stopwatch();
    const look = () => {
      const left = ms - passed();
      if (left > 0) {
        this.#timer = setTimeout(look, Math.min(LOOK_EVERY_MS, left));
        return;
      }
      this.#ring = null;
      ring();
    };
    this.clear();
    this.#ring = ring;
    this.#timer = setTimeout(look, Math.min(LOOK_EVERY_MS, ms));
  }

  /** If it is set, it rings at once. */
  hurry() {
    if (this.#ring) this.set(0, this.#ring);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#ring = null;
  }
}
