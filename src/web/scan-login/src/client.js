// The browser's half of `scanlogin.v1`, without any view: what a page needs to draw its own.
import { Alarm, stopwatch } from './alarm.js';
import { watchPage } from './lifecycle.js';
import { Memory } from './memory.js';
import { redeem } from './redeem.js';
import { socket } from './socket.js';
import { acknowledge, poll, stream } from './stream.js';

const BACKOFF_BASE_MS = 1_000;
const BACKOFF_CAP_MS = 30_000;
// A line that lived this long was no crash loop, so the next failure starts counting anew.
const STABLE_MS = 5_000;
const FIRST_FRAME_MS = 10_000;
// Past a promised frame (the next key, the end) by this much, the connection is taken for half-open:
// a page is never told about the server's pings, and TCP would need minutes to notice.
const OVERDUE_MS = 8_000;
// A login approved in its last second can still be collected for a minute, and of one that was collected the service
// knows for longer: for a minute past its time it is worth asking.
const COLLECT_MS = 60_000;
// A token that is not yet confirmed is asked for at once, so often; then in this rhythm (spec 2.3).
const RESUMES_AT_ONCE = 5;
const RESUME_EVERY_MS = 10_000;
// What brings a page back is told by several events.
const BURST_MS = 1_000;
// A browser that was given its cookie a moment ago may have been given another one in another tab, and keeps one: by
// then it has it, and who comes back before the scan has a login of that browser's.
const NEW_BROWSER_MS = 1_500;
// Anything but 1000, which would end the login instead of leaving it to be resumed.
const CLOSE_TO_RESUME = 4900;

// In the order in which they are tried: the best first.
const TRANSPORTS = { socket, stream, poll };

const FINAL_CLOSES = {
  1000: 'cancelled', 1008: 'failed', 1009: 'failed',
  4000: 'expired', 4001: 'denied', 4002: 'taken-over', 4003: 'failed',
};

/** One login at a time. Its members are documented in scanlogin.d.ts. */
export class ScanLogin extends EventTarget {
  state = 'idle';
  connected = false;
  login = null;
  attempt = 0;
  retryAt = null;

  #base;
  #memory;
  #line = null;
  #transports;
  #way = 0;
  #best = Infinity;
  #heardAt = null;
  #everHeard = false;
  #retryAlarm = new Alarm();
  #watchdog = new Alarm();
  #drainDelay = null;
  #recalled = false;
  #ticket = null;
  #delivered = null;
  #resumes = 0;
  #repeated = false;
  #lineAge = null;
  #unwatch = null;

  constructor({ endpoint, storage, transports } = {}) {
    super();
    this.#base = new URL(endpoint || '/', globalThis.location?.href);
    if (!this.#base.pathname.endsWith('/')) this.#base.pathname += '/';
    this.#transports = (transports ?? Object.keys(TRANSPORTS)).map((name) => TRANSPORTS[name]);
    this.#memory = new Memory(storage, this.#base.href);
  }

  start() {
    if (this.state !== 'idle') return;
    this.login = this.#recall();
    this.#recalled = this.login !== null;
    this.#way = this.login?.way ?? 0;
    const { ticket, deadline } = this.login ?? {};
    if (ticket) {
      // The page was left before the answer came.
      this.#become('connecting');
      return void this.#redeem({ ticket, expires_in: (deadline - Date.now() + COLLECT_MS) / 1_000 });
    }
    this.#become(this.login?.settling ? 'logged-in' : 'connecting');
    this.#connect();
  }

  get unacknowledged() {
    return this.#recall()?.settling === true;
  }

  restart() {
    this.#drop();
    this.login = null;
    this.attempt = 0;
    // What went well before is not given up for one bad line; what never did is not tried first.
    if (this.#best < this.#way) this.#way = this.#best;
    this.#become('connecting');
    this.#connect();
  }

  cancel() {
    this.#drop();
    this.#become('cancelled');
  }

  retry(spreadMs = 0) {
    if (this.retryAt !== null) this.#scheduleConnect(Math.random() * spreadMs);
  }

  #connect() {
    this.#retryAlarm.clear();
    this.retryAt = null;
    this.#heardAt = null;
    this.#lineAge = stopwatch();
    this.#repeated = false;
    if (this.login?.settling) this.#resumes += 1;
    // Frames of a line that was given up say nothing about the login that came after it.
    const current = (handler) => (...all) => line === this.#line && handler(...all);
    const line = this.#open({
      heard: current((text) => this.#receive(text)),
      ended: current((code, pause) => this.#closed(code, pause)),
    });
    this.#line = line;
    if (line) this.#expectFrameIn(FIRST_FRAME_MS);
    else this.#closed(1006);
  }

  #open(handlers) {
    try {
      return this.#transports[this.#way](this.#base, this.login?.resume, handlers);
    } catch (error) {
      // Such as a page on https and an endpoint on http.
      console.warn(`scan-login: ${error.message}`);
      return null;
    }
  }

