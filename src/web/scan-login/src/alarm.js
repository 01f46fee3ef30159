// A timer by the wall clock. The browser's own stop while a laptop sleeps, and would then ring that much too late.

const LOOK_EVERY_MS = 1_000;

export class Alarm {
  #timer;

  /** Rings once, `ms` from now, unless it is set or cleared before. */
  set(ms, ring) {
    const wall = Date.now();
    const steady = performance.now();
    const look = () => {
      // The steady clock as well: a wall clock that is put back must not make anybody wait for it.
      const passed = Math.max(Date.now() - wall, performance.now() - steady);
      if (passed >= ms) return ring();
      this.#timer = setTimeout(look, Math.min(LOOK_EVERY_MS, ms - passed));
    };
    this.clear();
    this.#timer = setTimeout(look, Math.min(LOOK_EVERY_MS, ms));
  }

  clear() {
    clearTimeout(this.#timer);
  }
}