  #receive(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    const handler = this.#handlers[frame?.type];
    if (!handler) return;
    this.#everHeard = true;
    this.#heardAt ??= Date.now();
    this.#best = Math.min(this.#best, this.#way);
    this.#recalled &&= frame.type === 'expired';
    handler(frame);
  }

  #handlers = Object.assign(Object.create(null), {
    key: (frame) => {
      this.#takeBack();
      const deadline = Date.now() + frame.lifetime_ms;
      const valid = Math.min(frame.valid_ms ?? Infinity, frame.lifetime_ms);
      this.login = {
        resume: frame.resume,
        seq: frame.seq,
        key: frame.key,
        url: frame.url,
        qrSvg: frame.qr_svg,
        validUntil: Date.now() + valid,
        deadline,
        span: Math.max(this.login?.resume === frame.resume ? (this.login.span ?? 0) : 0, frame.lifetime_ms),
      };
      this.#expectFrameIn(valid + OVERDUE_MS);
      this.#alive('waiting');
      if (frame.new_browser) this.#retryAlarm.set(NEW_BROWSER_MS, () => this.#comeBack());
    },
    scanned: (frame) => {
      this.#takeBack();
      const { name, picture, match, lifetime_ms: span } = frame;
      // A resume repeats the question with what is left of its time.
      const whole = Math.max(this.state === 'scanned' ? (this.login?.span ?? 0) : 0, span);
      this.login = { resume: this.login?.resume, name, picture, match, span: whole, deadline: Date.now() + span };
      this.#expectFrameIn(span + OVERDUE_MS);
      this.#alive('scanned');
    },
    token: (frame) => {
      // Said again because the acknowledgement was lost: the page has it.
      if (this.#delivered !== frame.token) {
        this.#delivered = frame.token;
        this.#settle(frame.user, frame.collect_ms ?? COLLECT_MS);
        this.#hand({ token: frame.token, tokenType: frame.token_type, expiresIn: frame.expires_in, user: frame.user });
      }
      // Only now: what is acknowledged stays valid, so the page must have had the chance to store it.
      this.#line?.send({ type: 'received' });
      this.#expectFrameIn(OVERDUE_MS);
      this.#alive('logged-in');
    },
    ticket: (frame) => {
      if (this.#ticket === frame.ticket) return;
      // A reload that comes before the answer costs no scan.
      this.login = { ...this.login, ticket: frame.ticket, deadline: Date.now() + frame.expires_in * 1_000 };
      this.#remember();
      this.#redeem(frame);
    },
    denied: () => this.#closed(4001),
    expired: () => this.#closed(4000),
    drain: (frame) => {
      this.#drainDelay = frame.retry_in_ms ?? 0;
    },
  });

  // Remembered until the server's 1000, which alone confirms: an acknowledgement that got lost with its line would
  // silently undo this login when its time is over, so it is said again until then.
  #settle(user, collectMs) {
    const { resume, name, picture } = this.login ?? {};
    this.login = { resume, name, picture, user, settling: true, deadline: Date.now() + collectMs };
    this.#resumes = 0;
    this.#repeated = false;
  }

  #hand(detail) {
    this.dispatchEvent(new CustomEvent('login', { detail }));
  }

  // The service never had the acknowledgement of what the page was handed: that is not valid any more.
  #takeBack() {
    if (!this.login?.settling) return;
    this.login.settling = false;
    this.#delivered = null;
    this.dispatchEvent(new Event('undelivered'));
  }

  // The exchange is the acknowledgement, and needs no line: whatever becomes of ours meanwhile says nothing.
  async #redeem({ ticket, expires_in: seconds }) {
    this.#ticket = ticket;
    this.#watchdog.clear();
    const dropped = () => this.#ticket !== ticket;
    const pause = (ms) => new Promise((resolve) => this.#retryAlarm.set(ms, resolve));
    const answer = await redeem(this.#base, ticket, seconds * 1_000, dropped, pause);
    if (dropped()) return;
    this.#hangUp();
    this.#memory.forget();
    // What is gone after a reload needs no click of its own.
    if (answer === null) return this.#recalled ? this.restart() : this.#become('failed');
    this.#settle(answer.user, 0);
    this.login.settling = false;
    this.#become('logged-in');
    this.#hand({ user: answer.user });
  }

  #alive(state) {
    this.connected = true;
    this.#remember();
    this.#become(state);
  }

  #closed(code, pause) {
    if (this.#ticket) return;
    this.#watchdog.clear();
    this.#retryAlarm.clear();
    this.connected = false;
    this.#line = null;
    if (this.login?.settling) return this.#closedUnconfirmed(code, pause);
    const outcome = FINAL_CLOSES[code];
    if (!outcome) return this.#retry(code, pause);
    this.#memory.forget();
    // What is gone after a reload needs no click of its own: the reload was one.
    if (this.#recalled && [1000, 4000].includes(code)) return this.restart();
    // A 1000 that answers a resume is of a login that was collected, and not here.
    const elsewhere = code === 1000 && this.login !== null && this.#heardAt === null;
    this.#become(elsewhere ? 'taken-over' : outcome);
  }

  // The page has its token, and the service may not know: 1000 says that it does, 4000 that it never will.
  #closedUnconfirmed(code, pause) {
    if (code === 1000 || this.#isOver(this.login)) return this.#confirmed();
    if (code !== 4000) return this.#retry(code, pause);
    this.#memory.forget();
    this.#takeBack();
    this.#become('failed');
  }

  // Or it cannot be told any more: then it is the page that finds out, as with any token that it has kept for a while.
  #confirmed() {
    this.#memory.forget();
    this.login.settling = false;
    this.#become('logged-in');
  }

  #isOver({ deadline }) {
    return Date.now() > deadline + COLLECT_MS;
  }

  #retry(code, pause = 0) {
    if (this.login && this.#isOver(this.login)) {
      this.#memory.forget();
      return this.#become('expired');
    }
    // On a line that brought nothing something may be in the way that another kind of line gets past.
    if (this.#heardAt === null) this.#way = (this.#way + 1) % this.#transports.length;
    else if (Date.now() - this.#heardAt > STABLE_MS) this.attempt = 0;
    this.attempt += 1;
    if (this.attempt === 1 && !this.#everHeard) {
      console.warn(`scan-login: no connection to ${this.#base}. Is it there, and is ${globalThis.origin} among its SCANLOGIN_ALLOWED_ORIGINS?`);
    }
    const settling = this.login?.settling;
    // The time to collect a token may be a few seconds: these pauses do not grow.
    const ceiling = settling ? BACKOFF_BASE_MS : Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (this.attempt - 1));
    // A restarting instance has named its time; the jitter still keeps its browsers from coming back as one.
    const named = code === 1012 ? (this.#drainDelay ?? 0) : pause;
    this.#drainDelay = null;
    // By then chance has spread those who came back together.
    const slow = settling && this.#resumes >= RESUMES_AT_ONCE;
    this.#scheduleConnect(slow ? Math.max(named, RESUME_EVERY_MS) : named + Math.random() * ceiling);
    this.#become(this.state);
  }

  // A page that stood still, or was out of sight, has perhaps not heard of the end of its line, and its timers stood
  // still too: nothing is waited for, and nothing believed.
  #back(spreadMs) {
    if (this.#ticket) return this.#retryAlarm.hurry();
    if (this.retryAt !== null) return this.retry(spreadMs);
    if (this.#lineAge?.() < BURST_MS) return;
    this.#retryAlarm.set(Math.random() * spreadMs, () => this.#comeBack());
  }

  #comeBack() {
    this.#line?.close(this.login ? CLOSE_TO_RESUME : 1000);
    this.#connect();
  }

  // The last chance to say it: the line may be one that stalls, and a page that stands still says nothing. Several
  // events tell the same.
  #away() {
    this.#lineAge = null;
    if (!this.login?.settling || this.#repeated) return;
    this.#repeated = true;
    acknowledge(this.#base, this.login.resume);
  }

  #scheduleConnect(delay) {
    this.retryAt = Date.now() + delay;
    this.#retryAlarm.set(delay, () => this.#connect());
  }

  #expectFrameIn(ms) {
    this.#watchdog.set(ms, () => {
      this.#line.close(CLOSE_TO_RESUME);
      this.#closed(1006);
    });
  }

  #drop() {
    this.#line?.send({ type: 'cancel' });
    this.#hangUp();
    this.#recalled = false;
    this.#memory.forget();
    if (this.login) this.login.settling = false;
  }

  #hangUp() {
    this.#retryAlarm.clear();
    this.#watchdog.clear();
    this.#line?.close(1000);
    this.#line = null;
    this.#ticket = null;
    this.connected = false;
    this.retryAt = null;
  }

  #become(state) {
    this.state = state;
    const open = this.login?.settling || ['connecting', 'waiting', 'scanned'].includes(state);
    if (open) this.#unwatch ??= watchPage((spreadMs) => this.#back(spreadMs), () => this.#away());
    else this.#unwatch = this.#unwatch?.();
    this.dispatchEvent(new Event('change'));
  }

  #remember() {
    const { resume, deadline, span, settling, ticket } = this.login;
    this.#memory.keep({ resume, deadline, span, settling, ticket, way: this.#way });
  }

  #recall() {
    const login = this.#memory.recall();
    return login && !this.#isOver(login) ? login : null;
  }
}
